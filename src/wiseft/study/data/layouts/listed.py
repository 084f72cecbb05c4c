"""Splits of images that a table or a list names, and labels by what it calls their classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wiseft.errors import WiseftError
from wiseft.images.folder_labels import humanise, key, no_class
from wiseft.images.folder_labels import table as labels_of
from wiseft.images.scan import below, check_distinct, file_sizes
from wiseft.images.split import FolderSplit, LayoutInputs

FORMS = ("class-id", "name", "index")
"""What a class may be called by, in the order in which it is tried."""


@dataclass(frozen=True)
class ClassLabels:
    """Labels by what a class is called.

    Attributes:
        labels: label of every value that was found.
        names: names of all classes in label order, where they come from the values; else None.
    """

    labels: Mapping[str, int]
    names: Sequence[Sequence[str]] | None = None


def table_split(
    inputs: LayoutInputs,
    images: Path,
    table: Path,
    paths: Sequence[str],
    labels: Sequence[int],
    rows: Sequence[int],
    groups: Mapping[str, Sequence[Any]] | None = None,
) -> FolderSplit:
    """Return the images that some rows of a table list, in the order of the rows.

    Args:
        images: what the paths are relative to.
        paths: of all rows of the table, as are the labels and groups.
        rows: the places of those of the split.

    Raises:
        WiseftError: an image is missing or empty, is listed twice, or its path leads elsewhere.
    """
    prefix = inputs.prefix(images)
    sources = [f"{table}, row {row + 1}" for row in rows]
    listed = [
        f"{prefix}{below(paths[row], source)}" for row, source in zip(rows, sources, strict=True)
    ]
    check_distinct(zip(listed, sources, strict=True))
    chosen = {name: [group[row] for row in rows] for name, group in (groups or {}).items()}
    return listed_split(inputs, listed, [labels[row] for row in rows], sources, groups=chosen)


def listed_split(
    inputs: LayoutInputs,
    paths: Sequence[str],
    labels: Sequence[int] | NDArray[np.int64],
    source: Path | Sequence[str],
    **columns: Any,
) -> FolderSplit:
    """Return a split of listed images, in their order.

    Args:
        paths: relative to the root.
        source: what lists them, or what lists each, for messages.
        columns: further fields of the split.

    Raises:
        WiseftError: an image is missing or empty.
    """
    sources = [str(source)] * len(paths) if isinstance(source, Path) else source
    sizes = file_sizes(inputs.root, paths, sources)
    return FolderSplit(paths, np.asarray(labels, np.int64), sizes, **columns)


def class_labels(values: Iterable[str], inputs: LayoutInputs, source: str) -> ClassLabels:
    """Return the labels of the values of a label column: class ids, class names or numbers.

    All values must have one form. Where the class names come from the files, these are the values,
    sorted (numbers by size), and labels follow.

    Args:
        source: what has the values, for messages.

    Raises:
        WiseftError: a value is no class in any form; it is named, with the nearest class.
    """
    distinct = sorted(set(values))
    if not inputs.class_names and not inputs.class_ids:
        numbers = all(value.strip().isascii() and value.strip().isdigit() for value in distinct)
        ordered = sorted(distinct, key=int) if numbers else distinct
        labels = {value: label for label, value in enumerate(ordered)}
        return ClassLabels(labels, [[humanise(value)] for value in ordered])
    misses = []
    for form in FORMS:
        labels = labels_of(form, inputs)
        unknown = [value for value in distinct if key(form, value) not in labels]
        if not unknown:
            return ClassLabels({value: labels[key(form, value)] for value in distinct})
        if labels:
            misses.append((unknown, form))
    unknown, form = min(misses, key=lambda miss: len(miss[0]))
    raise WiseftError(f"{source}: {no_class(unknown[0], form, inputs)}")
