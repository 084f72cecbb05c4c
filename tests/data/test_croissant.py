"""Croissant metadata of digits and icons: the committed files follow from entries and datasets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tools import croissant

from wiseft.base.io import sha256_file
from wiseft.images.split import PreparedSplit
from wiseft.study.config import Catalogue
from wiseft.study.data.prepared import write_prepared

ROOT = Path(__file__).parents[2]
NAMES = list(croissant.COLLECTIONS)


def committed(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / f"croissant-{name}.json").read_text())
    return found


def rows(record: dict[str, Any], name: str) -> croissant.Rows:
    return croissant.rows_of(next(one for one in record["recordSet"] if one["@id"] == name))


def write_corrupt(datasets: Path, n: int = 5) -> Path:
    """Write a prepared dataset of the name `corrupt`, with a group; return its folder."""
    images = np.random.default_rng(n).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    ids = [f"corrupt/{i}" for i in range(n)]
    kinds = {"corruption": ["fog" if i % 2 else "blur" for i in range(n)]}
    split = PreparedSplit(images, np.arange(n, dtype=np.int64) % 2, ids, groups=kinds)
    write_prepared(datasets / "corrupt", "corrupt", {"test": split}, ["nought", "one"])
    return datasets / "corrupt"


def test_committed_files_are_what_the_tool_writes(tmp_path):
    made = croissant.texts(ROOT, tmp_path)
    assert list(made) == [f"croissant-{name}.json" for name in NAMES]
    for name, text in made.items():
        assert (ROOT / name).read_text() == text, "write it again: python -m tools.croissant"


@pytest.mark.parametrize("name", NAMES)
def test_splits_and_classes_are_those_of_the_entries(name):
    record, catalogue = committed(name), Catalogue(ROOT)
    entries = [catalogue.dataset(row["dataset"]) for row in rows(record, "datasets")]
    counts: dict[str, dict[str, int]] = {}
    for row in rows(record, "splits"):
        counts.setdefault(row["dataset"], {})[row["split"]] = row["n"]
        classes = [one["name"] for one in rows(record, row["classes"])]
        entry = catalogue.dataset(row["dataset"])
        assert len(classes) == entry.class_count
        assert not isinstance(entry.class_names, list) or classes == entry.display_names
    assert counts == {entry.name: entry.splits for entry in entries}
    sums = [file["sha256"] for file in record["distribution"]]
    assert len(sums) == 2 * sum(map(len, counts.values()))
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in sums)


def test_every_dataset_of_the_experiments_is_described():
    catalogue = Catalogue(ROOT)
    for name, more in (("digits", ["typefaces"]), ("icons", ["icons-vendors", "icons-other"])):
        described = {row["dataset"] for row in rows(committed(name), "datasets")}
        assert described >= {*catalogue.experiment(name).datasets, *more}
        assert not any(each.startswith("cifar") for each in described)


def test_every_set_of_icons_has_an_author_and_a_licence():
    record, catalogue = committed("icons"), Catalogue(ROOT)
    sets = rows(record, "sets")
    assert all(row["author"] and row["title"] for row in sets)
    licences = {f"https://spdx.org/licenses/{row['licence']}" for row in sets}
    assert licences == {*record["license"]} and len(licences) > 5
    wanted = {
        group
        for row in rows(record, "datasets")
        for groups in catalogue.dataset(row["dataset"]).options["groups"].values()
        for group in groups
    }
    assert {row["group"] for row in sets} == wanted and "web" not in wanted


def test_a_dataset_that_is_prepared_is_described_as_it_is(tmp_path):
    folder = write_corrupt(tmp_path)
    made = croissant.texts(ROOT, tmp_path)
    assert made["croissant-icons.json"] == (ROOT / "croissant-icons.json").read_text()
    record = json.loads(made["croissant-digits.json"])
    sums = {file["@id"]: file["sha256"] for file in record["distribution"]}
    for name in ("images.npy", "index.parquet"):
        path = f"corrupt/test/{name}"
        assert sums[f"datasets/{path}"] == sha256_file(tmp_path / path)
    assert croissant.stated(record)["corrupt"] == croissant.prepared(folder)
    assert [one["name"] for one in rows(record, "corrupt/classes")] == ["nought", "one"]
    others = {k: v for k, v in croissant.stated(record).items() if k != "corrupt"}
    before = croissant.stated(committed("digits"))
    assert others == {k: v for k, v in before.items() if k != "corrupt"}
