"""Nothing that a licence binds gets under DVC, whatever it is called and wherever it lies."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tools.sharing.guard import check_shareable, check_tracked, problem_of

from wiseft.errors import WiseftError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "runs").mkdir(parents=True)
    return folder


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, format=kind)
    return buffer.getvalue()


def packed(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("a.jpg", b"x")
    else:
        with tarfile.open(fileobj=buffer, mode=f"w:{kind}") as archive:
            archive.addfile(tarfile.TarInfo("a.jpg"))
    return buffer.getvalue()


def refuse(data: Path, path: Path, sentence: str, datasets: tuple[Path, ...] = ()) -> None:
    with pytest.raises(WiseftError, match=sentence) as caught:
        check_shareable([path], data, list(datasets))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"])
def test_an_image_is_known_by_its_bytes(data, kind):
    """Under its own suffix and as a table: BMP and PPM have short signatures, and are no text."""
    for name in (f"a.{kind.lower()}", "a.csv", "a.json", "a.parquet", "a.safetensors"):
        path = data / name
        path.write_bytes(encoded(kind))
        refuse(data, path, "image|kind that data/ does not hold|is not")


@pytest.mark.parametrize("kind", ["zip", "", "gz", "bz2", "xz"])
def test_an_archive_is_refused(data, kind):
    path = data / "a.json"
    path.write_bytes(packed(kind))
    refuse(data, path, "archive")


def test_pixels_in_known_forms_are_refused(data):
    np.save(data / "a.npy", np.zeros((2, 4, 4, 3), np.uint8))
    refuse(data, data / "a.npy", "is a NumPy array")
    save_file({"images": torch.zeros(2, 4, 4, 3, dtype=torch.uint8)}, data / "a.safetensors")
    refuse(data, data / "a.safetensors", "holds images of type U8")
    frame = pd.DataFrame({"image": [{"bytes": encoded("PNG"), "path": "a.png"}]})
    frame.to_parquet(data / "a.parquet")
    refuse(data, data / "a.parquet", "holds bytes in column image")
    (data / "a.json").write_text('{"image": "data:image/png;base64,iVBORw0KGgo="}')
    refuse(data, data / "a.json", "holds an image as text")


def test_a_link_into_a_dataset_is_refused(data):
    original = data.parent / "datasets" / "scans" / "labels.json"
    original.parent.mkdir(parents=True)
    original.write_text("{}")
    (data / "labels.json").symlink_to(original)
    refuse(data, data / "labels.json", "outside of")


def test_a_copy_from_a_dataset_is_refused(data):
    own = data.parent / "elsewhere" / "scans"
    own.mkdir(parents=True)
    (own / "labels.csv").write_text("id,label\n1,7\n")
    (data / "runs" / "mine.csv").write_text("id,label\n1,7\n")
    refuse(data, data / "runs" / "mine.csv", "a file of a dataset", (own,))
    (data / "runs" / "mine.csv").write_text("id,label\n1,8\n")  # as long, but another file
    check_shareable([data / "runs" / "mine.csv"], data, [own])


def test_what_the_workflow_makes_may_be_shared(data):
    save_file({"image.conv": torch.zeros(4, 3, 7, 7)}, data / "theta.safetensors")
    save_file({"a": torch.zeros(2, dtype=torch.bfloat16)}, data / "half.safetensors")
    pd.DataFrame({"sample_id": ["a"], "label": [1], "others": [[1, 2]]}).to_parquet(
        data / "predictions.parquet"
    )
    (data / "metrics.json").write_text('{"value": 0.5}')
    (data / "training.csv").write_text("step,loss\n")
    assert [problem_of(path) for path in sorted(data.glob("*.*"))] == [None] * 5
    check_shareable(sorted(data.glob("*.*")), data, [])


@pytest.mark.parametrize("where", ["datasets", "results", "data/../datasets", "../elsewhere"])
def test_dvc_may_track_nothing_but_data(tmp_path, where):
    (tmp_path / "data.dvc").write_text("outs:\n- md5: 0\n  path: data\n")
    check_tracked(tmp_path)
    (tmp_path / "more.dvc").write_text(f"outs:\n- md5: 0\n  path: {where}\n")
    with pytest.raises(WiseftError, match=r"more\.dvc puts .* under DVC, but only data/ may be"):
        check_tracked(tmp_path)
