"""Cells that are computed again: a rehearsal's own are right, and seeded mistakes are noticed.

One small rehearsal of ImageNet and four shifts. Then the program is given a mistake, evaluates the
runs once more and tabulates; what the official archives and the weights tell stays as it was.
Mistakes that are seen by the numbers of images, or by comparing runs, the program finds itself.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tools.rehearsal import __main__ as rehearsal
from tools.rehearsal import recompute

from wiseft.base import metrics
from wiseft.cli import main
from wiseft.evaluate import spaces, suite, views
from wiseft.evaluate.request import Request
from wiseft.images.store import Manifest
from wiseft.study.config import paths
from wiseft.study.targets import Targets

EXPERIMENT = "coop"
Cells = Mapping[recompute.Cell, recompute.Told]
Rehearsed = tuple[Targets, Cells, pd.DataFrame]
Patch = pytest.MonkeyPatch


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsed]:
    """An experiment that came out, its cells computed again, and its table; all is done there."""
    root = tmp_path_factory.mktemp("recompute") / "rehearsal"
    (outcome,) = rehearsal.run([EXPERIMENT], root, cores=2, keep=False)
    assert outcome.error == ""
    targets = Targets.read(root, {"experiment": EXPERIMENT})
    with contextlib.chdir(root):
        rows = rows_of(targets)
        yield targets, recompute.told(targets, root, rows), rows


def rows_of(targets: Targets) -> pd.DataFrame:
    return pd.read_csv(targets.files.tables["table_csv"], keep_default_na=False)


def findings(rows: pd.DataFrame, told: Cells) -> list[str]:
    return recompute.findings(recompute.table(rows, EXPERIMENT), told)


@pytest.mark.slow
def test_the_table_is_what_is_computed_again(rehearsed: Rehearsed):
    targets, told, rows = rehearsed
    assert findings(rows, told) == []
    shifts = [(name, "test") for name in targets.experiment.datasets]
    assert {cell[1:] for cell in told} == {("imagenet", "held-out"), *shifts}
    assert {cell[0] for cell in told} == {run.name for run in targets.combined}


@pytest.mark.slow
def test_a_rehearsal_whose_cells_nobody_computed_again_fails(
    rehearsed: Rehearsed, monkeypatch: Patch
):
    targets, *_ = rehearsed
    monkeypatch.setattr(recompute, "told", lambda *_: {})
    (said,) = recompute.differences(targets, targets.catalogue.root)
    assert "no cell of" in said


@pytest.mark.slow
def test_ends_differ_and_curves_bend(rehearsed: Rehearsed):
    """So that a mistake has other numbers: each of the curves of ImageNet and its shifts."""
    _, told, _ = rehearsed
    curves = [each.scores() for cell, each in told.items() if cell[2] == "test"]
    assert all(abs(scores[0.0] - scores[1.0]) > 0.02 for scores in curves)
    bends = [scores[0.25] - (0.75 * scores[0.0] + 0.25 * scores[1.0]) for scores in curves]
    assert sum(abs(bend) > 0.01 for bend in bends) > len(bends) / 2
    assert all(0.05 < value < 0.95 for scores in curves for value in scores.values())


def swap_datasets(patch: Patch) -> None:
    """The images of each of two datasets under the name of the other."""
    pair = ("imagenet-v2", "imagenet-sketch")
    other = dict(zip(pair, reversed(pair), strict=True))
    change_manifests(patch, lambda it: replace(it, dataset=other.get(it.dataset, it.dataset)))


def evaluate_held_out(patch: Patch) -> None:
    """Held-out images under the name of the test split."""
    change_manifests(
        patch,
        lambda it: replace(
            it, splits={**it.splits, "test": it.splits.get("held-out", it.splits["test"])}
        ),
    )
    right = suite.open_split

    def mistaken(manifest: Path, split: str, *more: Any) -> Any:
        held_out = split == "test" and manifest.parent.name == "imagenet"
        return replace(right(manifest, "held-out" if held_out else split, *more), name=split)

    patch.setattr(suite, "open_split", mistaken)


def change_manifests(patch: Patch, change: Callable[[Manifest], Manifest]) -> None:
    right = Request.suite
    patch.setattr(Request, "suite", lambda self: [(change(m), how) for m, how in right(self)])


def shift_label_map(patch: Patch) -> None:
    """Each class of ImageNet-R and ImageNet-A is made up of the next one's."""
    right = spaces.Projection.__init__

    def mistaken(self: Any, members: list[list[int]], *more: Any) -> None:
        right(self, [*members[1:], members[0]], *more)

    patch.setattr(spaces.Projection, "__init__", mistaken)


def reverse_alpha(patch: Patch) -> None:
    right = suite.make_sweep
    patch.setattr(suite, "make_sweep", lambda zero, one, *more: right(one, zero, *more))


def measure_macro_f1(patch: Patch) -> None:
    """What is called accuracy is another metric."""
    right = metrics.measure

    def mistaken(metric: str, *more: Any) -> metrics.Outcome:
        return right(metrics.MACRO_F1, *more)

    for module in (metrics, views):
        patch.setattr(module, "measure", mistaken)


RUN = "clip-vit-b-16__imagenet__end-to-end__coop"
SHIFTS = ("imagenet-v2", "imagenet-r", "imagenet-sketch", "imagenet-a")
MISTAKES: dict[str, tuple[Callable[[Patch], None], dict[str, str]]] = {
    "two datasets swapped": (
        swap_datasets,
        {
            "imagenet-v2 test": f"the numbers of {RUN} imagenet-sketch test",
            "imagenet-sketch test": f"the numbers of {RUN} imagenet-v2 test",
        },
    ),
    "held-out for test": (
        evaluate_held_out,
        {"imagenet test": f"the numbers of {RUN} imagenet held-out"},
    ),
    "a shifted label map": (
        shift_label_map,
        {f"imagenet-{name} test": "labels shifted by one" for name in "ra"},
    ),
    "alpha reversed": (
        reverse_alpha,
        {f"{name} test": "alpha reversed" for name in ("imagenet", *SHIFTS)},
    ),
    "another metric": (
        measure_macro_f1,
        {"imagenet test": "macro-F1 instead of accuracy"},
    ),
}
"""What is seeded, and by cell of the first run what is said of it."""


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_seeded_mistakes_are_noticed(rehearsed: Rehearsed, monkeypatch: Patch, mistake: str):
    targets, told, _ = rehearsed
    seed, expected = MISTAKES[mistake]
    with monkeypatch.context() as patch:
        seed(patch)
        measure_again(targets)
    found = {text.partition(": ")[0]: text for text in findings(rows_of(targets), told)}
    for cell, said in expected.items():
        assert said in found[f"{RUN} {cell}"]


def measure_again(targets: Targets) -> None:
    """Evaluate all runs and tabulate, by the commands of the workflow."""
    told, data, names = targets.told, targets.data, targets.experiment.datasets
    for run in targets.combined:
        folder = paths.evaluations_folder(run.name, run.seed)
        shutil.rmtree(folder, ignore_errors=True)
        command = ["evaluate", "--alphas", ",".join(targets.alphas(run.method_id))]
        command += ["--theta-0", targets.theta_0(run.model, run.method_id)]
        command += ["--theta-1", targets.theta_1(run.model, run.method_id, run.seed)]
        command += [part for path in data.manifests(names) for part in ("--dataset", path)]
        command += [part for path in data.manifests(data.likes(names)) for part in ("--like", path)]
        command += ["--evaluate", told.evaluation(names), "--output-dir", folder]
        command += shlex.split(told.identity(run.model, run.method_id, str(run.seed)))
        call(*command, "--combinations", told.combinations(run.method_id), "--device", "cpu")
    command = ["tabulate", "--experiment", EXPERIMENT, "--settings", told.statistics()]
    for name, path in targets.files.tables.items():
        command += [f"--{name.replace('_', '-')}", path]
    command += ["--recipes", told.recipes(), *shlex.split(told.published())]
    of_runs = map(targets.files.evaluated, (paths.metrics_path, paths.predictions_path))
    call(*command, *(path for found in of_runs for path in found))


def call(*arguments: object) -> None:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert not left.value.code


def test_ties_are_nobodys_mistake() -> None:
    cell, labels = ("run", "imagenet-v2", "test"), np.zeros(100, np.int64)
    right = {0.0: labels, 1.0: labels}

    def found(turned: int, ties: int) -> list[str]:
        table = {cell: (100, {0.0: 1 - turned / 100, 1.0: 1.0})}
        return recompute.findings(table, {cell: recompute.Told(labels, 2, right, {0.0: ties})})

    assert found(2, ties=0) and not found(2, ties=1)
    assert found(3, ties=100)  # a model that tells nothing apart hides no mistake


def test_classes_of_one_name_are_ties() -> None:
    head = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # as of two missiles
    features = torch.tensor([[3.0, 1.0], [3.0, 1.0], [1.0, 3.0]])
    assert recompute.tied(features @ head.T, torch.tensor([0, 2, 2])) == 1
