"""The reported predictions of digits and photos stay what they are: docs/predictions.csv.

After a change that is meant to alter them, the experiments are run anew and the file is written by
`python -m tools.predictions`; nothing else may alter a line of it.

The same seed gives another model on another CPU. So sums of predictions are compared where the
machine that evaluated is one of `guard.json`: CPU, vector extension, torch build and threads. The
extension alone is not enough: MKL and oneDNN choose code and block sizes by the maker and model of
the CPU. Elsewhere the tests check what holds on every machine, and a line at the end says so.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tools.predictions import EXPERIMENTS, GUARD, Sum, here, made_on, predictions, recipe

from wiseft.study.config import paths
from wiseft.study.targets import Targets
from wiseft.study.targets.runs import Run
from wiseft.tabulate.inputs import read_inputs
from wiseft.tabulate.settings import TabulateSettings

REPOSITORY = Path(__file__).parents[2]
METRICS_AND_PREDICTIONS = (paths.metrics_path, paths.predictions_path)
ELSEWHERE = 1e-3
"""Share of predictions that rounding may turn where thetas are evaluated on another machine."""

with (REPOSITORY / "docs" / "predictions.csv").open() as file:
    REPORTED = [Sum(**row) for row in csv.DictReader(file)]


@pytest.fixture
def targets(request, monkeypatch) -> Targets:
    monkeypatch.chdir(REPOSITORY)
    return Targets.read(".", {"experiment": request.param})


@pytest.mark.parametrize("targets", EXPERIMENTS, indirect=True)
def test_every_run_is_reported_with_the_recipe_as_it_is(targets: Targets) -> None:
    reported = {(s.run, s.seed): s.sha256 for s in REPORTED if s.experiment == targets.name}
    assert reported.pop(("", "")) == recipe(targets), "see the head of this file"
    assert set(reported) == {(run.name, str(run.seed)) for run in targets.runs}


def guarded(experiment: str, run: Run, machine: dict | None) -> str | None:
    """Return the sum of a run's predictions on a machine, where that is known."""
    for guard in json.loads(GUARD.read_text()):
        if (guard["experiment"], guard["machine"]) == (experiment, machine):
            return guard["predictions"][f"{run.name} seed {run.seed}"]
    return None


def origin(targets: Targets, run: Run) -> dict | None:
    """Return the machine that evaluated a run; None if that is not known.

    Evaluations of before name no machine. They are of this one if it gives these predictions.
    """
    if named := made_on(targets, run):
        return named
    known = guarded(targets.name, run, here())
    return here() if known and known == predictions(targets, run) else None


@pytest.mark.parametrize("targets", EXPERIMENTS, indirect=True)
def test_predictions_that_are_here_are_those_of_their_machine(
    targets: Targets, record_property
) -> None:
    found = {run: total for run in targets.runs if (total := predictions(targets, run))}
    if not found:
        pytest.skip(f"what {targets.name} made is not here")
    known = {run: guarded(targets.name, run, origin(targets, run)) for run in found}
    compared = {run: total for run, total in known.items() if total}
    assert {run: found[run] for run in compared} == compared
    reported = {(s.run, s.seed): s.sha256 for s in REPORTED if s.experiment == targets.name}
    equal = sum(reported[run.name, str(run.seed)] == found[run] for run in found)
    record_property(
        "said",
        f"{targets.name}: sums of {len(compared)} runs compared; {len(found) - len(compared)} runs "
        f"are of no machine whose sums are known; {equal} of {len(found)} runs as reported",
    )


@pytest.mark.parametrize("targets", EXPERIMENTS, indirect=True)
def test_predictions_that_are_here_are_whole_and_give_the_metrics(targets: Targets) -> None:
    """On every machine: read_inputs counts every number again, and looks at every sum."""
    datasets = sorted(targets.experiment.datasets)
    runs = [run for run in targets.runs if predictions(targets, run)]
    if not runs:
        pytest.skip(f"what {targets.name} made is not here")
    places = [(run.name, run.seed, dataset) for run in runs for dataset in datasets]
    metrics, files = ([of(*each) for each in places] for of in METRICS_AND_PREDICTIONS)
    settings = TabulateSettings.model_validate_json(targets.told.statistics())
    counted = read_inputs(metrics, files, settings).metrics
    for run in runs:
        rows = counted[(counted["run"] == run.name) & (counted["seed"] == run.seed)]
        assert set(rows["dataset"]) == set(datasets)
        assert set(targets.alphas(run.method_id)) <= set(rows["alpha"]), run


@pytest.mark.parametrize(
    ("targets", "dataset"), [("digits", "fonts"), ("photos", None)], indirect=["targets"]
)
def test_today_s_code_predicts_what_is_stored(
    targets: Targets, dataset, tmp_path: Path, record_property
) -> None:
    run = targets.runs[0]
    dataset = dataset or targets.experiment.datasets[-1]
    stored = paths.predictions_path(run.name, run.seed, dataset)
    manifest = targets.data.manifests([dataset])[0]
    ends = [
        targets.theta_0(run.model, run.method_id),
        targets.theta_1(run.model, run.method_id, run.seed),
    ]
    if not all(Path(path).exists() for path in (stored, manifest, *ends)):
        pytest.skip(f"what {targets.name} made is not here")
    command = [
        sys.executable,
        "-m",
        "wiseft.cli",
        "evaluate",
        "--theta-0",
        *ends[:1],
        "--theta-1",
        *ends[1:],
    ]
    command += ["--alphas", "0.000,0.500,1.000", "--dataset", manifest]
    command += ["--evaluate", targets.told.evaluation([dataset]), "--output-dir", tmp_path]
    command += ["--model", run.model, "--reference", run.reference, "--method", "m"]
    command += ["--variant", "", "--run", run.name, "--seed", run.seed, "--threads", "1"]
    command += ["--combinations", "weight", "--device", "cpu"]
    subprocess.run(list(map(str, command)), check=True)
    today, before = pq.read_table(tmp_path / dataset / "predictions.parquet"), pq.read_table(stored)
    exact = origin(targets, run) == here()
    for alpha in ("0.000", "0.500", "1.000"):
        name = f"weight/all/{alpha}/prediction"
        differ = np.mean(today[name].to_numpy() != before[name].to_numpy())
        assert differ <= (0 if exact else ELSEWHERE), alpha
    how = "the same" if exact else f"evaluated elsewhere; the same but for {ELSEWHERE:.1%} at most"
    record_property("said", f"{targets.name}: predictions of {dataset} by today's code: {how}")
