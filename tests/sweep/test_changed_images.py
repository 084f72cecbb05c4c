"""A second sweep into the same folder, after the images were rendered again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.evaluate.conftest import blobs
from tests.sweep.conftest import CLASSES

from wiseft.base.messages import shown
from wiseft.tool.record import Result
from wiseft.tool.sweep import sweep

ALPHAS = [0.25, 0.75]
PADDED = 4096


def render(root: Path, seed: int) -> None:
    """Write JPEG files of the same names, padded to the same size as a file format may do."""
    for shift, name in enumerate(("photos", "sketches", "camera")):
        for place, label in enumerate(CLASSES if name != "camera" else [""]):
            (root / name / label).mkdir(parents=True, exist_ok=True)
            for number, image in enumerate(blobs(6, 1000 * seed + 100 * shift + place)):
                path = root / name / label / f"{number}.jpg"
                Image.fromarray(image).save(path)
                path.write_bytes(path.read_bytes().ljust(PADDED, b"\0"))
                assert path.stat().st_size == PADDED


@pytest.fixture
def call(clips, tmp_path):
    """Sweep the folders; return the result and what was said."""
    for name, weights in zip(("z.pt", "f.pt"), clips, strict=True):
        torch.save(weights, tmp_path / name)
    images = tmp_path / "images"
    render(images, 1)

    def of(output: str) -> tuple[Result, list[str]]:
        said: list[str] = []
        ends = tmp_path / "z.pt", tmp_path / "f.pt", images / "photos"
        shifts = [images / "sketches", images / "camera"]
        options = {"architecture": "Tiny", "alphas": ALPHAS}
        with shown(said.append):
            return sweep(*ends, shifts, tmp_path / output, **options), said

    return of


def numbers(result: Result) -> dict[str, bytes]:
    files = (result.folder / ".work" / "evaluation").glob("*/predictions.parquet")
    return {file.parent.name: file.read_bytes() for file in files}


def test_rendered_again_the_same_command_gives_the_new_numbers(call, tmp_path):
    old, _ = call("out")
    before = numbers(old)
    render(tmp_path / "images", 2)
    new, said = call("out")
    assert len([line for line in said if "images have changed; recomputing" in line]) == 3
    after, fresh = numbers(new), call("other")[0]
    assert after == numbers(fresh)
    assert all(after[name] != before[name] for name in ("reference", "sketches", "camera"))
    assert new.record.accuracy == fresh.record.accuracy
    assert new.record.sets[0].sha256 == old.record.sets[0].sha256  # of names, sizes and labels


def test_touched_files_of_the_same_bytes_compute_nothing_again(call, tmp_path, monkeypatch):
    old, _ = call("out")
    before = numbers(old)
    for path in (tmp_path / "images").rglob("*.jpg"):
        os.utime(path, (1, 1))
    monkeypatch.setattr("wiseft.evaluate.suite.chunks", None)  # no pass is made
    new, said = call("out")
    assert numbers(new) == before and not any("changed" in line for line in said)


def test_an_upgrade_between_two_evaluations_is_named(call, monkeypatch):
    first, _ = call("out")
    (only,) = first.record.evaluations
    assert only["evaluations"] == "3" and only["torch"] == str(torch.__version__)
    assert {"commit", "Pillow", "timm", "transformers", "open_clip_torch", "cpu"} < only.keys()
    path = first.folder / ".work" / "evaluation" / "camera"
    (path / "metrics.json").unlink()
    versions = {"Pillow": "99.0", "numpy": np.__version__}
    made = {"versions": versions, "commit": "c" * 40, "machine": {}}
    monkeypatch.setattr("wiseft.evaluate.suite.made_with", lambda: made)
    second, _ = call("out")
    assert json.loads((path / "metrics.json").read_text())["how"]["commit"] == "c" * 40
    counts = sorted(each["evaluations"] for each in second.record.evaluations)
    assert counts == ["1", "2"]
    said = f"Evaluations differ in Pillow: {', '.join(sorted(['99.0', only['Pillow']]))}."
    page = second.page.read_text()
    assert said in page and f"commit {'c' * 40}" in page
    assert "differ in numpy" not in page
