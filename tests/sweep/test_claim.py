"""Whose a sweep's folder is, and what its printed lines hold."""

from __future__ import annotations

import ast
import threading
import time
from pathlib import Path

import pytest
import torch
from tests.sweep.records import make_sweep

from wiseft.base.io import read_json, sha256_json, write_json
from wiseft.errors import WiseftError
from wiseft.foreign.door import Given
from wiseft.thetas.preprocessing import Preprocessing
from wiseft.tool.claim import INPUTS, WORK, claimed, inputs_of
from wiseft.tool.loading_lines import loading_example
from wiseft.tool.record import Result, write_record

MINE = {"ends": ["a", "b"], "seed": 0}


def enter(folder: Path) -> None:
    with claimed(folder, MINE):
        pass


def test_the_identity_is_named_fields_that_a_file_keeps(tmp_path: Path):
    (tmp_path / "end.pt").write_bytes(b"weights")

    def inputs(**of_checkpoints: object) -> dict:
        given = Given(**of_checkpoints)  # type: ignore[arg-type]
        return inputs_of([tmp_path / "end.pt"], [], given, {"a": "bird"}, 3, {"kind": "lines"})

    edges = {"size": 32, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    fields = {
        "architecture": "ViT-B-32",
        "preprocessing": Preprocessing(**edges),
        "templates": ("a {c}.",),
        "classes": ("bird", "tail"),
        "head": tmp_path / "head.pt",
        "features": "raw",
    }
    nothing, every = inputs(), inputs(**fields)
    write_json(tmp_path / "inputs.json", every)
    assert read_json(tmp_path / "inputs.json") == every
    assert every["templates"] == ["a {c}."] and every["preprocessing"]["std"] == [0.25] * 3
    assert every == inputs(**fields, norm=2.0) == inputs(**fields | {"classes": ["bird", "tail"]})
    of_one = [inputs(**{name: value}) for name, value in fields.items()]
    assert [[key for key in one if one[key] != nothing[key]] for one in of_one] == [
        [name] for name in fields
    ]


@pytest.mark.parametrize("content", [b"", b'{"ends": [', b'{"ends": ["a", "c"], "seed": 0}'])
def test_a_damaged_claim_needs_no_hand_where_the_record_is_whole(tmp_path: Path, content: bytes):
    record = make_sweep(tmp_path / "out")
    write_json(tmp_path / "out" / WORK / INPUTS, MINE)
    enter(tmp_path / "out")
    (tmp_path / "out" / WORK / INPUTS).write_bytes(content)
    with pytest.raises(
        WiseftError, match=r"is no sweep of these .*; name another folder, or remove"
    ):
        enter(tmp_path / "out")
    ours = record.model_copy(update={"inputs": sha256_json(MINE)})
    write_record(tmp_path / "out", ours)
    enter(tmp_path / "out")


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(WiseftError, match="is no sweep of these"):
        enter(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", [".", "model", WORK, f"{WORK}/model", f"{WORK}/evaluation"])
def test_nothing_is_removed_or_replaced_through_a_link(tmp_path: Path, name: str):
    theirs = tmp_path / "somewhere"
    (theirs / "model").mkdir(parents=True)
    (theirs / "model" / "weights.pt").write_bytes(b"mine")
    link = tmp_path / "out" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(theirs)
    with pytest.raises(WiseftError, match=f"{link} is a link, .* name another folder"):
        enter(tmp_path / "out")
    assert (theirs / "model" / "weights.pt").read_bytes() == b"mine"
    assert [path.name for path in theirs.rglob("*")] == ["model", "weights.pt"]


def test_one_process_at_a_time_works_in_a_folder(tmp_path: Path, said: list[str]):
    entered, end = threading.Event(), time.monotonic() + 60

    def other() -> None:
        with claimed(tmp_path / "out", MINE):
            entered.set()

    with claimed(tmp_path / "out", MINE):
        thread = threading.Thread(target=other)
        thread.start()
        while not said:
            assert time.monotonic() < end, "nothing was said of the one that is waited for"
            time.sleep(0.005)
        assert not entered.is_set()
    thread.join(60)
    assert entered.is_set()
    assert not list((tmp_path / "out" / WORK).iterdir())


@pytest.mark.parametrize("library", ["open_clip", "transformers", "timm", "torch"])
def test_a_files_name_is_a_text_in_the_lines_that_load_it(tmp_path: Path, library: str):
    name = 'x"); import os\nos.system("touch y") #\\.pt'
    record = make_sweep(tmp_path / "out")
    with (tmp_path / "out" / "model" / name).open("wb") as file:
        torch.save({"weight": torch.zeros(1)}, file)
    model = record.model.model_copy(update={"file": f"model/{name}", "loads_with": library})
    lines = ast.parse(
        loading_example(Result(tmp_path / "out", record.model_copy(update={"model": model})))
    )
    texts = [node.value for node in ast.walk(lines) if isinstance(node, ast.Constant)]
    assert (tmp_path / "out" / "model" / name).as_posix() in texts
    assert not any(
        isinstance(node, ast.Attribute) and node.attr == "system" for node in ast.walk(lines)
    )
