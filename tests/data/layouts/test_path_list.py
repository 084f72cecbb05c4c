"""DTD, Food-101 and SUN397: lists of paths, partition 1, class names from folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.data.layouts import reading
from tests.data.layouts.reading import check
from tools.rehearsal import folders as generate

from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue

CATALOGUE = Catalogue(Path(__file__).parents[3])
TOP = {"dtd": "dtd", "food101": "food-101", "sun397": ""}
SPLITS = {
    "dtd": ["train", "held-out", "test"],
    "food101": ["train", "test"],
    "sun397": ["train", "test"],
}


def options(name):
    return CATALOGUE.dataset(name).options


def generated(name, root):
    return getattr(generate, name)(root)


def read(name, root, splits=("test",), **inputs):
    """Read what `generated` wrote below a root with the options of the entry."""
    typed = inputs.pop("options", None) or options(name)
    return reading.read("path-list", root / TOP[name], list(splits), typed, **inputs)


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [("dtd", 3760, 1880), ("food101", 75750, 25250), ("sun397", 19850, 19850)],
)
def test_the_entries_have_the_published_numbers(name, train, test):
    """Training and held-out images together are the published training (and validation) images."""
    splits = CATALOGUE.dataset(name).splits
    assert (splits["train"] + splits["held-out"], splits["test"]) == (train, test)


@pytest.mark.parametrize("name", SPLITS)
def test_official_lists_with_the_options_of_the_entry(tmp_path, name):
    written = generated(name, tmp_path)
    indexed = read(name, tmp_path, SPLITS[name])
    assert list(indexed.splits) == SPLITS[name]
    for split in SPLITS[name]:
        check(indexed, written, split, TOP[name])
    assert indexed.class_names == [[text] for text in written.class_names]


@pytest.mark.parametrize("name", SPLITS)
def test_labels_do_not_depend_on_the_splits_asked_for(tmp_path, name):
    written = generated(name, tmp_path)
    indexed = read(name, tmp_path)
    check(indexed, written, "test", TOP[name])
    assert len(indexed.class_names) == 4


def test_the_partition_is_the_first(tmp_path):
    """Another partition lists the same images in another order here; the first one's order wins."""
    for name, file in (("dtd", "labels/train1.txt"), ("sun397", "Partitions/Training_01.txt")):
        root = tmp_path / name
        generated(name, root)
        listed = [line.strip("/") for line in (root / TOP[name] / file).read_text().split()]
        paths = read(name, root, ["train"]).splits["train"].paths
        assert [path.split("/", 1)[-1] for path in paths] == listed


def test_images_in_no_list_are_left_out(tmp_path):
    generate.sun397(tmp_path, train=2, test=2, unused=3)
    indexed = read("sun397", tmp_path, ["train", "test"])
    assert [len(split.paths) for split in indexed.splits.values()] == [8, 8]
    assert len(list((tmp_path / "SUN397").rglob("*.jpg"))) == 28


def test_nested_classes_are_classes_of_their_own(tmp_path):
    generate.sun397(tmp_path)
    indexed = read("sun397", tmp_path)
    split = indexed.splits["test"]
    label = indexed.class_names.index(["apartment building outdoor"])
    paths = [path for path, found in zip(split.paths, split.labels, strict=True) if found == label]
    assert len(paths) == 2
    assert all(path.startswith("SUN397/a/apartment_building/outdoor/") for path in paths)


@pytest.mark.parametrize("images", ["SUN397", "images/SUN397"])
def test_scenes_lie_where_they_are_unpacked_or_where_people_keep_them(tmp_path, images):
    written = generate.sun397(tmp_path, images=images)
    check(read("sun397", tmp_path), written, "test")


def test_lists_may_lie_beside_the_images(tmp_path):
    written = generate.sun397(tmp_path)
    for path in (tmp_path / "Partitions").iterdir():
        path.rename(tmp_path / "SUN397" / path.name)
    split = read("sun397", tmp_path / "SUN397").splits["test"]
    assert split.labels.tolist() == list(written.splits["test"].values())


def test_several_lists_of_a_split_are_read_one_after_the_other(tmp_path):
    written = generate.dtd(tmp_path)
    merged = {**options("dtd"), "lists": {"train": ["labels/train1.txt", "labels/val1.txt"]}}
    split = read("dtd", tmp_path, ["train"], options=merged).splits["train"]
    expected = {**written.splits["train"], **written.splits["held-out"]}
    found = [f"dtd/{path}" for path in split.paths]
    assert dict(zip(found, split.labels.tolist(), strict=True)) == expected


def test_class_names_of_the_entry_are_matched_by_name(tmp_path):
    generate.food101(tmp_path)
    names = ["Beef carpaccio", "baklava", "apple pie", "baby back ribs"]
    indexed = read("food101", tmp_path, class_names=names)
    assert indexed.class_names is None
    assert indexed.splits["test"].labels.tolist() == [2, 3, 1, 0]
    with pytest.raises(WiseftError, match=r"`baklava` is no class of made-up"):
        wrong = [*names[:1], "cake", *names[2:]]
        read("food101", tmp_path, class_names=wrong)


def change(path, old, new):
    path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "apple_pie/1005688",
            "apple_pie/7",
            r"test\.txt, line 1 lists .*apple_pie/7\.jpg, which is",
        ),
        (
            "baklava/1005690",
            "apple_pie/1005688",
            r"line 3 lists .* second time \(first .*line 1\)",
        ),
        ("apple_pie/1005688", "../../secret/1", r"line 1: expected a path below"),
        ("apple_pie/1005688", "1005688", r"line 1: expected <class>/<image>, found `1005688`"),
        (
            "apple_pie/1005688",
            "pie/1005688",
            r"line 1 has the class pie, which is not in the list",
        ),
    ],
)
def test_a_wrong_line_is_named(tmp_path, old, new, message):
    generate.food101(tmp_path)
    change(tmp_path / "food-101" / "meta" / "test.txt", old, new)
    with pytest.raises(WiseftError, match=message):
        read("food101", tmp_path)


def test_missing_lists_images_and_classes_are_named(tmp_path):
    generate.food101(tmp_path)
    meta = tmp_path / "food-101" / "meta"
    (meta / "classes.txt").write_text("apple_pie\nbaklava\napple_pie\n")
    with pytest.raises(WiseftError, match=r"classes\.txt: .* found apple_pie twice"):
        read("food101", tmp_path)
    (meta / "test.txt").unlink()
    with pytest.raises(WiseftError, match=r"needs meta/test\.txt or test\.txt, which is not in"):
        read("food101", tmp_path)
    with pytest.raises(WiseftError, match="has a split val, but `lists` in its options only"):
        read("food101", tmp_path, ["val"])
    (tmp_path / "food-101" / "images").rename(tmp_path / "food-101" / "pictures")
    (meta / "classes.txt").write_text("\n".join(generate.DISHES))
    with pytest.raises(WiseftError, match=r"expected a folder images in"):
        read("food101", tmp_path, ["train"])


def test_folders_that_mean_one_class_need_names(tmp_path):
    for scene in ("a/bar", "b/bar"):
        generate.picture(tmp_path / scene / "1.jpg", 0)
    (tmp_path / "test.txt").write_text("a/bar/1.jpg\nb/bar/1.jpg\n")
    with pytest.raises(WiseftError, match="several folders mean the class bar"):
        reading.read("path-list", tmp_path, ["test"], {"lists": {"test": ["test.txt"]}})
