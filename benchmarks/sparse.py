"""Sparse sweeps of the digits: passes, errors against exact ones, and if the audit covers these.

Real thetas and images of a finished `make run`, at 21 alphas, every seed. Exact accuracies are
those of its own sweeps, at the alphas that these have.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT, Options, summary, write_record
from benchmarks.digits import EXPERIMENT, quick_inputs
from benchmarks.ways import ABOUT, SPLIT
from wiseft.base.io import read_json
from wiseft.errors import WiseftError
from wiseft.evaluate.request import Request
from wiseft.evaluate.suite import evaluate_suite
from wiseft.evaluate.views import SuiteEvaluation
from wiseft.study.config import paths
from wiseft.study.targets import Targets

ALPHAS = [f"{step / 20:.3f}" for step in range(21)]


def run(options: Options) -> None:
    """Write `sparse.json`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = [_quick(folder)] if options.quick else _real(options)
        rows: list[dict[str, Any]] = []
        passes: list[tuple[int, float]] = []
        seconds: list[float] = []
        for case in cases:
            request, exact = case(folder)
            start = time.perf_counter()
            found = _evaluate(request)
            seconds.append(time.perf_counter() - start)
            passes += [(each["n"], each["how"]["passes"]) for each in found.values()]
            for name, sparse in found.items():
                rows += _compared(exact(name), sparse)
    write_record(
        "sparse",
        options,
        settings={"alphas": ALPHAS, "seeds": len(cases), "images": sum(n for n, _ in passes)},
        seconds={"sparse": summary(seconds)},
        measured=_measured(rows, passes),
        goals={"passes": 5.2, "covered": 0.95},
    )


def _evaluate(request: Request) -> dict[str, dict[str, Any]]:
    """Return the metrics of every dataset, with its number of images."""
    found = {}
    for path in evaluate_suite(request):
        content = json.loads(path.read_text())
        splits = {row["split"]: row["n"] for row in content["rows"]}
        found[content["dataset"]] = content | {"n": sum(splits.values())}
    return found


def _compared(exact: dict[str, Any], sparse: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the audit of each row says, and the error that there is."""
    key = ("split", "view", "combination", "alpha")
    value = {tuple(row[name] for name in key): row["value"] for row in exact["rows"]}
    return [
        row["audit"] | {"off": value[tuple(row[name] for name in key)] - row["value"]}
        for row in sparse["rows"]
        if "audit" in row and tuple(row[name] for name in key) in value
    ]


def _measured(rows: list[dict[str, Any]], passes: list[tuple[int, float]]) -> dict[str, float]:
    off = np.array([row["off"] for row in rows])
    low, high = (np.array([row[end] for row in rows]) for end in ("ci_low", "ci_high"))
    images, each = np.array(passes).T
    numbers = {
        "passes": float(np.average(each, weights=images)),
        "most_passes_of_a_set": float(each.max()),
        "accuracies": len(rows),
        "mean_error_points": 100 * float(np.abs(off).mean()),
        "largest_error_points": 100 * float(np.abs(off).max()),
        "mean_estimate_points": 100 * float(np.mean([row["error"] for row in rows])),
        "covered": float(((low <= off + 1e-12) & (off <= high + 1e-12)).mean()),
        "mean_half_width_points": 100 * float((high - low).mean() / 2),
        "audited": sum(row["audited"] for row in rows),
        "inferred": sum(row["audited"] + row["skipped"] for row in rows),
    }
    return {name: round(number, 4) for name, number in numbers.items()}


Case = Callable[[Path], tuple[Request, Callable[[str], dict[str, Any]]]]
"""From a folder to what is evaluated there, and the exact metrics of a dataset."""


def _real(options: Options) -> list[Case]:
    targets = Targets.read(ROOT, {"experiment": EXPERIMENT})
    experiment = targets.experiment
    model, method = experiment.models[0], experiment.methods[0]
    run = paths.run_name(model, experiment.reference, method)
    theta_0 = ROOT / paths.theta_0_path(model, experiment.reference)
    manifests = [ROOT / paths.manifest_path(name) for name in experiment.datasets]
    thetas = {seed: ROOT / paths.theta_1_path(run, seed) for seed in experiment.seeds}
    if missing := [each for each in (theta_0, *thetas.values(), *manifests) if not each.is_file()]:
        raise WiseftError(
            f"this benchmark needs what `make run` leaves, but {missing[0]} does not exist; "
            "type `make run` first, or use --quick"
        )
    evaluate = SuiteEvaluation.model_validate_json(targets.told.evaluation(experiment.datasets))

    def case(folder: Path, seed: int) -> tuple[Request, Callable[[str], dict[str, Any]]]:
        request = Request(
            theta_0=theta_0,
            theta_1=thetas[seed],
            alphas=ALPHAS,
            manifests=manifests,
            evaluate=evaluate,
            output_dir=folder / str(seed),
            metadata=ABOUT | {"reference": experiment.reference, "run": run, "seed": seed},
            device=options.device,
            combinations=("weight",),
            sparse=True,
        )
        return request, lambda name: read_json(
            ROOT / paths.metrics_path(run, seed, name), "metrics"
        )

    return [partial(case, seed=seed) for seed in experiment.seeds]


def _quick(folder: Path) -> Case:
    thetas, manifests, _ = quick_inputs(folder)
    one = {"splits": [SPLIT], "views": [{"name": "all", "metric": "accuracy"}]}
    request = Request(
        theta_0=thetas["theta_0"],
        theta_1=thetas["theta_1"],
        alphas=ALPHAS,
        manifests=manifests,
        evaluate=SuiteEvaluation.model_validate({path.parent.name: one for path in manifests}),
        output_dir=folder / "sparse",
        metadata=ABOUT,
        combinations=("weight",),
        sparse=True,
    )
    exact = _evaluate(replace(request, output_dir=folder / "exact", sparse=False))
    return lambda _: (request, exact.__getitem__)
