"""Checks of a dataset before it is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wiseft.errors import WiseftError
from wiseft.images.index import index_columns, write_index
from wiseft.images.split import FolderSplit, PreparedSplit


def check_counts(
    dataset: str, counts: Mapping[str, int], expected: Mapping[str, int] | None
) -> None:
    """Raise WiseftError unless the splits and their sizes are exactly the expected ones (None:
    anything goes)."""
    if expected is None:
        return
    for name in sorted({*counts, *expected}):
        if name not in counts:
            raise WiseftError(f"{dataset}: split '{name}' is missing.")
        if name not in expected:
            raise WiseftError(f"{dataset}: split '{name}' is not in the dataset's entry.")
        if counts[name] != expected[name]:
            raise WiseftError(
                f"{dataset}, split {name}: expected exactly {expected[name]} images, found "
                f"{counts[name]}. The source is incomplete or of another version; fetch it again."
            )


def check_images(where: str, images: NDArray[Any]) -> None:
    """Raise WiseftError unless images are square RGB of uint8.

    Args:
        where: names the split in messages.
    """
    shape = images.shape
    if images.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or shape[1] != shape[2]:
        raise WiseftError(
            f"{where}: images must be uint8 (n, H, W, 3) and square, found {images.dtype} {shape}."
        )


def check_columns(where: str, columns: Mapping[str, Any], classes: int) -> None:
    """Raise WiseftError unless what belongs to the samples is consistent, naming the first
    offender.

    Args:
        where: names the split in messages.
        columns: those of the index, and what else has an item a sample.
        classes: number of classes.
    """
    ids, labels = columns["sample_id"], columns["label"]
    if not len(labels):
        raise WiseftError(f"{where}: found no image.")
    for name, values in columns.items():
        if len(values) != len(labels):
            raise WiseftError(
                f"{where}: expected one of {name} for each of {len(labels)} labels, found "
                f"{len(values)}."
            )
    sample, times = Counter(ids).most_common(1)[0]
    if times > 1:
        raise WiseftError(f"{where}: sample {sample} occurs twice.")
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise WiseftError(
            f"{where}: sample {ids[wrong[0]]} has label {labels[wrong[0]]}, expected "
            f"0..{classes - 1}."
        )


def write_checked(
    folder: Path, dataset: str, name: str, split: FolderSplit | PreparedSplit, classes: int
) -> dict[str, Any]:
    """Check and write the index of a split; return what the manifest says of the split."""
    columns = index_columns(split)
    check_columns(f"{dataset}, split {name}", columns, classes)
    return write_index(folder, name, columns)
