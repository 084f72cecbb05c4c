"""WILDS: FMoW v1.1 and iWildCam v2.0, images that a metadata table lists.

Splits, labels and groups follow the package `wilds` 2.0.0 (Koh et al., 2021), split scheme
`official`. Our split names tell its in-distribution splits from the others: `held-out` is its
`id_val`, on which alpha may be chosen, `id-test` its `id_test`; `train`, `val` and `test` are its.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wiseft.errors import WiseftError
from wiseft.images.index import check_labels
from wiseft.images.scan import below
from wiseft.images.split import Indexed, LayoutInputs
from wiseft.study.data.layouts.listed import listed_split
from wiseft.study.data.layouts.metadata import read_columns, whole_numbers

if TYPE_CHECKING:
    import pandas as pd

SPLITS = {
    "train": "train",
    "held-out": "id_val",
    "id-test": "id_test",
    "val": "val",
    "test": "test",
}
"""Our names of splits, and those of WILDS."""

FMOW_SPLITS = {
    "train": ("train", None, 2013),
    "id_val": ("val", None, 2013),
    "id_test": ("test", None, 2013),
    "val": ("val", 2013, 2016),
    "test": ("test", 2016, None),
}
"""FMoW's own split, the first year and the year after the last, of each split of WILDS. The
sequestered images (`seq`), and images of other years, are in none."""

OTHER_REGION = "Other"
"""Region of a country code that the table of countries does not have."""

LABELS = "labels.csv"
UNUSED_LABEL = 99999
"""Marks the rows of iWildCam's categories that no image has."""


def read(inputs: LayoutInputs) -> Indexed:
    """Index the splits that are asked for.

    Raises:
        WiseftError: a table or an image is missing, a row is wrong, a split is unknown.
    """
    if unknown := [split for split in inputs.splits if split not in SPLITS]:
        raise WiseftError(
            f"dataset {inputs.dataset} has no split {unknown[0]}; the splits of layout wilds are "
            f"{', '.join(SPLITS)}."
        )
    return _read_fmow(inputs) if inputs.options.dataset == "fmow" else _read_iwildcam(inputs)


def _read_fmow(inputs: LayoutInputs) -> Indexed:
    path = inputs.file("rgb_metadata.csv")
    table = read_columns(path, ["split", "category", "country_code", "timestamp"])
    years = _years(table, path)
    regions = _regions(inputs.file("country_code_mapping.csv"), table["country_code"].tolist())
    labels = _category_labels(inputs, table, path)
    splits = {}
    for split in inputs.splits:
        name, first, end = FMOW_SPLITS[SPLITS[split]]
        in_time = (years >= (first or 0)) & (years < (end or 9999))
        rows = np.flatnonzero((table["split"] == name).to_numpy() & in_time)
        # An image's number is its row in the whole table, sequestered images included.
        names = [f"images/rgb_img_{row}.png" for row in rows]
        groups = {"region": regions[rows].tolist(), "year": years[rows].tolist()}
        splits[split] = listed_split(inputs, names, labels[rows], path, groups=groups)
    return Indexed(splits=splits)


def _years(table: pd.DataFrame, path: Path) -> NDArray[np.int64]:
    """Return the year of each image in UTC; times are with and without fractions of a second."""
    import pandas as pd

    times = pd.to_datetime(table["timestamp"], format="ISO8601", utc=True, errors="coerce")
    if times.isna().any():
        row = int(np.flatnonzero(times.isna())[0])
        raise WiseftError(
            f"{path}, row {row + 1}: expected a time such as 2016-01-31T12:00:00Z as timestamp, "
            f"found {table['timestamp'].iloc[row]!r}."
        )
    return np.asarray(times.dt.year, np.int64)


def _regions(path: Path, codes: Sequence[str]) -> NDArray[np.str_]:
    countries = read_columns(path, ["alpha-3", "region"])
    region = dict(zip(countries["alpha-3"], countries["region"], strict=True))
    return np.array([region.get(code) or OTHER_REGION for code in codes])


def _category_labels(inputs: LayoutInputs, table: pd.DataFrame, path: Path) -> NDArray[np.int64]:
    categories, names = table["category"], list(inputs.class_names)
    labels = categories.map({name: label for label, name in enumerate(names)})
    if labels.isna().any():
        row = int(np.flatnonzero(labels.isna())[0])
        raise WiseftError(
            f"{path}, row {row + 1}: expected one of the {len(names)} class_names of "
            f"{inputs.dataset} as category, found {categories.iloc[row]!r}."
        )
    return np.asarray(labels, np.int64)


def _read_iwildcam(inputs: LayoutInputs) -> Indexed:
    path = inputs.file("metadata.csv")
    names = _species(inputs.file(LABELS))
    columns = ["split", "y", "filename", "location_remapped", "sequence_remapped"]
    table = read_columns(path, columns)
    labels = whole_numbers(table["y"].tolist(), path, "y")
    check_labels(f"{path}, column y", labels, len(names), range(1, len(labels) + 1))
    locations = whole_numbers(table["location_remapped"].tolist(), path, "location_remapped")
    splits = {}
    for split in inputs.splits:
        rows = np.flatnonzero((table["split"] == SPLITS[split]).to_numpy())
        chosen = table.iloc[rows]
        files = [f"train/{below(name, str(path))}" for name in chosen["filename"]]
        # One trigger of a camera takes a burst of nearly equal images.
        bursts = [f"{inputs.dataset}/sequence-{n}" for n in chosen["sequence_remapped"]]
        more = {"base_ids": bursts, "groups": {"location": locations[rows].tolist()}}
        splits[split] = listed_split(inputs, files, labels[rows], path, **more)
    return Indexed(splits=splits, class_names=[[name] for name in names])


def _species(path: Path) -> list[str]:
    """Return the English names of the classes in label order, in lower case as in the prompts."""
    table = read_columns(path, ["y", "english"])
    labels = whole_numbers(table["y"].tolist(), path, "y")
    used = labels != UNUSED_LABEL
    if labels[used].tolist() != list(range(used.sum())):
        raise WiseftError(
            f"{path}: expected the labels 0..{used.sum() - 1} in order in column y (and "
            f"{UNUSED_LABEL} for unused classes). Fetch it again."
        )
    return [name.lower() for name in table["english"][used]]
