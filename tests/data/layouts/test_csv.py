"""A CSV of images: every form of label, splits in a column, group metadata, wrong rows."""

from __future__ import annotations

import csv

import pytest
from tests.data.layouts import reading
from tools.rehearsal.folders import picture

from wiseft.errors import WiseftError

OPTIONS = {
    "file": "table.csv",
    "path": "image",
    "label": "species",
    "split": "part",
    "splits": {"held-out": ["val", "dev"]},
    "images": ["pictures"],
    "groups": {"place": "camera", "anchor": "first"},
}
SPECIES = ["red fox", "Asiatic wild ass", "zebra"]
CALLED = {
    "name": ["Red_Fox", "Asiatic wild ass", "zebra"],
    "class-id": ["n3", "n1", "n2"],
    "index": ["0", "1", "2"],
}


def write(root, called="name", **columns):
    """Twelve images; the rows are in no order of path, label or split."""
    rows = []
    for number in range(12):
        label = number * 5 % 3
        name = f"{(number * 7) % 12:02d}.jpg"
        picture(root / "pictures" / "deep" / name, label)
        row = {
            "image": f"deep/{name}",
            "species": CALLED[called][label],
            "part": ["train", "val", "test", "dev"][number % 4],
            "camera": f"c{number % 2}",
            "first": ["true", "FALSE"][number % 2],
            "note": 'a, "quoted"\nnote',
        }
        rows.append({**row, **{key: values[number] for key, values in columns.items()}})
    save(root, rows)
    return rows


def save(root, rows):
    with (root / "table.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read(root, *splits, changes=None, **inputs):
    options = {**OPTIONS, **(changes or {})}
    given = {"class_names": SPECIES, "class_ids": ["n3", "n1", "n2"], **inputs}
    return reading.read("csv", root, splits or ["train", "held-out", "test"], options, **given)


@pytest.mark.parametrize("called", CALLED)
def test_labels_of_every_form_and_splits(tmp_path, called):
    rows = write(tmp_path, called)
    indexed = read(tmp_path)
    parts = {"train": ["train"], "held-out": ["val", "dev"], "test": ["test"]}
    for split, values in parts.items():
        expected = [row for row in rows if row["part"] in values]
        found = indexed.splits[split]
        assert found.paths == [f"pictures/{row['image']}" for row in expected]
        assert found.labels.tolist() == [CALLED[called].index(row["species"]) for row in expected]
        assert found.groups["place"] == [row["camera"] for row in expected]
        assert found.groups["anchor"] == [row["first"] == "true" for row in expected]
        sizes = [(tmp_path / path).stat().st_size for path in found.paths]
        assert found.bytes.tolist() == sizes
    assert indexed.class_names is None


def test_class_names_from_the_whole_table(tmp_path):
    write(tmp_path)
    indexed = read(tmp_path, "test", class_names=(), class_ids=None)
    assert indexed.class_names == [["Asiatic wild ass"], ["Red Fox"], ["zebra"]]


def test_numbers_as_class_names_are_sorted_by_size(tmp_path):
    write(tmp_path, species=["2", "10", "1"] * 4)
    indexed = read(tmp_path, "train", class_names=(), class_ids=None)
    assert indexed.class_names == [["1"], ["2"], ["10"]]


def test_one_split_needs_no_column(tmp_path):
    write(tmp_path)
    changes = {"split": None, "splits": {}}
    assert len(read(tmp_path, "test", changes=changes).splits["test"].paths) == 12
    with pytest.raises(WiseftError, match="name no column `split`"):
        read(tmp_path, "train", "test", changes=changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"species": "zebrra"}, r"column species: `zebrra` is no class of made-up.*nearest zebra"),
        ({"species": "3"}, r"`3` is no class"),
        ({"species": " "}, r"row 2: column species is empty"),
        ({"image": "deep/99.jpg"}, r"row 2 lists .*pictures/deep/99\.jpg, which is not there"),
        ({"image": "../table.csv"}, r"row 2: expected a path below the images' folder"),
        ({"image": "deep/11.jpg"}, r"row 6 lists .*deep/11\.jpg a second time \(first .*row 2\)"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, change, message):
    rows = write(tmp_path)
    rows[1].update(change)
    save(tmp_path, rows)
    with pytest.raises(WiseftError, match=message):
        read(tmp_path)


def test_label_forms_are_not_mixed(tmp_path):
    rows = write(tmp_path)
    rows[0]["species"] = "0"
    save(tmp_path, rows)
    with pytest.raises(WiseftError, match=r"`0` is no class .* expected one of 3 class names"):
        read(tmp_path)


def test_missing_columns_tables_and_splits_are_named(tmp_path):
    write(tmp_path)
    with pytest.raises(WiseftError, match=r"has no column kind; its columns are image, species"):
        read(tmp_path, changes={"label": "kind"})
    with pytest.raises(WiseftError, match=r"needs other\.csv"):
        read(tmp_path, changes={"file": "other.csv"})
    with pytest.raises(WiseftError, match=r"expected rows of split val2 .* found only dev, test"):
        read(tmp_path, "val2")
    (tmp_path / "table.csv").write_text("image,species\n")
    with pytest.raises(WiseftError, match="has no rows"):
        read(tmp_path)
    (tmp_path / "table.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WiseftError, match="not a readable table"):
        read(tmp_path)


def test_the_table_may_be_a_file_of_the_entry(tmp_path):
    write(tmp_path)
    table = (tmp_path / "table.csv").rename(tmp_path.parent / f"{tmp_path.name}.csv")
    assert len(read(tmp_path, "test", files={"table.csv": table}).splits["test"].paths) == 3
