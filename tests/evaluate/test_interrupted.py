"""An evaluation that is killed goes on where it was, and ends with the same bytes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from tests.evaluate.conftest import (
    BATCH,
    CLASSES,
    METADATA,
    N,
    evaluation,
    prepared_split,
    tiny_header,
    tiny_tensors,
    write_dataset,
)

from wiseft.base.messages import shown
from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.evaluate import chunks, results
from wiseft.evaluate.request import Request
from wiseft.evaluate.suite import evaluate_suite
from wiseft.study.data.prepared import write_prepared
from wiseft.thetas.partial_tensors import PartialTensors
from wiseft.thetas.theta import save_theta

Build = Callable[..., Request]
FILES = ("predictions.parquet", "metrics.json", "logits.safetensors")


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many short chunks, of which every one is noted."""
    monkeypatch.setenv("WISEFT_SAVE_SECONDS", "0")
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The images of every batch that was decoded."""
    sizes: list[int] = []
    read = chunks.batches

    def counted(*arguments):
        for images, labels in read(*arguments):
            sizes.append(len(images))
            yield images, labels

    monkeypatch.setattr(chunks, "batches", counted)
    return sizes


def contents(folder: Path, dataset: str = "shapes") -> dict[str, bytes]:
    found = {name: folder / dataset / name for name in FILES}
    return {name: path.read_bytes() for name, path in found.items() if path.exists()}


def test_killed_at_60_percent_it_ends_with_the_same_bytes(
    ends, tmp_path: Path, seen: list[int], capfd, fork, wait
) -> None:
    n = 900
    split = prepared_split(n, 0)
    manifest = write_prepared(tmp_path / "many", "shapes", {"test": split}, CLASSES)
    options = ["--theta-0", ends.theta_0, "--theta-1", ends.theta_1, "--dataset", manifest]
    options += ["--evaluate", evaluation(splits=["test"]).model_dump_json(), "--alphas", "0,0.5,1"]
    options += ["--combinations", "weight,output,random", "--logits", "0,0.5", "--device", "cpu"]
    options += ["--batch-size", BATCH]
    for key in ("model", "reference", "method", "variant", "run", "seed"):
        options += [f"--{key}", METADATA[key]]

    def command(name: str) -> list[str]:
        folders = ["--output-dir", tmp_path / name, "--state", tmp_path / "state" / name]
        return ["evaluate", *map(str, [*options, *folders])]

    process = fork(lambda: main(command("killed")))
    note = tmp_path / "state" / "killed" / "shapes.partial.json"
    while not note.exists() or json.loads(note.read_text())["rows"] < 0.6 * n:
        assert os.waitpid(process, os.WNOHANG) == (0, 0)
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    assert wait(process) == -signal.SIGKILL
    rows = json.loads(note.read_text())["rows"]
    assert 0.6 * n <= rows < n
    assert contents(tmp_path / "killed") == {}

    with contextlib.suppress(SystemExit):
        main(command("killed"))
    assert sum(seen) == n - rows
    assert f"resuming after {rows} samples" in capfd.readouterr().err
    with contextlib.suppress(SystemExit):
        main(command("whole"))
    assert sum(seen) == 2 * n - rows
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert set(contents(tmp_path / "whole")) == set(FILES)
    assert not list((tmp_path / "state").iterdir())


class Killed(BaseException):
    """In place of a signal."""


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[Request, int], None]:
    """Evaluate and stop right after the note of that many samples of some dataset."""

    def interrupted(request: Request, rows: int, notes: int = 1) -> None:
        original, left = PartialTensors.save, [notes]

        def save(self, done: int) -> None:
            original(self, done)
            left[0] -= done >= rows
            if not left[0]:
                raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(PartialTensors, "save", save)
            evaluate_suite(request)

    return interrupted


def other_theta(request: Request, tmp_path: Path) -> Request:
    path = tmp_path / "other.safetensors"
    save_theta(path, tiny_tensors(2), tiny_header("fine-tuned", "finetune"))
    return dataclasses.replace(request, theta_1=path)


def other_data(request: Request, tmp_path: Path) -> Request:
    return dataclasses.replace(request, manifests=[write_dataset(tmp_path / "other", shift=9)])


def other_view(request: Request, tmp_path: Path) -> Request:
    views = [{"name": "all", "metric": "macro-f1"}]
    return dataclasses.replace(request, evaluate=evaluation(views=views))


@pytest.mark.parametrize(
    "change",
    [
        other_theta,
        other_data,
        other_view,
        lambda request, _: dataclasses.replace(request, alphas=["0.500"]),
        lambda request, _: dataclasses.replace(request, batch_size=BATCH - 1),
        lambda request, _: dataclasses.replace(request, combinations=["weight"]),
        lambda request, _: dataclasses.replace(request, metadata={**METADATA, "seed": 1}),
    ],
)
def test_what_is_another_evaluation_begins_anew(
    request_for: Build, interrupt, seen: list[int], tmp_path: Path, change
) -> None:
    request = request_for(state=tmp_path / "state")
    interrupt(request, 37)
    seen.clear()
    other, lines = change(request, tmp_path), []
    with shown(lines.append):
        evaluate_suite(other)
    assert sum(seen) == sum(N.values())
    assert any("it is of other weights, data or settings" in line for line in lines)
    evaluate_suite(dataclasses.replace(other, output_dir=tmp_path / "whole", state=None))
    assert contents(other.output_dir) == contents(tmp_path / "whole")


@pytest.mark.parametrize("damage", ["changed", "cut", "note"])
def test_a_damaged_state_begins_anew(
    request_for: Build, interrupt, seen: list[int], tmp_path: Path, damage: str
) -> None:
    request = request_for(state=tmp_path / "state")
    interrupt(request, 37)
    state, note = sorted((tmp_path / "state").iterdir())
    content = state.read_bytes()
    if damage == "note":
        note.write_text("{")
    else:
        header = 8 + int.from_bytes(content[:8], "little")
        # The first row of the first tensor, which is there.
        changed = content[:header] + bytes([content[header] ^ 1]) + content[header + 1 :]
        state.write_bytes(changed if damage == "changed" else content[: header + 1])
    seen.clear()
    lines: list[str] = []
    with shown(lines.append):
        evaluate_suite(request)
    assert sum(seen) == sum(N.values())
    assert any("it is begun anew" in line for line in lines)
    evaluate_suite(dataclasses.replace(request, output_dir=tmp_path / "whole", state=None))
    assert contents(request.output_dir) == contents(tmp_path / "whole")


def test_a_suite_whose_files_a_workflow_took_away_keeps_the_datasets_that_were_done(
    request_for: Build, interrupt, seen: list[int], tmp_path: Path
) -> None:
    manifests = [write_dataset(tmp_path, name, shift) for name, shift in (("a", 0), ("b", 5))]
    request = request_for(
        manifests=manifests, evaluate=evaluation(("a", "b")), state=tmp_path / "state"
    )
    whole = dataclasses.replace(request, output_dir=tmp_path / "whole", state=None)
    evaluate_suite(whole)
    n = sum(N.values())
    interrupt(request, n, notes=2)  # the last of each
    assert contents(request.output_dir, "a")
    for path in (request.output_dir / "a").iterdir():
        path.unlink()
    seen.clear()
    evaluate_suite(request)
    assert seen == []
    for name in ("a", "b"):
        assert contents(request.output_dir, name) == contents(whole.output_dir, name)
    assert not (tmp_path / "state").exists()


def test_files_of_several_row_groups_grow(
    request_for: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written in pieces, and read again in others, is what one piece would be."""
    evaluate_suite(request_for(alphas=["0", "0.25", "0.5", "1"], output_dir=tmp_path / "whole"))
    monkeypatch.setattr(results, "ROW_GROUP_BYTES", 20 * 2 * 3 * 13)  # 13 samples of three alphas
    request = request_for()
    evaluate_suite(request)
    path = request.output_dir / "shapes" / "predictions.parquet"
    assert results.pq.read_metadata(path).num_row_groups == 5
    evaluate_suite(request_for(alphas=["0.25"]))
    assert results.pq.read_metadata(path).num_row_groups == 7
    expected = pd.read_parquet(tmp_path / "whole" / "shapes" / "predictions.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(path), expected)


def test_an_interval_that_is_no_number(request_for: Build, monkeypatch) -> None:
    monkeypatch.setenv("WISEFT_SAVE_SECONDS", "often")
    with pytest.raises(WiseftError, match="WISEFT_SAVE_SECONDS is 'often'; it must be a number"):
        evaluate_suite(request_for())
