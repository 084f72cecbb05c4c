"""The decoded cache: the same pixels, never those of other images."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from PIL import Image

from wiseft.data.index_files import index_folder
from wiseft.data.prepared.cache import cache_folder, write_cache
from wiseft.data.prepared.store import open_split
from wiseft.data.prepared.verify import verify
from wiseft.errors import WiseftError


@pytest.fixture
def manifest(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("ant", "bee"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for index in range(3):
            pixels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{index}.png")
    return index_folder(tmp_path / "images", tmp_path / "a" / "manifest.json", "a", ["test"])


def test_cached_pixels_are_those_of_decoding(manifest):
    decoded = open_split(manifest, "test", 16).read(slice(None))
    write_cache(manifest, 16, ["test"], threads=2)
    cached = open_split(manifest, "test", 16)
    assert isinstance(cached.images, np.memmap)
    assert np.array_equal(cached.read(slice(None)), decoded)
    assert not isinstance(open_split(manifest, "test", 8).images, np.memmap)  # of another size


def test_cache_of_other_images_is_not_used(manifest, tmp_path, caplog):
    write_cache(manifest, 16, ["test"])
    (tmp_path / "images" / "bee" / "2.png").unlink()
    index_folder(tmp_path / "images", manifest, "a", ["test"])
    with caplog.at_level(logging.WARNING):
        split = open_split(manifest, "test", 16)
    assert not isinstance(split.images, np.memmap) and len(split) == 5
    assert "is of other images" in caplog.text
    write_cache(manifest, 16, ["test"])
    assert len(open_split(manifest, "test", 16).images) == 5


def test_truncated_cache_is_not_used_and_a_changed_one_is_found(manifest):
    write_cache(manifest, 16, ["test"])
    path = cache_folder(manifest, 16) / "test.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(WiseftError, match="is not what was cached"):
        verify(manifest)
    path.write_bytes(whole[:-100])
    assert not isinstance(open_split(manifest, "test", 16).images, np.memmap)


def test_a_broken_image_leaves_no_cache(manifest, tmp_path):
    (tmp_path / "images" / "bee" / "1.png").write_bytes(b"no image")
    with pytest.raises(WiseftError, match=r"bee/1\.png is not a readable image"):
        write_cache(manifest, 16, ["test"])
    assert not list(cache_folder(manifest, 16).glob("*"))


def test_whole_splits_are_kept(manifest):
    write_cache(manifest, 16, ["test"])
    path = cache_folder(manifest, 16) / "test.npy"
    before = path.stat().st_mtime_ns
    write_cache(manifest, 16, ["test"])
    assert path.stat().st_mtime_ns == before
