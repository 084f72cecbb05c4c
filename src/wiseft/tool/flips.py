"""Predictions of every image, by names, and the images that are right at one alpha and not another.

The file has a row an image: `set`, `split`, `image` (its path in the folder), `label` (the class,
null without labels) and `prediction/<alpha>`, the predicted class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from wiseft.base.alphas import format_alpha
from wiseft.base.templates import filled
from wiseft.images.manifest import NAME, open_manifest
from wiseft.tabulate.predictions import WEIGHT
from wiseft.tool.record import TEST, ImageSet

PREDICTION = "prediction/"
EXAMPLES = 5
"""Images that the page names of each kind."""
KINDS = ("zero-shot right, fine-tuned wrong", "fine-tuned right, zero-shot wrong", "only between")


def predictions(
    files: Mapping[str, Path], sets: Sequence[ImageSet], data: Path, grid: Sequence[str]
) -> pd.DataFrame:
    """Return the predictions of all sets, a row an image.

    Args:
        files: the evaluation's predictions by set.
        data: folder with the manifests of all sets.
        grid: alphas, as `0.400`.
    """
    columns = {f"{WEIGHT}/all/{alpha}/prediction": f"{PREDICTION}{alpha}" for alpha in grid}
    parts = []
    for each in sets:
        frame = pd.read_parquet(files[each.name], columns=["split", "sample_id", "label", *columns])
        names = np.array([*open_manifest(data / each.name / NAME).class_names, None], dtype=object)
        frame = frame.rename(columns={"sample_id": "image", **columns})
        for column in ("label", *columns.values()):
            frame[column] = names[frame[column].to_numpy()]  # -1, outside of the view, is None
        frame["label"] = frame["label"] if each.labelled else None
        frame.insert(0, "set", each.name)
        parts.append(frame)
    return pd.concat(parts, ignore_index=True)


def section(frame: pd.DataFrame, alpha: float, what: str = "images") -> str:
    """Return what flips along alpha as HTML: a table of counts and, below it, examples.

    Args:
        frame: of `predictions`.
        alpha: at which the flipped images are counted once more.
        what: the rows are called.
    """
    sets = []
    labelled = frame[(frame["split"] == TEST) & frame["label"].notna()]
    for name, part in labelled.groupby("set", sort=False):
        kinds, at = _kinds(part, alpha)
        counts = [(mask.sum(), (mask & at).sum()) for mask in kinds]
        shown = [(kind, part[mask]) for kind, mask in zip(KINDS, kinds, strict=True) if mask.any()]
        sets.append((name, counts, [(kind, *_examples(images)) for kind, images in shown]))
    if not sets:
        return ""
    return filled("tool/flips.html.j2", what=what, alpha=alpha, kinds=KINDS, sets=sets)


def _kinds(part: pd.DataFrame, alpha: float) -> tuple[list[pd.Series], pd.Series]:
    """Return which images are of each kind, and which are right at an alpha."""
    columns = [name for name in part if str(name).startswith(PREDICTION)]
    right = part[columns].eq(part["label"], axis=0)
    start, end = right.iloc[:, 0], right.iloc[:, -1]
    between = right.any(axis=1) & ~start & ~end
    return [start & ~end, end & ~start, between], right[f"{PREDICTION}{format_alpha(alpha)}"]


def _examples(images: pd.DataFrame) -> tuple[list[dict[str, str]], int]:
    """Return the first images, with both ends' predictions, and how many more there are."""
    ends = {"zero_shot": f"{PREDICTION}0.000", "fine_tuned": f"{PREDICTION}1.000"}
    first = [
        {"name": Path(row["image"]).name, "label": row["label"]}
        | {end: row[column] for end, column in ends.items()}
        for row in images.head(EXAMPLES).to_dict("records")
    ]
    return first, len(images) - EXAMPLES
