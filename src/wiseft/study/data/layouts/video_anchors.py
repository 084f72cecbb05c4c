"""ImageNet-Vid-Robust and YTBB-Robust: anchor frames of videos with reviewed neighbours.

Each anchor and its neighbours (at most 10 frames before and after it, of the same look) are a
set (Shankar et al., 2019). pm-0 is the accuracy on anchors: group `anchor` is true for them.
pm-10 counts the sets whose frames are all right: the anchor is the base id of its frames. A frame
may have several labels; any of them is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wiseft.errors import WiseftError
from wiseft.images.scan import below, file_sizes
from wiseft.images.split import FolderSplit, Indexed, LayoutInputs
from wiseft.study.data.layouts.metadata import only_split, read_members, read_object
from wiseft.study.data.layouts.ytbb import FrameSet, read_ytbb_sets

VID_LABELS = "labels.json"
VID_SETS = "pmsets.json"
MAPS = {
    "imagenet-vid-robust": ("vid_rev_class_idx_map.json", "vid_class_idx_map.json"),
    "ytbb-robust": ("ytbb_rev_class_idx_map.json", "ytbb_class_idx_map.json"),
}
"""Maps between ImageNet's classes and the dataset's. Both datasets publish them under one pair of
names (without prefix), but their files may lie in one folder."""


def read(inputs: LayoutInputs) -> Indexed:
    """Index the frames of all sets: each anchor, then its neighbours.

    Classes without a class in the reference get an empty list in the label map.

    Raises:
        WiseftError: a metadata file or a frame is missing, the number of anchors is not that of
            the entry, a frame is in two sets or has no label, the maps of classes disagree.
    """
    split = only_split(inputs)
    members = read_members(inputs, *MAPS[inputs.options.dataset])
    if inputs.options.dataset == "imagenet-vid-robust":
        sets, source = _read_vid_sets(inputs), inputs.file(VID_SETS)
    else:
        sets, source = read_ytbb_sets(inputs)
    if len(sets) != inputs.options.anchors:
        raise WiseftError(
            f"{source}: expected exactly {inputs.options.anchors} anchors, found {len(sets)}. "
            "Fetch the metadata again."
        )
    return Indexed(splits={split: _index(inputs, sets, source)}, label_map=members)


def _read_vid_sets(inputs: LayoutInputs) -> list[FrameSet]:
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
    return sets


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


def _index(inputs: LayoutInputs, sets: Sequence[FrameSet], source: Path) -> FolderSplit:
    place = inputs.place(inputs.options.images).relative_to(inputs.root)
    owner: dict[str, str] = {}
    for item in sets:
        for frame in item.frames:
            if frame in owner:
                raise WiseftError(
                    f"{source}: frame {frame} is in the sets of {owner[frame]} and of "
                    f"{item.anchor}, expected it in one. Fetch the metadata again."
                )
            owner[frame] = item.anchor
    frames, labels_of = list(owner), [labels for item in sets for labels in item.labels]
    paths = [(place / below(frame, str(source))).as_posix() for frame in frames]
    return FolderSplit(
        paths=paths,
        labels=np.array([labels[0] for labels in labels_of], np.int64),
        bytes=file_sizes(inputs.root, paths, [str(source)] * len(paths)),
        sample_ids=frames,
        base_ids=list(owner.values()),
        groups={"anchor": [frame == anchor for frame, anchor in owner.items()]},
        other_labels=[labels[1:] for labels in labels_of],
    )
