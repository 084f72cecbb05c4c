"""Checks of a dataset before it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized

import numpy as np

from wiseft.data.prepared.split import FolderSplit, PreparedSplit
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


def check_folder_split(
    dataset: str, name: str, split: FolderSplit, class_names: Sequence[str]
) -> None:
    """Raise WiseftError unless a split of image files is consistent, naming the first offender."""
    n = len(split.labels)
    columns: list[Sized] = [split.paths, split.bytes, *split.groups.values()]
    optional = (split.sample_ids, split.base_ids, split.other_labels)
    columns += [column for column in optional if column is not None]
    if any(len(column) != n for column in columns):
        raise WiseftError(f"{dataset}, split {name}: paths, labels and ids differ in number.")
    if n == 0:
        raise WiseftError(f"{dataset}, split {name}: found no image.")
    ids = split.sample_ids if split.sample_ids is not None else split.paths
    if len(set(ids)) < n:
        seen: set[str] = set()
        double = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise WiseftError(f"{dataset}, split {name}: sample {double} occurs twice.")
    wrong = np.flatnonzero((split.labels < 0) | (split.labels >= len(class_names)))
    if len(wrong):
        raise WiseftError(
            f"{dataset}, split {name}: {split.paths[wrong[0]]} has label "
            f"{split.labels[wrong[0]]}, expected 0..{len(class_names) - 1}."
        )


def check_label_map(dataset: str, members: Sequence[Sequence[int]], classes: int) -> None:
    """Raise WiseftError unless there is one list a class and no reference class is in two."""
    if len(members) != classes:
        raise WiseftError(
            f"dataset {dataset}: its mapping files cover {len(members)} classes, expected "
            f"{classes}."
        )
    flat = [member for found in members for member in found]
    if len(set(flat)) < len(flat):
        double = next(member for member in flat if flat.count(member) > 1)
        raise WiseftError(
            f"dataset {dataset}: its mapping files give class {double} of the reference to two "
            "classes."
        )
