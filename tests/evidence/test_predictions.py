"""The reported predictions of digits and photos stay what they are: docs/predictions.csv.

After a change that is meant to alter them, the experiments are run anew and the file is written by
`python -m tools.predictions`; nothing else may alter a line of it.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tools.predictions import EXPERIMENTS, Sum, predictions, recipe

from wiseft.config import paths
from wiseft.targets import Targets

REPOSITORY = Path(__file__).parents[2]

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


@pytest.mark.parametrize("targets", EXPERIMENTS, indirect=True)
def test_predictions_that_are_here_are_the_reported_ones(targets: Targets) -> None:
    reported = {(s.run, s.seed): s.sha256 for s in REPORTED if s.experiment == targets.name}
    here = {(run.name, str(run.seed)): predictions(targets, run) for run in targets.runs}
    here = {run: found for run, found in here.items() if found}
    if not here:
        pytest.skip(f"what {targets.name} made is not here")
    assert here == {run: reported[run] for run in here}


@pytest.mark.parametrize(
    ("targets", "dataset"), [("digits", "fonts"), ("photos", None)], indirect=["targets"]
)
def test_today_s_code_predicts_what_was_reported(targets: Targets, dataset, tmp_path: Path) -> None:
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
    for alpha in ("0.000", "0.500", "1.000"):
        name = f"weight/all/{alpha}/prediction"
        assert today[name].equals(before[name]), alpha
