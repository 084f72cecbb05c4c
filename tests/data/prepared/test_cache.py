"""The decoded cache: the same pixels, never those of other images."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from PIL import Image

from wiseft.base.stages import VERSION
from wiseft.errors import DamagedFile, WiseftError
from wiseft.images.cache import cache_folder
from wiseft.images.cache_writer import write_cache
from wiseft.images.index_folder import index_folder
from wiseft.images.store import open_split
from wiseft.images.verify import verify
from wiseft.thetas.preprocessing import Transform

SMALL = Transform(size=16)


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
    decoded = open_split(manifest, "test", SMALL).read(slice(None))
    write_cache(manifest, SMALL, ["test"], threads=2)
    cached = open_split(manifest, "test", SMALL)
    assert isinstance(cached.images, np.memmap)
    assert np.array_equal(cached.read(slice(None)), decoded)
    for other in (Transform(size=8), Transform(size=16, interpolation="bilinear")):
        assert not isinstance(open_split(manifest, "test", other).images, np.memmap)


def test_a_cache_of_another_transform_is_beside_it(manifest):
    squashed = Transform(size=16, resize_mode="squash", interpolation="bilinear", resize_size=20)
    decoded = open_split(manifest, "test", squashed).read(slice(None))
    write_cache(manifest, squashed, ["test"])
    write_cache(manifest, SMALL, ["test"])
    assert np.array_equal(open_split(manifest, "test", squashed).images, decoded)
    assert cache_folder(manifest, squashed).name == "cache-16-squash-bilinear-of20"
    assert not np.array_equal(open_split(manifest, "test", SMALL).images, decoded)


def test_a_cache_of_another_version_of_the_stage_is_not_used(manifest, monkeypatch):
    monkeypatch.setitem(VERSION, "data", VERSION["data"] - 1)
    index_folder(manifest.parents[1] / "images", manifest, "a", ["test"])
    write_cache(manifest, SMALL, ["test"])
    monkeypatch.undo()
    index_folder(manifest.parents[1] / "images", manifest, "a", ["test"])
    assert not isinstance(open_split(manifest, "test", SMALL).images, np.memmap)


def test_cache_of_other_images_is_not_used(manifest, tmp_path, caplog):
    write_cache(manifest, SMALL, ["test"])
    (tmp_path / "images" / "bee" / "2.png").unlink()
    index_folder(tmp_path / "images", manifest, "a", ["test"])
    with caplog.at_level(logging.WARNING):
        split = open_split(manifest, "test", SMALL)
    assert not isinstance(split.images, np.memmap) and len(split) == 5
    assert "is of other images" in caplog.text
    write_cache(manifest, SMALL, ["test"])
    assert len(open_split(manifest, "test", SMALL).images) == 5


def test_a_changed_cache_is_found(manifest):
    write_cache(manifest, SMALL, ["test"])
    path = cache_folder(manifest, SMALL) / "test.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DamagedFile, match="is not what was cached: expected SHA-256"):
        verify(manifest)
    path.unlink()
    with pytest.raises(DamagedFile, match="found no file"):
        verify(manifest)


def flipped(whole: bytes, place: int) -> bytes:
    return whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :]


DAMAGES = {
    "first byte": lambda whole: flipped(whole, 0),
    "header": lambda whole: flipped(whole, 40),
    "pixel": lambda whole: flipped(whole, len(whole) // 2),
    "last byte": lambda whole: flipped(whole, len(whole) - 1),
    "random bytes": lambda whole: np.random.default_rng(0).bytes(len(whole)),
    "cut": lambda whole: whole[:-100],
    "empty": lambda whole: b"",
}


@pytest.mark.parametrize("name", ["test.npy", "cache.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_gives_no_pixels_and_heals(
    manifest, tmp_path, monkeypatch, caplog, name, damage
):
    """The dataset lies where rules put it: what is damaged is set aside, and made again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("datasets: {folder: .}\n")
    decoded = open_split(manifest, "test", SMALL).read(slice(None))
    write_cache(manifest, SMALL, ["test"])
    folder = cache_folder(manifest, SMALL)
    sound = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / name).write_bytes(DAMAGES[damage](sound[name]))
    with caplog.at_level(logging.WARNING):
        split = open_split(manifest, "test", SMALL)
    assert not isinstance(split.images, np.memmap)
    assert np.array_equal(split.read(slice(None)), decoded)
    assert "allow_pickle" not in caplog.text
    assert f"{name}.damaged" in caplog.text and "until then images are decoded" in caplog.text
    assert not (folder / "cache.json").exists()  # so its rule runs again
    write_cache(manifest, SMALL, ["test"])
    assert all((folder / each).read_bytes() == content for each, content in sound.items())
    assert isinstance(open_split(manifest, "test", SMALL).images, np.memmap)


def test_a_broken_image_leaves_no_cache(manifest, tmp_path):
    (tmp_path / "images" / "bee" / "1.png").write_bytes(b"no image")
    with pytest.raises(WiseftError, match=r"bee/1\.png is not a readable image"):
        write_cache(manifest, SMALL, ["test"])
    assert not list(cache_folder(manifest, SMALL).glob("*"))


def test_whole_splits_are_kept(manifest):
    write_cache(manifest, SMALL, ["test"])
    path = cache_folder(manifest, SMALL) / "test.npy"
    before = path.stat().st_mtime_ns
    write_cache(manifest, SMALL, ["test"])
    assert path.stat().st_mtime_ns == before
