"""Image files that change in place: what was evaluated of them before is not reused."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from tests.evaluate.conftest import CLASSES, METADATA, blobs, evaluation

from wiseft.base.io import sha256_json, write_json
from wiseft.base.messages import shown
from wiseft.errors import DamagedFile, WiseftError
from wiseft.evaluate import chunks
from wiseft.evaluate.request import Request
from wiseft.evaluate.results import LOGITS as NAME
from wiseft.evaluate.suite import evaluate_suite
from wiseft.images.cache_writer import write_cache
from wiseft.images.index_folder import index_folder
from wiseft.images.seen import Seen
from wiseft.tabulate.inputs import read_inputs
from wiseft.tabulate.settings import TabulateSettings
from wiseft.thetas.partial_tensors import PartialTensors
from wiseft.thetas.preprocessing import Transform

PER_CLASS = 4
FOLDERS = [f"{place} {name}" for place, name in enumerate(CLASSES)]


def render(folder: Path, seed: int) -> None:
    """Write files of the same names and sizes."""
    for place, name in enumerate(FOLDERS):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(blobs(PER_CLASS, 100 * seed + place)):
            Image.fromarray(image).save(folder / name / f"{number}.png", compress_level=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    render(tmp_path / "images", 1)
    return tmp_path / "images"


@pytest.fixture
def build(folder: Path, tmp_path: Path, request_for: Callable[..., Request]):
    """Return a request for the folder."""
    manifest = tmp_path / "sets" / "shapes" / "manifest.json"
    index_folder(folder, manifest, "shapes", ["test"], [[name] for name in CLASSES])

    def of(**changes) -> Request:
        given = {"manifests": [manifest], "evaluate": evaluation(splits=["test"])}
        return request_for(**given | changes)

    return of


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The images of every batch that is evaluated."""
    sizes: list[int] = []
    read = chunks.batches

    def counted(*arguments):
        for images, labels in read(*arguments):
            sizes.append(len(images))
            yield images, labels

    monkeypatch.setattr(chunks, "batches", counted)
    return sizes


def run(request: Request) -> tuple[dict, pd.DataFrame, list[str]]:
    said: list[str] = []
    with shown(said.append):
        (path,) = evaluate_suite(request)
    table = pd.read_parquet(path.with_name("predictions.parquet"))
    return json.loads(path.read_text()), table, said


def fresh(request: Request, output: Path) -> pd.DataFrame:
    return run(Request(**{**vars(request), "output_dir": output}))[1]


def test_rendered_again_all_is_computed_again(build, folder, tmp_path, decoded):
    request = build(logits=["0.500"])
    metrics, old, _ = run(request)
    file = request.output_dir / "shapes" / NAME
    made = file.stat().st_mtime_ns
    render(folder, 2)
    again, new, said = run(request)
    assert "shapes, split test: images have changed; recomputing" in said
    assert again["how"]["images"] != metrics["how"]["images"]
    assert again["identity"] == metrics["identity"]  # the index is the same
    top = "weight/all/0.500/top1"
    assert not new[top].equals(old[top])
    assert new.equals(fresh(request, tmp_path / "other"))
    assert file.stat().st_mtime_ns != made  # the logits are of the new images, too
    decoded.clear()
    assert run(request)[1].equals(new) and not decoded


@pytest.mark.parametrize("kept", [True, False])
def test_touched_files_of_the_same_bytes_are_not_computed_again(build, folder, decoded, kept):
    metrics, table, _ = run(build())
    decoded.clear()
    for path in folder.rglob("*.png"):
        path.write_bytes(path.read_bytes())
        os.utime(path)
    if not kept:
        (build().manifests[0].parent / "test" / "seen").unlink()
    again, same, said = run(build())
    assert not decoded and again == metrics and same.equals(table)
    assert "3 kept" in said[-1]
    grown, _, said = run(build(alphas=["0.000", "0.250", "0.500", "1.000"]))
    assert "3 kept" in said[-1] and grown["how"]["images"] == metrics["how"]["images"]


def test_a_time_that_was_set_back_hides_nothing(build, folder):
    _, old, _ = run(build())
    path = folder / FOLDERS[0] / "0.png"
    before = path.stat()
    shutil.copyfile(folder / FOLDERS[1] / "0.png", path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    new = run(build())[1]
    top = "weight/all/0.500/top1"
    assert (new[top] != old[top]).tolist() == [True] + [False] * (len(new) - 1)


def test_an_evaluation_from_a_cache_has_the_digest_of_its_files(build, folder, tmp_path):
    plain, _, _ = run(build())
    write_cache(build().manifests[0], Transform(size=32), ["test"])
    cached, _, said = run(build())
    assert "3 kept" in said[-1]
    other, _, _ = run(build(output_dir=tmp_path / "other"))
    assert other["how"]["images"] == plain["how"]["images"] == cached["how"]["images"]
    render(folder, 2)
    write_cache(build().manifests[0], Transform(size=32), ["test"])
    again, _, said = run(build())
    assert "shapes, split test: images have changed; recomputing" in said
    assert again["how"]["images"] != plain["how"]["images"]


def test_metrics_of_before_are_reused(build, folder, decoded):
    """They say nothing of images and software: that is unknown, not changed."""
    (path,) = evaluate_suite(build())
    content = json.loads(path.read_text())
    for key in ("images", "versions", "commit", "machine"):
        del content["how"][key]
    del content["sha256"]
    write_json(path, content | {"sha256": sha256_json(content)})
    decoded.clear()
    render(folder, 2)
    again, _, said = run(build())
    assert not decoded and "3 kept" in said[-1] and "images" not in again["how"]


@pytest.mark.parametrize("change", [True, False])
def test_a_killed_evaluation_goes_on_only_with_the_same_images(
    build, folder, tmp_path, decoded, monkeypatch, change
):
    monkeypatch.setenv("WISEFT_SAVE_SECONDS", "0")
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1)
    save = PartialTensors.save

    def killed(self, rows):
        save(self, rows)
        if rows >= 10:
            raise KeyboardInterrupt

    request = build(state=tmp_path / "state", batch_size=5)
    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(PartialTensors, "save", killed)
        run(request)
    if change:
        render(folder, 2)
    decoded.clear()
    metrics, table, _ = run(request)
    n = PER_CLASS * len(CLASSES)
    assert sum(decoded) == (n if change else n - 10)
    whole = build(output_dir=tmp_path / "other", batch_size=5)
    assert table.equals(fresh(whole, tmp_path / "other"))
    assert run(whole)[0]["how"]["images"] == metrics["how"]["images"]


def test_images_that_change_while_a_grid_grows_are_an_error(build, folder, monkeypatch):
    run(build())
    look = Seen.look

    def then_changed(self):
        found = look(self)
        render(folder, 2)
        return found

    monkeypatch.setattr(Seen, "look", then_changed)
    with pytest.raises(WiseftError, match="split test, changed while they were evaluated; run"):
        run(build(alphas=["0.000", "0.250", "0.500", "1.000"]))
    monkeypatch.undo()
    assert any("images have changed" in line for line in run(build())[2])


def test_a_table_of_evaluations_of_other_images_is_refused(build, folder, tmp_path):
    """Nothing would be paired: the one was evaluated before the files changed."""
    metrics = []
    for seed in (0, 1):
        request = build(output_dir=tmp_path / f"{seed}", metadata=METADATA | {"seed": seed})
        metrics += evaluate_suite(request)
        render(folder, 2)
    settings = TabulateSettings.model_validate(
        {
            "averages": {},
            "test_split": "test",
            "reference": METADATA["reference"],
            "bootstrap": {"resamples": 100, "seed": 0},
        }
    )
    with pytest.raises(DamagedFile, match="is of other images of shapes, split test, than"):
        read_inputs(metrics, [path.with_name("predictions.parquet") for path in metrics], settings)


def test_from_a_node_s_disk_all_is_the_same(build, tmp_path, monkeypatch):
    """Metrics, predictions and what was seen; an evaluation elsewhere computes nothing again."""
    plain = build(output_dir=tmp_path / "plain", logits=["0.500"])
    metrics, expected, _ = run(plain)
    monkeypatch.setenv("WISEFT_NODE", str(tmp_path / "node"))
    near = build(output_dir=tmp_path / "near", logits=["0.500"])
    found, table, _ = run(near)
    assert len(list((tmp_path / "node").rglob("*.png"))) == PER_CLASS * len(CLASSES)
    pd.testing.assert_frame_equal(table, expected)
    for key in ("rows", "identity", "predictions_sha256"):
        assert found[key] == metrics[key]
    assert found["how"]["images"] == metrics["how"]["images"]
    before = (near.output_dir / "shapes" / NAME).stat().st_mtime_ns
    monkeypatch.delenv("WISEFT_NODE")
    assert run(near)[1].equals(expected)
    assert (near.output_dir / "shapes" / NAME).stat().st_mtime_ns == before
