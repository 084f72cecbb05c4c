"""ImageNet-Vid-Robust and YTBB-Robust: anchor frames of videos with reviewed neighbours.

Each anchor and its neighbours (at most 10 frames before and after it, of the same look) are a
set (Shankar et al., 2019). pm-0 is the accuracy on anchors: group `anchor` is true for them.
pm-10 counts the sets whose frames are all right: the anchor is the base id of its frames. A frame
may have several labels; any of them is right.

YTBB-Robust says in its metadata which frames are in a set, and which labels are right.
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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wiseft.base.io import read_object
from wiseft.errors import WiseftError
from wiseft.images.index import check_labels
from wiseft.images.scan import below
from wiseft.images.split import FolderSplit, Indexed, LayoutInputs
from wiseft.study.data.layouts.listed import listed_split
from wiseft.study.data.layouts.metadata import (
    check_names,
    only_split,
    read_columns,
    read_members,
    whole_numbers,
)

VID_LABELS = "labels.json"
VID_SETS = "pmsets.json"
MAPS = {
    "imagenet-vid-robust": ("vid_rev_class_idx_map.json", "vid_class_idx_map.json"),
    "ytbb-robust": ("ytbb_rev_class_idx_map.json", "ytbb_class_idx_map.json"),
}
"""Maps between ImageNet's classes and the dataset's. Both datasets publish them under one pair of
names (without prefix), but their files may lie in one folder."""

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

_KEY = re.compile(r"[^/,]+_\d+/frame-\d+\.jpg")


@dataclass(frozen=True)
class FrameSet:
    """An anchor and its neighbours.

    Attributes:
        frames: paths below the folder of the frames, the anchor first.
        labels: for each frame its labels, one or more.
    """

    frames: list[str]
    labels: list[list[int]]


def read(inputs: LayoutInputs) -> Indexed:
    """Index the frames of all sets: each anchor, then its neighbours.

    Classes without a class in the reference get an empty list in the label map.

    Raises:
        WiseftError: a metadata file or a frame is missing, the number of anchors is not that of
            the entry, a frame is in two sets or has no label, the maps of classes disagree.
    """
    split = only_split(inputs)
    members = read_members(inputs, *MAPS[inputs.options.dataset])
    is_vid = inputs.options.dataset == "imagenet-vid-robust"
    sets, source = (_read_vid_sets if is_vid else _read_ytbb_sets)(inputs)
    if len(sets) != inputs.options.anchors:
        raise WiseftError(
            f"{source}: expected exactly {inputs.options.anchors} anchors, found {len(sets)}. "
            "Fetch the metadata again."
        )
    return Indexed(splits={split: _index(inputs, sets, source)}, label_map=members)


def _read_vid_sets(inputs: LayoutInputs) -> tuple[list[FrameSet], Path]:
    """Return the sets of ImageNet-Vid-Robust, and the file that they are from."""
    labels, path = read_object(inputs.file(VID_LABELS)), inputs.file(VID_SETS)
    sets = []
    for anchor, neighbours in read_object(path).items():
        if not isinstance(neighbours, list):
            raise WiseftError(f"{path}: expected a list of frames for {anchor}.")
        frames = [anchor, *neighbours]
        for frame in frames:
            if frame not in labels:
                raise WiseftError(
                    f"{inputs.file(VID_LABELS)}: expected labels of every frame in {path}, found "
                    f"none for {frame}."
                )
        sets.append(FrameSet(frames, [_labels(inputs, frame, labels[frame]) for frame in frames]))
    return sets, path


def _labels(inputs: LayoutInputs, frame: str, value: Any) -> list[int]:
    count = len(inputs.class_names)
    known = isinstance(value, list) and all(
        isinstance(label, int) and 0 <= label < count for label in value
    )
    if not value or not known:
        raise WiseftError(
            f"{inputs.file(VID_LABELS)}: expected one or more labels 0..{count - 1} for {frame}, "
            f"found {value}."
        )
    return list(dict.fromkeys(value))


def _read_ytbb_sets(inputs: LayoutInputs) -> tuple[list[FrameSet], Path]:
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
    if absent := [name for name in needed if name not in names]:
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
    check_labels(str(path), labels, len(inputs.class_names), range(1, len(labels) + 1))
    keys = table["ytid"] + "_" + table["time_ms"]
    return {key: SWAPPED.get(n, n) for key, n in zip(keys, labels.tolist(), strict=True)}


def _short(key: str, path: Path) -> str:
    """Return a frame's key without the annotators' folders."""
    short = "/".join(key.split("/")[-2:])
    if not _KEY.fullmatch(short):
        raise WiseftError(
            f"{path}: expected a key that ends in <video>_<ms>/frame-<number>.jpg, found {key!r}."
        )
    return short


def _neighbours(anchor: str, similar: set[str]) -> list[str]:
    folder, _, at = anchor.removesuffix(".jpg").rpartition("/frame-")
    near = range(int(at) - NEIGHBOURS, int(at) + NEIGHBOURS + 1)
    frames = [f"{folder}/frame-{number}.jpg" for number in near if number != int(at)]
    return [frame for frame in frames if f"{anchor},{frame}" in similar]


def _index(inputs: LayoutInputs, sets: Sequence[FrameSet], source: Path) -> FolderSplit:
    place = inputs.place(inputs.options.images).relative_to(inputs.root)
    owner: dict[str, str] = {}
    for item in sets:
        anchor = item.frames[0]
        for frame in item.frames:
            if frame in owner:
                raise WiseftError(
                    f"{source}: frame {frame} is in the sets of {owner[frame]} and of {anchor}, "
                    "expected it in one. Fetch the metadata again."
                )
            owner[frame] = anchor
    frames, labels_of = list(owner), [labels for item in sets for labels in item.labels]
    paths = [(place / below(frame, str(source))).as_posix() for frame in frames]
    return listed_split(
        inputs,
        paths,
        [labels[0] for labels in labels_of],
        source,
        sample_ids=frames,
        base_ids=list(owner.values()),
        groups={"anchor": [frame == anchor for frame, anchor in owner.items()]},
        other_labels=[labels[1:] for labels in labels_of],
    )
