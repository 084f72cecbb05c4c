"""YTBB-Robust's metadata: which frames are in a set, and which labels are right.

Annotations are JSON files with `labels`, a list of names, and `annotations`, rows with a `key` and
the indices of the names that a reviewer gave. Of rows with the same key, the last one counts.

* `anchor_labels.json`: the key is the path of an anchor, `<video>_<ms>/frame-<number>.jpg`, with
  or without folders of the annotators before it. An anchor counts if it is marked `good` and
  neither `bad` nor `unsure`; names of classes are labels that the reviewer saw.
* `pmk_labels.json`: the key is `<anchor>,<neighbour>`. A neighbour counts if it is marked
  `similar` and with none of `PROBLEMS` (under a key without folders, as in the reference code);
  `bad-anchor` on any of its pairs rejects an anchor.
* the table of anchors: the class of each in YouTube-BoundingBoxes.

A frame's labels are the class of its anchor in the table, and all that the reviewer saw there.
The rules are those of imagenet-testbed (Taori et al., 2020) since its correction of 2021-08-13.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wiseft.errors import WiseftError
from wiseft.images.split import LayoutInputs
from wiseft.study.data.layouts.metadata import check_names, read_columns, read_object, whole_numbers

ANCHORS = "anchor_labels.json"
PAIRS = "pmk_labels.json"
ORIGINAL = "ytbb_robustness_test_anchors_full.csv"
CLASS_INDEX = "ytbb_class_index.json"

NEIGHBOURS = 10
"""Frames before and after an anchor that may be its neighbours."""
PROBLEMS = (
    "dissimilar",
    "problematic",
    "incorrect",
    "dont know",
    "deformation",
    "background-change",
    "occlusion-increased",
    "blur-increase",
    "bad-anchor",
)
SWAPPED = {22: 23, 23: 22}
"""The table of anchors numbers `none` and `car` the other way round than the class index."""

_KEY = re.compile(r"(?P<folder>[^/,]+_\d+)/frame-(?P<number>\d+)\.jpg")


@dataclass(frozen=True)
class FrameSet:
    """An anchor and its neighbours.

    Attributes:
        frames: paths below the folder of the frames, the anchor first.
        labels: for each frame its labels, one or more.
    """

    frames: list[str]
    labels: list[list[int]]

    @property
    def anchor(self) -> str:
        """The anchor."""
        return self.frames[0]


def read_ytbb_sets(inputs: LayoutInputs) -> tuple[list[FrameSet], Path]:
    """Return the sets of YTBB-Robust, and the file that they are from.

    Raises:
        WiseftError: a metadata file is missing or malformed; an anchor has no class in the table.
    """
    path = inputs.file(PAIRS)  # the one that is hardest to come by: say first if it is missing
    label = _class_labels(inputs)
    anchors_path = inputs.file(ANCHORS)
    anchors = _read_annotations(anchors_path, needed=["good", "bad", "unsure"])
    pairs = _read_annotations(path, needed=[*PROBLEMS, "similar"])
    originals = _original_labels(inputs)
    rejected = {
        _short(key.split(",")[0], path) for key, names in pairs.items() if "bad-anchor" in names
    }
    similar = {
        key for key, names in pairs.items() if "similar" in names and not names & {*PROBLEMS}
    }
    sets = []
    for key, names in anchors.items():
        anchor = _short(key, anchors_path)
        if "good" not in names or names & {"bad", "unsure"} or anchor in rejected:
            continue
        folder = anchor.split("/")[0]
        if folder not in originals:
            raise WiseftError(
                f"{inputs.file(ORIGINAL)}: expected a row for anchor {anchor}, found none. Fetch "
                "the metadata again."
            )
        reviewed = {label[name] for name in names if name in label}
        labels = [originals[folder], *sorted(reviewed - {originals[folder]})]
        frames = [anchor, *_neighbours(anchor, similar)]
        sets.append(FrameSet(frames, [labels] * len(frames)))
    return sets, path


def _class_labels(inputs: LayoutInputs) -> dict[str, int]:
    """Return the label of each class by its name."""
    path = inputs.file(CLASS_INDEX)
    index = read_object(path)
    names = [str(index.get(str(label))) for label in range(len(index))]
    check_names(inputs, names, path)
    return {name: label for label, name in enumerate(names)}


def _read_annotations(path: Path, needed: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return the names that were given to each key, later rows over earlier ones."""
    content = read_object(path)
    names, rows = content.get("labels"), content.get("annotations")
    if not isinstance(names, list) or not isinstance(rows, list):
        raise WiseftError(
            f"{path}: expected an object with the lists `labels` and `annotations`, found the keys "
            f"{', '.join(content)}."
        )
    absent = [name for name in needed if name not in names]
    if absent:
        raise WiseftError(
            f"{path}: expected `{absent[0]}` among its labels, found {', '.join(map(str, names))}."
        )
    annotations = {}
    for number, row in enumerate(rows, start=1):
        try:
            annotations[str(row["key"])] = frozenset(str(names[index]) for index in row["labels"])
        except (TypeError, KeyError, IndexError):
            raise WiseftError(
                f"{path}, annotation {number}: expected a `key` and, under `labels`, numbers "
                f"0..{len(names) - 1}, found {row}."
            ) from None
    return annotations


def _original_labels(inputs: LayoutInputs) -> dict[str, int]:
    """Return the label of each anchor in YouTube-BoundingBoxes by `<video>_<ms>`."""
    path = inputs.file(ORIGINAL)
    table = read_columns(path, ["ytid", "time_ms", "label"])
    labels = whole_numbers(table["label"].tolist(), path, "label")
    if labels.max(initial=0) >= len(inputs.class_names):
        raise WiseftError(
            f"{path}: expected labels 0..{len(inputs.class_names) - 1}, found {labels.max()}."
        )
    keys = [f"{video}_{ms}" for video, ms in zip(table["ytid"], table["time_ms"], strict=True)]
    return {
        key: SWAPPED.get(label, label) for key, label in zip(keys, labels.tolist(), strict=True)
    }


def _short(key: str, path: Path) -> str:
    """Return a frame's key without the annotators' folders."""
    short = "/".join(key.split("/")[-2:])
    if not _KEY.fullmatch(short):
        raise WiseftError(
            f"{path}: expected a key that ends in <video>_<ms>/frame-<number>.jpg, found {key!r}."
        )
    return short


def _neighbours(anchor: str, similar: set[str]) -> list[str]:
    match = _KEY.fullmatch(anchor)
    assert match is not None, anchor
    number = int(match["number"])
    near = range(number - NEIGHBOURS, number + NEIGHBOURS + 1)
    frames = [f"{match['folder']}/frame-{other}.jpg" for other in near if other != number]
    return [frame for frame in frames if f"{anchor},{frame}" in similar]
