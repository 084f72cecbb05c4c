"""Class folders: labels by number, id or name, never by an unchecked order; odd files."""

from __future__ import annotations

import logging
import shutil
import time

import numpy as np
import pytest
from tests.data.layouts.reading import check, read
from tools.rehearsal import folders as generate
from tools.rehearsal.folders import picture

from wiseft.base import library
from wiseft.errors import WiseftError
from wiseft.images import scan

V2 = "imagenetv2-matched-frequency-format-val"
WNIDS = {"naming": "class-id"}
ANIMALS = {"class_names": ["ant", "polar bear", "cat"]}


def animals(root, split="test"):
    for label, name in enumerate(("ant", "polar_bear", "cat")):
        for number in range(2):
            picture(root / split / name / f"{number}.png", label)
    return root


def v2(root, **changes):
    inputs = {"class_names": library.class_names("imagenet")[:12], **changes}
    return read("image-folder", root, ["test"], {"naming": "index"}, **inputs)


def test_integer_folders_are_sorted_as_numbers(tmp_path):
    """ImageNet-V2's trap: sorted as text, folder 10 would be the third class, not the eleventh."""
    written = generate.imagenet_v2(tmp_path)
    indexed = v2(tmp_path / V2)
    check(indexed, written, "test", V2)
    split = indexed.splits["test"]
    assert [path.split("/")[0] for path in split.paths] == [str(label) for label in split.labels]
    assert indexed.class_names is None


def test_zeros_in_front_of_numbers_make_no_difference(tmp_path):
    generate.imagenet_v2(tmp_path)
    folder = tmp_path / V2
    (folder / "7").rename(folder / "0007")
    split = v2(folder).splits["test"]
    assert split.labels.tolist() == sorted(split.labels.tolist())
    shutil.copytree(folder / "0007", folder / "7")
    with pytest.raises(WiseftError, match="expected one folder a class, found 0007 and 7"):
        v2(folder)


def test_integer_folders_read_as_names_are_an_error_not_wrong_labels(tmp_path):
    generate.imagenet_v2(tmp_path)
    names = library.class_names("imagenet")[:12]
    with pytest.raises(WiseftError, match=r"`0` is no class .* set `naming`"):
        read("image-folder", tmp_path / V2, ["test"], class_names=names)


@pytest.mark.parametrize("name", ["imagenet-r", "imagenet-a"])
def test_wnid_folders_of_200_classes(tmp_path, name):
    written = getattr(generate, name.replace("-", "_"))(tmp_path)
    ids, names = library.class_ids(name), library.class_names(name)
    inputs = {"options": WNIDS, "class_names": names, "class_ids": ids}
    indexed = read("image-folder", tmp_path / name, ["test"], **inputs)
    check(indexed, written, "test", name)
    split = indexed.splits["test"]
    assert [path.split("/")[0] for path in split.paths] == [ids[label] for label in split.labels]
    assert split.labels.max() == 199


def test_r_and_a_share_86_classes():
    assert len({*library.class_ids("imagenet-r")} & {*library.class_ids("imagenet-a")}) == 86


def test_sketch_counts_what_is_there(tmp_path):
    written = generate.imagenet_sketch(tmp_path)
    inputs = {"class_ids": generate.wnids(), "class_names": [str(n) for n in range(12)]}
    indexed = read("image-folder", tmp_path / "sketch", ["test"], WNIDS, **inputs)
    check(indexed, written, "test", "sketch")
    counts = np.bincount(indexed.splits["test"].labels).tolist()
    assert counts.count(3) == 11 and counts[4] == 4


def test_names_decide_labels_whatever_their_order(tmp_path):
    animals(tmp_path)
    for names in (["ant", "polar bear", "cat"], ["Cat", "Polar_Bear", "Ant"]):
        split = read("image-folder", tmp_path, ["test"], class_names=names).splits["test"]
        for path, label in zip(split.paths, split.labels, strict=True):
            folder = path.split("/")[1].replace("_", " ")
            assert names[label].replace("_", " ").lower() == folder


def test_class_names_from_the_folders(tmp_path):
    animals(animals(tmp_path, "train"))
    indexed = read("image-folder", tmp_path, ["train", "test"])
    assert indexed.class_names == [["ant"], ["cat"], ["polar bear"]]
    assert indexed.splits["test"].labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert indexed.splits["train"].paths[2] == "train/cat/0.png"


def test_splits_must_have_the_same_folders(tmp_path):
    animals(animals(tmp_path, "train"))
    (tmp_path / "test" / "cat").rename(tmp_path / "test" / "dog")
    with pytest.raises(WiseftError, match=r"test/dog: `dog` is no class of made-up"):
        read("image-folder", tmp_path, ["train", "test"])


def test_one_split_may_be_the_root(tmp_path):
    animals(tmp_path, ".")
    assert len(read("image-folder", tmp_path, ["test"], **ANIMALS).splits["test"].paths) == 6


def test_missing_unknown_and_empty_class_folders_are_named(tmp_path):
    animals(tmp_path)
    shutil.move(tmp_path / "test" / "cat", tmp_path / "cat")
    with pytest.raises(WiseftError, match=r"each of 3 classes, found 2; .* is that of cat"):
        read("image-folder", tmp_path, ["test"], **ANIMALS)
    (tmp_path / "test" / "cat").mkdir()
    with pytest.raises(WiseftError, match=r"test/cat holds no images"):
        read("image-folder", tmp_path, ["test"], **ANIMALS)
    shutil.move(tmp_path / "cat", tmp_path / "test" / "catt")
    with pytest.raises(WiseftError, match=r"`catt` is no class .* nearest cat"):
        read("image-folder", tmp_path, ["test"], **ANIMALS)
    with pytest.raises(WiseftError, match=r"expected a folder train in .*, found none of them"):
        read("image-folder", tmp_path, ["train", "test"], **ANIMALS)
    (tmp_path / "none").mkdir()
    with pytest.raises(WiseftError, match="holds no class folders"):
        read("image-folder", tmp_path / "none", ["test"], **ANIMALS)


def test_class_ids_are_needed_where_folders_are_called_so(tmp_path):
    with pytest.raises(WiseftError, match="has none; list `class_ids`"):
        read("image-folder", animals(tmp_path), ["test"], WNIDS, **ANIMALS)


def test_hidden_and_other_files_are_left_out_and_counted(tmp_path, caplog):
    root = animals(tmp_path)
    before = read("image-folder", root, ["test"], **ANIMALS).splits["test"]
    for name in (".DS_Store", "._0.png", "Thumbs.db", "notes.txt", ".hidden/x.png"):
        path = root / "test" / "ant" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no image")
    picture(root / "test" / "__MACOSX" / "x.png", 0)
    with caplog.at_level(logging.DEBUG):
        after = read("image-folder", root, ["test"], **ANIMALS).splits["test"]
    assert after.paths == before.paths
    assert "2 files that are no images" in caplog.text


def test_images_in_folders_below_a_class_belong_to_it(tmp_path):
    root = animals(tmp_path)
    picture(root / "test" / "ant" / "more" / "deep" / "9.JPG", 0)
    split = read("image-folder", root, ["test"], **ANIMALS).splits["test"]
    assert split.paths[:3] == ["test/ant/0.png", "test/ant/1.png", "test/ant/more/deep/9.JPG"]
    assert split.labels.tolist() == [0, 0, 0, 1, 1, 2, 2]


def test_linked_class_folders_count_and_loops_end(tmp_path):
    root, elsewhere = animals(tmp_path / "a"), tmp_path / "elsewhere"
    shutil.move(root / "test" / "cat", elsewhere)
    (root / "test" / "cat").symlink_to(elsewhere)
    (elsewhere / "loop").symlink_to(elsewhere)
    (root / "test" / "ant" / "up").symlink_to(root / "test")
    (root / "test" / "ant" / "self").symlink_to(root / "test" / "ant" / "self")
    split = read("image-folder", root, ["test"], **ANIMALS).splits["test"]
    assert len(split.paths) == 6


def test_two_folders_that_link_to_each_other_end(tmp_path):
    root, far = animals(tmp_path / "a"), tmp_path / "far"
    picture(far / "9.png", 0)
    (far / "back").symlink_to(root / "test" / "ant")
    (root / "test" / "ant" / "far").symlink_to(far)
    paths = read("image-folder", root, ["test"], **ANIMALS).splits["test"].paths
    assert paths[:3] == ["test/ant/0.png", "test/ant/1.png", "test/ant/far/9.png"]
    assert len(paths) == 7


def test_empty_images_and_links_to_nothing_are_named(tmp_path):
    root = animals(tmp_path)
    (root / "test" / "cat" / "5.png").touch()
    with pytest.raises(WiseftError, match=r"cat/5\.png is empty \(0 bytes\)"):
        read("image-folder", root, ["test"], **ANIMALS)
    (root / "test" / "cat" / "5.png").unlink()
    (root / "test" / "cat" / "5.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(WiseftError, match=r"cat/5\.png is a link to nothing"):
        read("image-folder", root, ["test"], **ANIMALS)


def test_nothing_is_written_into_the_root(tmp_path):
    root = animals(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    read("image-folder", root, ["test"], **ANIMALS)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_slow_file_system_is_scanned_side_by_side(tmp_path, monkeypatch):
    root = animals(tmp_path)
    for number in range(40):
        shutil.copytree(root / "test" / "cat", root / "test" / f"cat{number}")
    folders = scan.subfolders(root / "test")
    expected = scan.scan_folders(root / "test", folders)
    plain, active, most = scan._scan, [], []

    def late(*arguments):
        active.append(arguments)
        most.append(len(active))
        time.sleep(0.02)
        active.pop()
        return plain(*arguments)

    monkeypatch.setattr(scan, "_scan", late)
    assert scan.scan_folders(root / "test", folders) == expected
    assert max(most[: scan.PROBED]) == 1
    assert 1 < max(most) <= scan.THREADS
