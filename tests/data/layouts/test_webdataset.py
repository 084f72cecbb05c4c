"""WebDataset: shards unpacked to folders, keys up to the first dot, labels as text."""

from __future__ import annotations

import pytest
from tests.data.layouts import official_files as generate
from tests.data.layouts import reading
from tests.data.layouts.reading import check
from tools.rehearsal.folders import picture

from wiseft.errors import WiseftError

OPTIONS = {"shards": {"test": "test/*.tar"}, "classes": "classnames.txt"}
NAMES = [name.replace("_", " ") for name in generate.PETS]


def read(root, *splits, options=None, **inputs):
    return reading.read("webdataset", root, splits or ["test"], options or OPTIONS, **inputs)


def test_unpacked_shards_in_order_of_their_numbers(tmp_path):
    """Shard 10 comes behind shard 9, and `s0000000.0.webp` is the image of key `s0000000`."""
    written = generate.webdataset(tmp_path)
    indexed = read(tmp_path)
    check(indexed, written, "test")
    assert indexed.class_names == [[name] for name in NAMES]
    assert indexed.splits["test"].paths[-1].startswith("test/10/")


@pytest.mark.parametrize("pattern", ["test/*", "test/*.tar", "test/[0-9]*"])
def test_the_pattern_is_that_of_the_shards_or_of_the_folders(tmp_path, pattern):
    written = generate.webdataset(tmp_path)
    check(read(tmp_path, options={**OPTIONS, "shards": {"test": pattern}}), written, "test")


def test_packed_shards_say_how_to_unpack_them(tmp_path):
    generate.webdataset(tmp_path, packed=True)
    with pytest.raises(WiseftError, match=r"test/0\.tar is a packed shard.*`into: test/0`"):
        read(tmp_path)
    with pytest.raises(WiseftError, match=r"expected folders of unpacked shards train/\*"):
        read(tmp_path, options={"shards": {"test": "train/*.tar"}})


@pytest.mark.parametrize("text", ["{name}", "{name}\n", "{label}"])
def test_labels_are_names_or_numbers(tmp_path, text):
    written = generate.webdataset(tmp_path)
    for file in tmp_path.rglob("*.cls"):
        label = int(file.read_text())
        file.write_text(text.format(name=generate.PETS[label], label=label))
    options = {"shards": OPTIONS["shards"]}
    indexed = read(tmp_path, options=options, class_names=NAMES)
    check(indexed, written, "test")
    assert indexed.class_names is None


def test_another_extension_holds_the_label(tmp_path):
    written = generate.webdataset(tmp_path)
    for file in tmp_path.rglob("*.cls"):
        file.rename(file.with_suffix(".label.txt"))
        file.with_suffix(".txt").write_text("a caption")
    check(read(tmp_path, options={**OPTIONS, "label": "label.txt"}), written, "test")


def test_class_names_from_the_labels_themselves(tmp_path):
    generate.webdataset(tmp_path)
    indexed = read(tmp_path, options={"shards": OPTIONS["shards"]})
    assert indexed.class_names == [["0"], ["1"], ["2"], ["3"]]


def test_incomplete_samples_are_named(tmp_path):
    generate.webdataset(tmp_path)
    label = tmp_path / "test" / "1" / "s0000002.cls"
    text = label.read_text()
    label.unlink()
    with pytest.raises(WiseftError, match=r"s0000002\.0\.webp has no label test/1/s0000002\.cls"):
        read(tmp_path)
    label.write_text(text)
    picture(label.with_suffix(".png"), 0)
    with pytest.raises(WiseftError, match="expected one image a sample, found also"):
        read(tmp_path)
    label.with_suffix(".png").unlink()
    label.with_suffix(".0.webp").unlink()
    with pytest.raises(WiseftError, match=r"s0000002\.cls has no image beside it"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"4", "`4` is no class"), (b"", "found none"), (b"1\n2", "found 2"), (b"\xff", "found none")],
)
def test_a_wrong_label_is_named(tmp_path, content, message):
    generate.webdataset(tmp_path)
    (tmp_path / "test" / "1" / "s0000002.cls").write_bytes(content)
    with pytest.raises(WiseftError, match=message):
        read(tmp_path)


def test_a_split_without_shards_in_the_options_is_named(tmp_path):
    generate.webdataset(tmp_path)
    with pytest.raises(WiseftError, match="has a split val, but `shards` in its options only test"):
        read(tmp_path, "val")
    with pytest.raises(WiseftError, match=r"needs names\.txt"):
        read(tmp_path, options={**OPTIONS, "classes": "names.txt"})
