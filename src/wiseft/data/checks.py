"""Checks of a dataset before it is written."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from wiseft.data.prepared import PreparedSplit
from wiseft.errors import WiseftError


def check_counts(
    dataset: str, found: Mapping[str, int], expected: Mapping[str, int] | None
) -> None:
    """Raise WiseftError unless the splits and their sizes are exactly the expected ones (None:
    anything goes)."""
    if expected is None or dict(found) == dict(expected):
        return
    for name in sorted({*found, *expected}):
        if name not in found:
            raise WiseftError(f"{dataset}: split '{name}' is missing.")
        if name not in expected:
            raise WiseftError(f"{dataset}: split '{name}' is not in the dataset's entry.")
        if found[name] != expected[name]:
            raise WiseftError(
                f"{dataset}, split {name}: expected exactly {expected[name]} images, found "
                f"{found[name]}. "
                "The source is incomplete or of another version; fetch it again."
            )


def check_split(where: str, split: PreparedSplit, classes: int) -> None:
    """Raise WiseftError unless a split is what ``write_prepared`` promises to write.

    Args:
        where: names the split in messages.
        classes: number of classes.
    """
    images, n = split.images, len(split.labels)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise WiseftError(
            f"{where}: images must be uint8 (n, H, W, 3), found {images.dtype} {images.shape}."
        )
    if images.shape[1] != images.shape[2]:
        raise WiseftError(f"{where}: images must be square, found {images.shape[1:3]}.")
    columns = [images, split.sample_ids, *split.groups.values()]
    columns += [split.base_ids] if split.base_ids is not None else []
    if n == 0 or any(len(column) != n for column in columns):
        raise WiseftError(f"{where}: images, labels, ids and groups must have one length above 0.")
    if split.labels.min() < 0 or split.labels.max() >= classes:
        raise WiseftError(f"{where}: labels must lie in 0..{classes - 1}.")
    if len(set(split.sample_ids)) != n:
        raise WiseftError(f"{where}: sample ids must be unique.")
