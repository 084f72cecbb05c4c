"""Accuracies of other models: the test bed's and zero-shot CLIPs, as rows of the tidy table.

Models of standard training lie on a line on logit axes, over which effective robustness is
measured (paper, section 2; Taori et al. 2020).
"""

from __future__ import annotations

import ast
import csv
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue
from wiseft.study.config.paths import DATASETS_ROOT
from wiseft.study.published.addresses import (
    ACCURACIES,
    MODEL_TYPES,
    SOURCES,
    ZERO_SHOT,
    source_path,
)
from wiseft.study.published.numbers import published_rows, sample_count

EXPERIMENT = "testbed"
"""`experiment` of the rows of the test bed's models."""
CLIP_EXPERIMENT = "open-clip"
"""`experiment` of the rows of the zero-shot CLIPs."""

SHIFTS = ("imagenet-v2", "imagenet-r", "imagenet-sketch", "objectnet", "imagenet-a")
"""The five shifts of the average `avg:shifts` (paper, section 4)."""

METHODS = {
    "STANDARD": "standard",
    "ROBUST_INTV": "robustness-intervention",
    "LP_ADV": "lp-adversarial",
    "MORE_DATA": "more-data",
}
"""`method` by category. Only `standard` is fitted; models of other categories, and the test bed's
110 without one, are snapshots of training and no networks of interest, and are left out."""


class Condition(NamedTuple):
    """A column of the test bed: what it measures, and on how many samples."""

    dataset: str
    view: str
    n: int


def _shipped(name: str) -> list[dict[str, str]]:
    """Return the lines of a CSV of this package."""
    with (files("wiseft.study.published") / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


CONDITIONS = {
    line["column"]: Condition(line["dataset"], line["view"], int(line["n"]))
    for line in _shipped("conditions.csv")
}
"""The columns that are read. Every accuracy is a whole number of these samples."""

_NAMES = _shipped("open_clip_names.csv")
CLIP_MODELS = {line["theirs"]: line["ours"] for line in _NAMES if line["kind"] == "model"}
"""OpenAI's nine models, by open_clip's name, as the catalogue calls them."""

CLIP_COLUMNS = {line["theirs"]: line["ours"] for line in _NAMES if line["kind"] == "dataset"}
"""open_clip's columns by dataset. FMoW and iWildCam are left out: other metrics than the paper's.
ObjectNet is scored with ObjectNet's own class names, which raises it by about 2 points."""


def at_hand(root: str | Path = DATASETS_ROOT) -> bool:
    """Whether all files of other models' accuracies lie below the folder of the datasets."""
    return all(source_path(file, root).is_file() for file in SOURCES)


def testbed_rows(
    root: str | Path = DATASETS_ROOT, catalogue: Catalogue | None = None
) -> pd.DataFrame:
    """Return the accuracies of other models as rows of the tidy table.

    `source` is `published`; `method` is one of `METHODS`, at alpha 1, or `zero-shot`, at alpha 0;
    `reference` is the dataset whose classes the head has. Beside `imagenet` stand its
    class-subsampled views. `avg:shifts` is
    given for the models that have all five shifts. The test bed's own `n` and `n_correct` are
    given; `n_correct` of open_clip's numbers, which are rounded to four decimals, is null.

    Args:
        root: the folder of the datasets, below which `wiseft testbed` puts the files.
        catalogue: where `n` of open_clip's numbers is from; None leaves it null.

    Raises:
        WiseftError: if a file is missing or is not what it was.
    """
    for file in SOURCES:
        if not source_path(file, root).is_file():
            raise WiseftError(
                f"{source_path(file, root)} is missing; fetch it with `wiseft testbed`, or put the "
                "file there"
            )
    frame = pd.DataFrame([*_standard_records(root), *_clip_records(root, catalogue)])
    frame = pd.concat([frame, _averages(frame)], ignore_index=True)
    return published_rows(
        frame.assign(
            variant="",
            run=frame["model"] + "__" + frame["reference"] + "__" + frame["method"],
            combination="weight",
            split="test",
            metric="accuracy",
            selection="grid",
        )
    )


def _standard_records(root: str | Path) -> Iterator[dict[str, Any]]:
    categories = model_types(source_path(MODEL_TYPES, root))
    for line in _records(source_path(ACCURACIES, root), {"model", *CONDITIONS}):
        method = METHODS.get(categories.get(line["model"], ""))
        if method is None:
            continue
        for column, (dataset, view, n) in CONDITIONS.items():
            if line[column] == "":
                continue
            n_correct = round(float(line[column]) * n / 100)
            yield {
                "experiment": EXPERIMENT,
                "model": line["model"],
                "reference": "imagenet",
                "method": method,
                "alpha": 1.0,
                "dataset": dataset,
                "view": view,
                "value": n_correct / n,
                "n": n,
                "n_correct": n_correct,
            }


def _clip_records(root: str | Path, catalogue: Catalogue | None) -> Iterator[dict[str, Any]]:
    for line in _records(source_path(ZERO_SHOT, root), {"name", "pretrained", *CLIP_COLUMNS}):
        if line["pretrained"] != "openai" or line["name"] not in CLIP_MODELS:
            continue
        for column, dataset in CLIP_COLUMNS.items():
            yield {
                "experiment": CLIP_EXPERIMENT,
                "model": CLIP_MODELS[line["name"]],
                "reference": "imagenet" if dataset in ("imagenet", *SHIFTS) else dataset,
                "method": "zero-shot",
                "alpha": 0.0,
                "dataset": dataset,
                "view": "all",
                "value": float(line[column]),
                "n": sample_count(catalogue, dataset, "test", "all") if catalogue else None,
                "n_correct": None,
            }


def _records(path: Path, needed: set[str]) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise WiseftError(f"{path} is no CSV ({error}); delete it and fetch it again") from None
    missing = sorted(needed - set(lines[0] if lines else ()))
    if missing:
        raise WiseftError(
            f"{path} must have the columns {', '.join(sorted(needed))}, but lacks "
            f"{', '.join(missing)}; delete it and fetch it again"
        )
    return lines


def model_types(path: Path) -> Mapping[str, str]:
    """Return the category of each model (such as `STANDARD`), parsed without executing the file.

    Models that the file adds in loops, all of them snapshots of low accuracy, are not among them.

    Raises:
        WiseftError: if the file has no mapping `model_types_map` of texts to `ModelTypes.<NAME>`.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise WiseftError(f"{path} is no Python ({error}); fetch it again") from None
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "model_types_map":
            return _mapping(node.value, path)
    raise WiseftError(f"{path} has no mapping model_types_map; fetch it again")


def _mapping(node: ast.expr, path: Path) -> dict[str, str]:
    types = {}
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(value, ast.Attribute):
                types[str(key.value)] = value.attr
    if not types or len(types) != len(getattr(node, "keys", [])):
        raise WiseftError(
            f"{path}: model_types_map must be a mapping of texts to ModelTypes.<NAME>, but is "
            "something else; fetch the file again"
        )
    return types


def _averages(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `avg:shifts` of the models that have all five."""
    shifts = frame[(frame["view"] == "all") & frame["dataset"].isin(SHIFTS)]
    key = ["experiment", "model", "reference", "method", "alpha"]
    grouped = shifts.groupby(key, sort=False)["value"].agg(["mean", "size"]).reset_index()
    complete = grouped[grouped["size"] == len(SHIFTS)]
    averages = complete[key].assign(dataset="avg:shifts", view="all", value=complete["mean"])
    return averages.assign(n=None, n_correct=None)
