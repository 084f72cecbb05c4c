"""What the reported predictions were, and what made them, as sums that a test compares.

    python -m tools.predictions NAME ...        # after these of EXPERIMENTS were run anew
    python -m tools.predictions --guard FOLDER  # a clone that ran some of them, on this machine

The first writes their lines of `docs/predictions.csv`: for each experiment one for its recipe
(stage versions, data and settings of whatever is trained and evaluated), and for each run one for
its predictions, on every dataset at every alpha. No change of the code may alter one
(docs/digits.md, Protocol).

The second adds to `tests/evidence/guard.json` the machine, the commit and the sums of predictions
of each experiment that is finished in FOLDER. The same seed gives another model on another CPU, so
a test compares sums only where CPU, vector extension, torch build and threads are the same.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from wiseft.base.io import read_json, sha256_file, sha256_json, write_json
from wiseft.base.provenance import machine
from wiseft.base.stages import VERSION
from wiseft.errors import WiseftError
from wiseft.study.config import paths
from wiseft.study.targets import Targets
from wiseft.study.targets.runs import Run

EXPERIMENTS = ("digits", "digits-seeds", "photos", "icons-seeds", "icons-vendors-seeds")
SUMS = Path("docs/predictions.csv")
GUARD = Path(__file__).parents[1] / "tests" / "evidence" / "guard.json"
STAGES = ("data", "pretrain", "weights", "zeroshot", "finetune", "combine", "evaluate")


class Sum(NamedTuple):
    """A line of the file: of a recipe, where `run` is empty, or of a run's predictions."""

    experiment: str
    run: str
    seed: str
    sha256: str


def recipe(targets: Targets) -> str:
    """Return the sum of all that an experiment's predictions depend on besides the code."""
    runs, told, data = targets.runs, targets.told, targets.data
    methods = sorted({run.method_id for run in runs})
    names = sorted(targets.experiment.datasets)
    return sha256_json(
        {
            "versions": {stage: VERSION[stage] for stage in STAGES},
            "data": [data.content(name) for name in names],
            "evaluation": told.evaluation(names),
            "templates": told.templates(targets.reference),
            "models": {
                model: [
                    *(told.weights(model), told.pretrain(model), told.preprocessing(model)),
                    *map(sha256_file, _files(targets, model)),
                    *(targets.catalogue.package(key).sha256 for key in data.model_packages(model)),
                ]
                for model in sorted(targets.all_models)
            },
            "combinations": {method: told.combinations(method) for method in methods},
            "methods": {method: told.training(method) for method in methods},
            "alphas": {method: targets.alphas(method) for method in methods},
            "runs": sorted([run.name, run.seed] for run in runs),
            **_precisions(targets),
            **_merged(targets),
        }
    )


def _precisions(targets: Targets) -> dict[str, dict[str, str]]:
    """Return what models are evaluated in, of those that are not in fp32."""
    known = {model: targets.entry(model).precision for model in sorted(targets.all_models)}
    other = {model: precision for model, precision in known.items() if precision != "fp32"}
    return {"precisions": other} if other else {}


def _merged(targets: Targets) -> dict[str, Any]:
    """Return what merged models are made of, where there are any."""
    merged = {name: each.model_dump(mode="json") for name, each in targets.merged.items()}
    return {"merged": merged} if merged else {}


def _files(targets: Targets, model: str) -> list[Path]:
    """Return the files of the catalogue that a model is described by."""
    trained_here = model in (*targets.pretrained, *targets.baseline_models)
    return [*([targets.architecture(model)] if trained_here else []), *targets.label_map(model)]


def predictions(targets: Targets, run: Run) -> str | None:
    """Return the sum of a run's predicted classes, or None where they are not all there.

    Files are shared: another experiment may evaluate more alphas of the same run, which are left
    out, or fewer.
    """
    digest = hashlib.sha256()
    combinations = set(targets.told.combinations(run.method_id).split(","))
    grid = set(targets.alphas(run.method_id))
    for dataset in sorted(targets.experiment.datasets):
        path = paths.predictions_path(run.name, run.seed, dataset)
        if not path.exists():
            return None
        table = pq.read_table(path)
        if not grid <= {name.split("/")[2] for name in table.column_names if "/" in name}:
            return None
        for name in sorted(table.column_names):
            combination, *rest = name.split("/")  # then view, alpha, and what it is
            predicted = rest[2:] == ["prediction"] and combination in combinations
            if name == "label" or (predicted and rest[1] in grid):
                digest.update(f"{dataset} {name}".encode())
                digest.update(table[name].to_numpy().astype("<i4").tobytes())
    return digest.hexdigest()


def sums(name: str) -> Iterator[Sum]:
    """Yield the sums of an experiment. Raises WiseftError if a run has no predictions."""
    targets = Targets.read(".", {"experiment": name})
    yield Sum(name, "", "", recipe(targets))
    for run in targets.runs:
        if (found := predictions(targets, run)) is None:
            raise WiseftError(f"{run.name}, seed {run.seed} has no predictions; run {name} first")
        yield Sum(name, run.name, str(run.seed), found)


def here() -> dict[str, Any]:
    """Return this machine, as evaluations on its CPU describe it."""
    return machine() | {"threads": 1, "device": platform.machine()}


def made_on(targets: Targets, run: Run) -> dict[str, Any] | None:
    """Return the machine that evaluated a run; None if files do not say, or name several."""
    files = [paths.metrics_path(run.name, run.seed, name) for name in targets.experiment.datasets]
    known = [how.get("machine", {}) | {"device": how["device"]} for how in map(_how, files)]
    return known[0] if "cpu" in known[0] and all(each == known[0] for each in known) else None


def _how(metrics: Path) -> dict[str, Any]:
    return dict(read_json(metrics)["how"])


def add_guard(folder: Path) -> None:
    """Add what is finished in a clone to the guard, in place of what the same machine gave before.

    Evaluations of before do not name their machine: it is taken to be this one.
    """
    guards = read_json(GUARD) if GUARD.exists() else []
    commit = subprocess.run(
        ["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    with contextlib.chdir(folder):
        for name in EXPERIMENTS:
            try:
                _, *found = sums(name)
            except WiseftError as error:
                print(f"{name}: left out: {error}", file=sys.stderr)
                continue
            targets = Targets.read(".", {"experiment": name})
            made = {"experiment": name, "machine": made_on(targets, targets.runs[0]) or here()}
            guards = [each for each in guards if not made.items() <= each.items()]
            by_run = {f"{each.run} seed {each.seed}": each.sha256 for each in found}
            guards.append(made | {"commit": commit, "predictions": by_run})
            print(f"{name}: {len(by_run)} runs", file=sys.stderr)
    write_json(GUARD, guards)


def main() -> None:
    """Write the sums of experiments, or add those of a clone to the guard."""
    parser = argparse.ArgumentParser(description="Write sums of predictions.")
    parser.add_argument("experiments", nargs="*", metavar="NAME", help="run anew; all if none")
    parser.add_argument("--guard", type=Path, metavar="FOLDER", help="a clone that was run here")
    given = parser.parse_args()
    if given.guard:
        return add_guard(given.guard)
    if unknown := sorted(set(given.experiments) - set(EXPERIMENTS)):
        parser.error(f"{', '.join(unknown)}: expected some of {', '.join(EXPERIMENTS)}")
    with SUMS.open() as file:
        reported = [Sum(**row) for row in csv.DictReader(file)]
    lines = []
    for name in EXPERIMENTS:
        again = name in (given.experiments or EXPERIMENTS)
        lines += sums(name) if again else [each for each in reported if each.experiment == name]
    with SUMS.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([Sum._fields, *lines])
    print(f"wrote: {SUMS} ({len(lines)} lines)", file=sys.stderr)
    return None


if __name__ == "__main__":
    main()
