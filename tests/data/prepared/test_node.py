"""Copies on a node's own disk: the same pixels, read there, and never those of other files."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.data.prepared.test_seen import render, seen_of, swap
from tests.evaluate.conftest import write_dataset

from wiseft.errors import DamagedFile
from wiseft.images import node
from wiseft.images.cache_writer import write_cache
from wiseft.images.index_folder import index_folder
from wiseft.images.store import open_split
from wiseft.thetas.preprocessing import Transform

SMALL = Transform(size=16)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that jobs of this node copy to, named as a configuration does."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "node"))
    monkeypatch.setenv("WISEFT_NODE", "$TMPDIR/wiseft")
    monkeypatch.setattr(node, "_said", set())
    return tmp_path / "node" / "wiseft"


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are copied."""
    names: list[str] = []
    copyfile = shutil.copyfile

    def counted(source: Path, target: Path) -> Path:
        names.append(Path(source).name)
        return Path(copyfile(source, target))

    monkeypatch.setattr(node, "shutil", SimpleNamespace(copyfile=counted))
    return names


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Six image files."""
    render(tmp_path / "images", 0)
    return index_folder(tmp_path / "images", tmp_path / "a" / "manifest.json", "a", ["test"])


def pixels(manifest: Path, transform: Transform = SMALL) -> np.ndarray:
    return open_split(manifest, "test", transform).read(slice(None))


def copies(disk: Path) -> list[Path]:
    return sorted(path for path in disk.rglob("*") if path.is_file())


def test_image_files_are_copied_once_and_read_there(manifest, disk, copied, monkeypatch):
    monkeypatch.delenv("WISEFT_NODE")
    expected = pixels(manifest)
    assert not disk.exists()
    monkeypatch.setenv("WISEFT_NODE", "$TMPDIR/wiseft")
    np.testing.assert_array_equal(pixels(manifest), expected)
    assert len(copied) == len(copies(disk)) == 6
    np.testing.assert_array_equal(pixels(manifest), expected)
    assert len(copied) == 6
    render(disk.parent / "others", 1)
    for copy, other in zip(copies(disk), sorted(disk.parent.glob("others/*/*")), strict=True):
        shutil.copyfile(other, copy)
    assert not np.array_equal(pixels(manifest), expected)  # so it is the copies that are read


def test_what_was_seen_is_of_the_files_themselves(manifest, disk):
    split = open_split(manifest, "test", SMALL)
    split.read(slice(None))
    assert split.seen is not None
    digest = split.seen.finish()
    seen = seen_of(manifest)
    np.testing.assert_array_equal(seen.stored()["stamp"], seen.stamps())
    assert seen.look() == digest


def test_a_changed_file_is_copied_again(manifest, disk, copied, tmp_path):
    before = pixels(manifest)
    render(tmp_path / "others", 1)
    swap(tmp_path / "images" / "bee" / "1.png", tmp_path / "others" / "bee" / "1.png")
    after = pixels(manifest)
    assert [not np.array_equal(a, b) for a, b in zip(after, before, strict=True)].count(True) == 1
    assert copied[6:] == ["1.png"]


def test_a_copy_of_another_size_is_made_again(manifest, disk, copied):
    expected = pixels(manifest)
    copies(disk)[2].write_bytes(b"cut")
    np.testing.assert_array_equal(pixels(manifest), expected)
    assert len(copied) == 7


@pytest.mark.parametrize("cached", [False, True])
def test_arrays_are_mapped_from_a_copy_with_their_sum(cached, manifest, disk, copied, tmp_path):
    if cached:
        write_cache(manifest, SMALL, ["test"])
    else:
        manifest = write_dataset(tmp_path / "datasets")
    copied.clear()
    transform = SMALL if cached else Transform(size=32)
    images = open_split(manifest, "test", transform).images
    assert isinstance(images, np.memmap) and len(copied) == 1
    assert disk in Path(images.filename).parents
    expected = np.array(images)
    (copy,) = [path for path in copies(disk) if path.suffix == ".npy"]
    copy.write_bytes(copy.read_bytes()[:-1] + b"\0")
    np.testing.assert_array_equal(pixels(manifest, transform), expected)
    assert len(copied) == 2
    np.testing.assert_array_equal(pixels(manifest, transform), expected)
    assert len(copied) == 2


def test_damaged_arrays_are_found_as_without_copies(disk, tmp_path):
    manifest = write_dataset(tmp_path / "datasets")
    path = manifest.parent / "test" / "images.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(DamagedFile, match="differs from its manifest"):
        open_split(manifest, "test")
    path.unlink()
    with pytest.raises(DamagedFile, match="does not exist"):
        open_split(manifest, "test")


def test_without_room_images_are_read_where_they_lie(
    manifest, disk, copied, caplog, monkeypatch, tmp_path
):
    free = SimpleNamespace(free=1000)
    monkeypatch.setattr("wiseft.base.io.shutil.disk_usage", lambda _: free)
    with caplog.at_level(logging.WARNING):
        assert len(pixels(manifest)) == 6
        pixels(write_dataset(tmp_path / "datasets"), Transform(size=32))
    assert copied == [] and not copies(disk)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("images are read where they lie, not from $TMPDIR/wiseft: a copy of ")
    assert "0.00 GB are free" in line


def test_a_folder_that_cannot_be_is_said_once(manifest, disk, copied, caplog, monkeypatch):
    monkeypatch.delenv("TMPDIR")
    here = set(Path().iterdir())
    with caplog.at_level(logging.WARNING):
        assert len(pixels(manifest)) == 6
    assert "$TMPDIR/wiseft: the environment has no such variable" in caplog.text
    assert len(caplog.records) == 1 and copied == [] and set(Path().iterdir()) == here
    disk.parent.write_text("a file where the folder should be")
    monkeypatch.setenv("WISEFT_NODE", str(disk))
    with caplog.at_level(logging.WARNING):
        assert len(pixels(manifest)) == 6
    assert len(caplog.records) == 2 and copied == []
