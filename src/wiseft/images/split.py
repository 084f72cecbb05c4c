"""One split as a builder or the reader of a layout hands it over to be written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

HELD_OUT = "held-out"


def take(split: S, rows: NDArray[np.integer]) -> S:
    """Return some rows of a split: of every field that holds a value a sample."""

    def take(value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, np.ndarray):
            return value[rows]
        if isinstance(value, Mapping):
            return {key: take(column) for key, column in value.items()}
        return [value[row] for row in rows]

    return type(split)(**{item.name: take(getattr(split, item.name)) for item in fields(split)})


@dataclass(frozen=True)
class PreparedSplit:
    """One split as a builder hands it over.

    Attributes:
        images: uint8 (n, H, W, 3), square.
        labels: int64 (n,), indices into the dataset's class names.
        sample_ids: n unique names.
        base_ids: n names; renditions of one source image share theirs. None: the sample ids.
        groups: further columns by name (without the prefix ``group_``), n values each.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    sample_ids: Sequence[str]
    base_ids: Sequence[str] | None = None
    groups: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class FolderSplit:
    """One split as image files that stay where they are; n entries each, in the final order.

    Attributes:
        paths: relative to the root, with forward slashes.
        labels: int64 (n,).
        bytes: file sizes, int64 (n,).
        sample_ids: n unique names; None: the paths.
        base_ids: n names; frames of one video or renditions of one image share theirs. None: the
            sample ids.
        groups: further columns by name (without the prefix ``group_``), n values each.
        other_labels: further labels that count as right, a list a sample; None: none anywhere.
    """

    paths: Sequence[str]
    labels: NDArray[np.int64]
    bytes: NDArray[np.int64]
    sample_ids: Sequence[str] | None = None
    base_ids: Sequence[str] | None = None
    groups: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    other_labels: Sequence[Sequence[int]] | None = None


S = TypeVar("S", FolderSplit, PreparedSplit)
