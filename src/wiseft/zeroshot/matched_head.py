"""The head of a supervised model: rows of its classifier (paper C.7.2, the JFT case).

A class of the reference that has a counterpart in the label set of pre-training takes over its
row, one that has several the mean of their rows; the others are never predicted, and their samples
count as errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from wiseft.base.io import read_json
from wiseft.errors import WiseftError
from wiseft.images.manifest import Manifest
from wiseft.zeroshot.head import Head

Counterpart = str | list[str] | None
"""An id of the label set, or several, or none."""


def match_head(
    weight: Tensor, bias: Tensor, labels: Sequence[str], wanted: Sequence[Counterpart]
) -> Head:
    """Return the rows of a classifier for the classes of a reference.

    A class without a counterpart gets the mean of the matched rows: it is masked wherever the head
    predicts, and fine-tuning starts there from a row that is like no class in particular.

    Args:
        weight: of the classifier, (labels, width).
        bias: of the classifier, (labels).
        labels: ids of the classes that it was pre-trained on.
        wanted: for each class of the reference its counterpart.

    Raises:
        WiseftError: if an id is not among the labels, or no class has a counterpart.
    """
    place = {label: row for row, label in enumerate(labels)}
    members = [[ids] if isinstance(ids, str) else ids or [] for ids in wanted]
    unknown = [label for ids in members for label in ids if label not in place]
    if unknown:
        raise WiseftError(
            f"the label set of pre-training has {len(place)} classes ({labels[0]}, ...), but no "
            f"{', '.join(unknown[:5])}; correct the map"
        )
    matched = [index for index, ids in enumerate(members) if ids]
    if not matched:
        raise WiseftError(
            "no class of the reference has a counterpart in the label set of pre-training "
            f"({', '.join(labels[:3])}, ...); give a map, or another model"
        )
    rows = [[place[label] for label in members[index]] for index in matched]
    taken = torch.stack([weight[of].float().mean(dim=0) for of in rows])
    offsets = torch.stack([bias[of].float().mean() for of in rows])
    head = taken.mean(dim=0).repeat(len(wanted), 1)
    offset = offsets.mean().repeat(len(wanted))
    where = torch.tensor(matched)
    head[where], offset[where] = taken, offsets
    never = sorted(set(range(len(wanted))) - set(matched))
    return Head(head, offset, {"counterparts": list(wanted)}, never)


def counterparts(
    manifest: Manifest, labels: Sequence[str], mapping: Path | None
) -> list[Counterpart]:
    """Return for each class of a dataset its counterpart in a label set.

    Args:
        manifest: of the dataset; its class ids are compared with the labels.
        labels: ids of the label set.
        mapping: a JSON object of class ids (or, of a dataset without them, class names) to an id of
            the label set, or to an object of several ids with their names, which are for the
            reader; classes that it leaves out have no counterpart. None: equal ids match.

    Raises:
        WiseftError: if the dataset has no ids and there is no map, or the map names other classes.
    """
    own = manifest.class_ids or manifest.class_names
    if mapping is None:
        if manifest.class_ids is None:
            raise WiseftError(
                f"dataset {manifest.dataset} has no class ids to find in the label set of "
                "pre-training; give a map of its class names to that set's ids with --label-map"
            )
        known = set(labels)
        return [name if name in known else None for name in own]
    given = read_json(mapping, "label map")
    if not isinstance(given, Mapping) or not all(
        isinstance(value, str | Mapping | None) for value in given.values()
    ):
        raise WiseftError(
            f"{mapping}: expected a JSON object of class names to ids of labels, or to objects of "
            "ids and names"
        )
    if unknown := sorted(given.keys() - set(own)):
        raise WiseftError(
            f"{mapping} maps {', '.join(unknown[:5])}, but the classes of {manifest.dataset} are "
            f"{', '.join(own[:5])}, ..."
        )
    found = [given.get(name) for name in own]
    return [list(ids) if isinstance(ids, Mapping) else ids for ids in found]
