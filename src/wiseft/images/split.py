"""Splits before they are written: what the readers of layouts and the builders are given and hand
over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wiseft.errors import WiseftError

HELD_OUT = "held-out"


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
class LayoutInputs:
    """What a reader may read.

    Attributes:
        dataset: name of the dataset, for messages and sample ids.
        root: folder of the dataset's files, unpacked by us or the user's own; only read.
        files: source files that are used as they are (lists, mappings, arrays), by name.
        splits: splits to read; a reader may be asked for some of an entry's splits only.
        options: the typed options of the layout (`wiseft.study.config.layouts`).
        class_names: display names in label order; empty where they come from the files.
        class_ids: ids of the classes in label order, such as wnids; None for none.
        reference_ids: ids of the classes of the label map's reference; None for none.
        broken: takes a sentence for every file that is left out, since it can't be read as an
            image; None: it is an error.
    """

    dataset: str
    root: Path
    files: Mapping[str, Path]
    splits: Sequence[str]
    options: Any
    class_names: Sequence[str] = ()
    class_ids: Sequence[str] | None = None
    reference_ids: Sequence[str] | None = None
    broken: list[str] | None = None

    def file(self, *names: str) -> Path:
        """Return the first of several names that is a source file, or a file below the root.

        Raises:
            WiseftError: if none of them is.
        """
        for name in names:
            for path in (self.files.get(name), self.root / name):
                if path is not None and path.is_file():
                    return path
        wanted = " or ".join(dict.fromkeys(names))
        raise WiseftError(f"dataset {self.dataset} needs {wanted}, which is not in {self.root}.")

    def of_split(self, option: str, split: str) -> Any:
        """Return what an option of the layout lists for a split.

        Raises:
            WiseftError: if it lists nothing.
        """
        listed: Mapping[str, Any] = getattr(self.options, option)
        if split not in listed:
            raise WiseftError(
                f"dataset {self.dataset} has a split {split}, but `{option}` in its options only "
                f"{', '.join(listed)}; add it there"
            )
        return listed[split]

    def prefix(self, folder: Path) -> str:
        """Return what comes before a name in a folder below the root to make it relative to it."""
        inside = folder.relative_to(self.root).as_posix()
        return "" if inside == "." else f"{inside}/"

    def place(self, places: Sequence[str]) -> Path:
        """Return the first of several folders below the root that is there; `.` is the root.

        Raises:
            WiseftError: if none of them is.
        """
        for place in places:
            if (self.root / place).is_dir():
                return self.root / place
        raise WiseftError(
            f"dataset {self.dataset}: expected a folder {' or '.join(places)} in {self.root}, "
            "found none of them."
        )


@dataclass(frozen=True)
class Indexed:
    """What a reader gives back.

    Attributes:
        splits: all of one kind: image files that stay, or arrays.
        class_names: for each class the names to prompt, in label order; None: those of the entry.
        label_map: for each class its classes in the label map's reference, maybe none; None where
            the layout has no mapping files.
    """

    splits: Mapping[str, FolderSplit] | Mapping[str, PreparedSplit]
    class_names: Sequence[Sequence[str]] | None = None
    label_map: Sequence[Sequence[int]] | None = None
