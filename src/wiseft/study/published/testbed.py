"""Accuracies of other models: the test bed's and zero-shot CLIPs, as rows of the tidy table.

Models of standard training lie on a line on logit axes, over which effective robustness is
measured (paper, section 2; Taori et al. 2020).
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue
from wiseft.study.config.paths import DATASETS_ROOT
from wiseft.study.published.addresses import (
    ACCURACIES,
    MODEL_TYPES,
    SOURCES,
    ZERO_SHOT,
    shipped,
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


CONDITIONS = shipped("conditions.csv", index_col="column")
"""The columns that are read: what each measures, and on how many samples. Every accuracy is a whole
number of these."""

_NAMES = shipped("open_clip_names.csv", index_col=["kind", "theirs"])["ours"]
CLIP_MODELS: dict[str, str] = _NAMES["model"].to_dict()
"""OpenAI's nine models, by open_clip's name, as the catalogue calls them."""

CLIP_COLUMNS: dict[str, str] = _NAMES["dataset"].to_dict()
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
        root: the folder of the datasets, below which `wiseft testbed` puts the files; all of them
            must be there (`at_hand`).
        catalogue: where `n` of open_clip's numbers is from; None leaves it null.

    Raises:
        WiseftError: if a file is not what it was.
    """
    frame = pd.concat([_standard(root), _clips(root, catalogue)], ignore_index=True)
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


def lines() -> pd.DataFrame:
    """Return the logit-logit least-squares lines through these models.

    They were computed from those files by :mod:`wiseft.study.paper.published`; a test holds them to
    it. Columns: `kind` (`standard`, `standard-below-knee`, `standard-above-knee`, `zero-shot`),
    `dataset`, `x_view` (view of ImageNet on the x axis), `slope`, `intercept`, `r2`,
    `residual_se`, `n` (models), `x_min` and `x_max` (fractions), `x_mean` and `x_ss` (logits).
    """
    return shipped("lines.csv")


def _standard(root: str | Path) -> pd.DataFrame:
    """Return the points of the test bed's models, with whole numbers of samples."""
    wide = _read(source_path(ACCURACIES, root), {"model", *CONDITIONS.index})
    kinds = wide["model"].map(model_types(source_path(MODEL_TYPES, root)))
    wide = wide.assign(method=kinds.map(METHODS)).dropna(subset="method")
    points = _long(wide, ["model", "method"], CONDITIONS.index).join(CONDITIONS, on="column")
    n_correct = (points["value"] * points["n"] / 100).round().astype(int)
    about: dict[str, Any] = {"experiment": EXPERIMENT, "reference": "imagenet", "alpha": 1.0}
    return points.assign(**about, value=n_correct / points["n"], n_correct=n_correct)


def _clips(root: str | Path, catalogue: Catalogue | None) -> pd.DataFrame:
    """Return the points of OpenAI's models."""
    wide = _read(source_path(ZERO_SHOT, root), {"name", "pretrained", *CLIP_COLUMNS})
    wide = wide[(wide["pretrained"] == "openai") & wide["name"].isin(CLIP_MODELS)]
    points = _long(wide.assign(model=wide["name"].map(CLIP_MODELS)), ["model"], CLIP_COLUMNS)
    dataset = points["column"].map(CLIP_COLUMNS)
    own = dataset.where(~dataset.isin(["imagenet", *SHIFTS]), "imagenet")
    n = {name: catalogue and sample_count(catalogue, name, "test", "all") for name in {*dataset}}
    about: dict[str, Any] = {"experiment": CLIP_EXPERIMENT, "method": "zero-shot", "alpha": 0.0}
    return points.assign(**about, view="all", dataset=dataset, reference=own, n=dataset.map(n))


def _long(wide: pd.DataFrame, about: list[str], columns: Iterable[str]) -> pd.DataFrame:
    """Return a row for each model and column, in the order of both, without blank cells."""
    long = wide.melt(about, list(columns), "column", "value", ignore_index=False)
    long = long.sort_index(kind="stable").dropna(subset="value").reset_index(drop=True)
    return long.astype({"value": float})


def _read(path: Path, needed: set[str]) -> pd.DataFrame:
    try:
        lines = pd.read_csv(path, dtype=str)
    except ValueError as error:  # pandas' own errors and bad text are ValueErrors
        raise WiseftError(f"{path} is no CSV ({error}); delete it and fetch it again") from None
    if missing := sorted(needed - set(lines)):
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
