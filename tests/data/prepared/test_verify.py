"""Verification: every problem is listed, with the file first."""

from __future__ import annotations

import pytest
from PIL import Image

from wiseft.errors import WiseftError
from wiseft.images.index_folder import index_folder
from wiseft.images.verify import verify


@pytest.fixture
def folder(tmp_path):
    for label in ("ant", "bee"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for index in range(8):
            path = tmp_path / "images" / label / f"{index}.png"
            Image.new("RGB", (9, 9), (index, 0, 0)).save(path)
    return tmp_path / "images"


@pytest.fixture
def manifest(folder, tmp_path):
    return index_folder(folder, tmp_path / "a" / "manifest.json", "a", ["test"])


def test_missing_and_changed_files_are_all_listed(folder, manifest):
    verify(manifest, deep=True)
    (folder / "ant" / "3.png").unlink()
    (folder / "bee" / "1.png").write_bytes(b"shorter")
    with pytest.raises(WiseftError) as error:
        verify(manifest)
    first, second, *_ = str(error.value).split("\n")
    assert "ant/3.png was indexed with" in first and first.endswith("is now missing")
    assert "bee/1.png" in second and second.endswith("is now 7 bytes")


def test_long_lists_are_counted(folder, manifest):
    for path in folder.rglob("*.png"):
        path.unlink()
    with pytest.raises(WiseftError, match="and 6 more"):
        verify(manifest)


def test_deep_decodes_every_image(folder, manifest):
    path = folder / "bee" / "5.png"
    data = path.read_bytes()
    path.write_bytes(data[:-30] + bytes(30))  # the same size
    verify(manifest)
    with pytest.raises(WiseftError, match=r"bee/5\.png is not a readable image"):
        verify(manifest, deep=True, threads=2)
