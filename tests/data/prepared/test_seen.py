"""Images that change in place: no cache and no check goes by what they were before."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from wiseft.cli import app
from wiseft.errors import WiseftError
from wiseft.images import seen as seen_module
from wiseft.images.cache import cache_folder, open_cache
from wiseft.images.cache_writer import write_cache
from wiseft.images.decode import decode
from wiseft.images.index import read_index
from wiseft.images.index_folder import index_folder
from wiseft.images.manifest import open_manifest
from wiseft.images.seen import Seen
from wiseft.images.store import open_split
from wiseft.images.verify import verify
from wiseft.thetas.preprocessing import Transform

SMALL = Transform(size=16)


def render(folder: Path, seed: int) -> None:
    """Write images as another run of a renderer does: of the same names and sizes."""
    rng = np.random.default_rng(seed)
    for label in ("ant", "bee"):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for index in range(3):
            pixels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{index}.png", compress_level=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    render(tmp_path / "images", 0)
    return tmp_path / "images"


@pytest.fixture
def manifest(folder: Path, tmp_path: Path) -> Path:
    return index_folder(folder, tmp_path / "a" / "manifest.json", "a", ["test"])


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The places of the files that are hashed."""
    places: list[int] = []
    note = Seen.note

    def counted(self, index, file, of=None):
        places.append(index)
        note(self, index, file, of)

    monkeypatch.setattr(Seen, "note", counted)
    return places


def seen_of(manifest: Path) -> Seen:
    opened = open_manifest(manifest)
    return Seen(opened, "test", read_index(opened, "test")["path"].tolist())


def swap(path: Path, other: Path) -> None:
    """Replace a file by another of its size, and set its time of modification back."""
    before = path.stat()
    shutil.copyfile(other, path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_rendered_again_a_cache_serves_the_new_pixels(folder: Path, manifest: Path, caplog):
    write_cache(manifest, SMALL, ["test"])
    old = open_split(manifest, "test", SMALL).read(slice(None))
    render(folder, 1)
    split = open_split(manifest, "test", SMALL)
    assert not isinstance(split.images, np.memmap)
    assert "is of images that have changed since" in caplog.text
    new = split.read(slice(None))
    assert not np.array_equal(new, old)
    assert np.array_equal(new[0], decode(folder / "ant" / "0.png", SMALL))
    write_cache(manifest, SMALL, ["test"])
    cached = open_split(manifest, "test", SMALL)
    assert isinstance(cached.images, np.memmap) and np.array_equal(cached.images, new)


@pytest.mark.parametrize("kept", [True, False])
def test_touched_files_of_the_same_bytes_are_decoded_once(
    folder: Path, manifest: Path, read: list[int], kept: bool
):
    """As after `git clone` or `rsync`, with what was kept of them or without."""
    write_cache(manifest, SMALL, ["test"], threads=2)
    assert sorted(read) == list(range(6))  # where they were decoded, and nowhere else
    path = cache_folder(manifest, SMALL) / "test.npy"
    made = path.stat().st_mtime_ns
    read.clear()
    assert isinstance(open_split(manifest, "test", SMALL).images, np.memmap)
    assert read == []
    os.utime(folder / "bee" / "0.png")
    if not kept:
        seen_of(manifest).path.unlink()
    write_cache(manifest, SMALL, ["test"])
    assert read == ([3] if kept else list(range(6)))
    assert path.stat().st_mtime_ns == made
    read.clear()
    verify(manifest, deep=True)
    assert isinstance(open_split(manifest, "test", SMALL).images, np.memmap)
    assert sorted(read) == list(range(6))  # of `--deep` alone


def test_a_cache_without_its_images_is_used(folder: Path, manifest: Path):
    write_cache(manifest, SMALL, ["test"])
    (folder / "ant" / "0.png").unlink()
    assert isinstance(open_split(manifest, "test", SMALL).images, np.memmap)
    shutil.rmtree(folder)
    assert isinstance(open_split(manifest, "test", SMALL).images, np.memmap)


def test_a_cache_of_before_is_used_as_it_was(folder: Path, manifest: Path):
    write_cache(manifest, SMALL, ["test"])
    file = cache_folder(manifest, SMALL) / "cache.json"
    record = json.loads(file.read_text())
    del record["sha256"], record["splits"]["test"]["images"]
    file.write_text(json.dumps(record))
    assert isinstance(open_split(manifest, "test", SMALL).images, np.memmap)
    seen = seen_of(manifest)
    assert open_cache(open_manifest(manifest), "test", SMALL, seen) is not None
    assert seen.finish() == ""  # what it was decoded from is not known
    verify(manifest)


@pytest.mark.parametrize("with_cache", [True, False])
def test_deep_verification_finds_other_bytes_of_the_same_size_and_time(
    folder: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch, with_cache: bool
):
    # As on a file system whose times of change are no help.
    monkeypatch.setattr(seen_module, "_stamp", lambda s: (s.st_size, s.st_mtime_ns, 1))
    if with_cache:
        write_cache(manifest, SMALL, ["test"])
    else:
        seen_of(manifest).look()
    verify(manifest, deep=True)
    swap(folder / "ant" / "1.png", folder / "bee" / "1.png")
    verify(manifest)
    with pytest.raises(WiseftError, match=r"ant/1\.png has other bytes than when it was last read"):
        verify(manifest, deep=True, threads=2)
    seen_of(manifest).path.unlink()  # as the message names it
    if not with_cache:
        verify(manifest, deep=True)


def test_the_command_finds_it_too_and_so_does_any_reuse(tmp_path: Path):
    folder, datasets = tmp_path / "images", tmp_path / "datasets"
    render(folder, 0)
    manifest = datasets / "a" / "manifest.json"
    index_folder(folder, manifest, "a", ["test"])
    write_cache(manifest, SMALL, ["test"])
    swap(folder / "ant" / "1.png", folder / "bee" / "1.png")
    command = ["data", "verify", "a", "--deep", "--datasets", str(datasets)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1 and "1.png has other bytes than when it was last read" in str(
        done.exception
    )
    # No program sets the time of change: it is enough for what serves the pixels.
    assert not isinstance(open_split(manifest, "test", SMALL).images, np.memmap)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_what_was_kept_and_is_damaged_is_read_again(
    folder: Path, manifest: Path, read: list[int], damage: str
):
    digest = seen_of(manifest).look()
    kept = seen_of(manifest).path
    whole = bytearray(kept.read_bytes())
    whole[-1] ^= 1
    kept.write_bytes({"cut": whole[:-9], "flipped": whole, "empty": b""}[damage])
    read.clear()
    assert seen_of(manifest).look() == digest and len(read) == 6
    read.clear()
    assert seen_of(manifest).look() == digest and read == []


def test_what_was_kept_is_of_one_index(folder: Path, manifest: Path, read: list[int]):
    """Another index of as many files has other ones in the same places."""
    digest = seen_of(manifest).look()
    (folder / "ant" / "0.png").rename(folder / "ant" / "9.png")
    index_folder(folder, manifest, "a", ["test"])
    read.clear()
    assert seen_of(manifest).look() != digest and len(read) == 6
