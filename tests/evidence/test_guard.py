"""What a guard run gave is kept with the machine that gave it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from tools import predictions
from tools.predictions import EXPERIMENTS, Sum

from wiseft.base.io import write_json
from wiseft.errors import WiseftError
from wiseft.study.config import paths

REPOSITORY = Path(__file__).parents[2]
HERE = {"cpu": "A", "vector_extension": "AVX2", "torch": "2", "threads": 1, "device": "x86_64"}


@pytest.fixture
def guard(tmp_path, monkeypatch):
    """Add the sums of a clone in which one experiment is finished; returns the file's content."""
    monkeypatch.setattr(predictions, "GUARD", tmp_path / "guard.json")
    targets = SimpleNamespace(runs=[SimpleNamespace(name="run", seed=0)])
    monkeypatch.setattr(predictions.Targets, "read", lambda root, settings: targets)
    commit = SimpleNamespace(stdout="abc\n")
    monkeypatch.setattr(predictions.subprocess, "run", lambda *_, **__: commit)

    def add(machine, sha256):
        def sums(name):
            if name != EXPERIMENTS[0]:
                raise WiseftError(f"run {name} first")
            return [Sum(name, "", "", "recipe"), Sum(name, "run", "0", sha256)]

        monkeypatch.setattr(predictions, "sums", sums)
        monkeypatch.setattr(predictions, "made_on", lambda targets, run: machine)
        monkeypatch.setattr(predictions, "here", lambda: HERE)
        predictions.add_guard(tmp_path)
        return json.loads((tmp_path / "guard.json").read_text())

    return add


def test_a_machine_s_sums_take_the_place_of_its_earlier_ones(guard) -> None:
    expected = {"experiment": EXPERIMENTS[0], "machine": HERE, "commit": "abc"}
    assert guard(None, "1") == [expected | {"predictions": {"run seed 0": "1"}}]
    assert guard(HERE, "2") == [expected | {"predictions": {"run seed 0": "2"}}]
    other = HERE | {"vector_extension": "AVX512"}
    assert [each["machine"] for each in guard(other, "3")] == [HERE, other]


@pytest.mark.parametrize(
    ("machines", "found"),
    [
        ((HERE, HERE), HERE),
        ((HERE, HERE | {"cpu": "B"}), None),
        ((None, None), None),  # evaluations of before do not say
    ],
)
def test_the_machine_of_a_run_is_that_of_all_its_evaluations(
    tmp_path, monkeypatch, machines, found
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, machine in zip("ab", machines, strict=True):
        path = paths.metrics_path("run", 0, name)
        path.parent.mkdir(parents=True)
        named = {key: machine[key] for key in machine if key != "device"} if machine else None
        write_json(path, {"how": {"device": "x86_64"} | ({"machine": named} if named else {})})
    targets = SimpleNamespace(experiment=SimpleNamespace(datasets=["a", "b"]))
    assert predictions.made_on(targets, SimpleNamespace(name="run", seed=0)) == found


def test_the_guard_of_the_repository_names_machine_and_every_run() -> None:
    for each in json.loads(predictions.GUARD.read_text()):
        assert each["machine"].keys() == HERE.keys()
        targets = predictions.Targets.read(REPOSITORY, {"experiment": each["experiment"]})
        runs = {f"{run.name} seed {run.seed}" for run in targets.runs}
        assert each["predictions"].keys() == runs
