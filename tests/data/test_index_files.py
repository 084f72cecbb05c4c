"""Image folders: order, preprocessing, and errors that name the file."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from wiseft.errors import WiseftError
from wiseft.images.decode import decode
from wiseft.images.index import read_index
from wiseft.images.index_folder import index_folder
from wiseft.images.manifest import open_manifest
from wiseft.images.store import open_split
from wiseft.images.verify import verify
from wiseft.thetas.preprocessing import Transform

COLOURS = {"bee": (250, 200, 0), "ant": (10, 10, 10), "cat": (120, 80, 40)}


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "animals"
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for k in range(2):
            Image.new("RGB", (40 + 10 * k, 30), colour).save(root / name / f"{k}.png")
    (root / ".cache").mkdir()
    (root / "ant" / "notes.txt").write_text("not an image")
    return root


@pytest.fixture
def manifest(tmp_path, folder):
    return index_folder(folder, tmp_path / "out" / "manifest.json", "animals", ["test"])


def test_labels_follow_the_sorted_folders(manifest):
    assert open_manifest(manifest).class_names == ["ant", "bee", "cat"]
    split = open_split(manifest, "test", Transform(size=16))
    assert split.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert split.sample_ids[:3] == ["ant/0.png", "ant/1.png", "bee/0.png"]
    images = split.read([2, 5])
    assert images.shape == (2, 16, 16, 3)
    assert images[0, 0, 0].tolist() == [250, 200, 0]
    assert images[1, 8, 8].tolist() == [120, 80, 40]


def test_wnids_are_called_as_they_are_prompted(tmp_path, folder):
    for name, wnid in zip(COLOURS, ("n02165105", "n01440764", "n99999999"), strict=True):
        (folder / name).rename(folder / wnid)
    record = open_manifest(index_folder(folder, tmp_path / "manifest.json", "few"))
    assert record.class_names == ["tench", "tiger beetle", "n99999999"]
    assert record.prompt_names == [[name] for name in record.class_names]


def test_splits_and_class_names_of_an_entry(tmp_path, folder):
    root = tmp_path / "split"
    for split in ("train", "val"):
        (root / split).mkdir(parents=True)
        for name in COLOURS:
            (root / split / name).symlink_to(folder / name)
    names = [["Ant"], ["Bee", "honey bee"], ["Cat"]]
    path = tmp_path / "m" / "manifest.json"
    record = open_manifest(index_folder(root, path, "a", ["train", "val"], names))
    assert record.class_names == ["Ant", "Bee", "Cat"]
    assert record.prompt_names[1] == ["Bee", "honey bee"]
    assert open_split(path, "val", Transform(size=8)).sample_ids[0] == "val/ant/0.png"
    with pytest.raises(WiseftError, match="expected 2 class folders, found 3"):
        index_folder(root, path, "a", ["train", "val"], names[:2])


def test_the_centre_of_the_shortest_side_is_kept(tmp_path):
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, 20:40] = 255  # the middle third is white
    Image.fromarray(image).save(tmp_path / "x.png")
    np.testing.assert_array_equal(decode(tmp_path / "x.png", Transform(size=20)), 255)
    assert decode(tmp_path / "x.png", Transform(size=10)).mean() > 240


def test_other_modes_become_rgb(tmp_path):
    Image.new("L", (8, 8), 77).save(tmp_path / "grey.png")
    Image.new("RGBA", (8, 8), (1, 2, 3, 0)).save(tmp_path / "alpha.png")
    assert (decode(tmp_path / "grey.png", Transform(size=8)) == 77).all()
    assert decode(tmp_path / "alpha.png", Transform(size=8))[0, 0].tolist() == [1, 2, 3]


def test_a_corrupt_image_is_named(manifest, folder):
    good = (folder / "bee" / "0.png").read_bytes()
    (folder / "bee" / "0.png").write_bytes(good[:40])
    split = open_split(manifest, "test", Transform(size=8))
    split.read([0, 1])
    with pytest.raises(WiseftError, match=r"bee/0\.png is not a readable image"):
        split.read([2])
    with pytest.raises(WiseftError, match=r"bee/0\.png was indexed with .* is now 40 bytes"):
        verify(manifest)


def test_a_missing_image_or_root_is_named(manifest, folder):
    (folder / "ant" / "0.png").unlink()
    with pytest.raises(WiseftError, match=r"ant/0\.png is in the index but not on disk"):
        open_split(manifest, "test", Transform(size=8)).read([0])
    folder.rename(folder.parent / "moved")
    with pytest.raises(WiseftError, match=r"were indexed in .*animals, which is not there"):
        open_split(manifest, "test", Transform(size=8))


def test_an_image_folder_needs_a_size(manifest):
    with pytest.raises(WiseftError, match="say at which size"):
        open_split(manifest, "test")


def test_empty_folders_are_errors(tmp_path, folder):
    path = tmp_path / "m" / "manifest.json"
    (folder / "dog").mkdir()
    with pytest.raises(WiseftError, match="dog holds no images"):
        index_folder(folder, path, "a")
    with pytest.raises(WiseftError, match="found nothing at"):
        index_folder(tmp_path / "nowhere", path, "a")
    with pytest.raises(WiseftError, match="no class folders"):
        (tmp_path / "empty").mkdir()
        index_folder(tmp_path / "empty", path, "a")
    assert not path.exists()


def test_files_that_are_no_images_are_named_or_left_out_and_listed(tmp_path):
    root, path = tmp_path / "images", tmp_path / "out" / "manifest.json"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (9, 9), (number, 0, 0)).save(root / name / f"{number}.png")
    photo = root / "cat" / "photo.HEIC"
    photo.write_bytes(b"x")
    with pytest.raises(WiseftError, match=r"photo\.HEIC is of a format that is not read; convert"):
        index_folder(root, path, "a")
    cut = root / "cat" / "1.png"
    cut.write_bytes(cut.read_bytes()[:40])
    (root / "dog" / "0.png").write_bytes(b"")
    (root / "dog" / "3.png").symlink_to(root / "nowhere.png")
    broken: list[str] = []
    manifest = index_folder(root, path, "a", broken=broken)
    index = read_index(open_manifest(manifest), "test")
    assert index["path"].tolist() == ["cat/0.png", "cat/2.png", "dog/1.png", "dog/2.png"]
    expected = ("photo.HEIC", "1.png", "0.png", "3.png")
    assert len(broken) == 4
    assert all(any(f"/{name} " in line for line in broken) for name in expected), broken
    for image in (root / "cat").glob("*.png"):
        image.write_bytes(b"no image")
    with pytest.raises(WiseftError, match=r"no image of the class of .*cat/.*png can be read"):
        index_folder(root, path, "a", broken=[])
