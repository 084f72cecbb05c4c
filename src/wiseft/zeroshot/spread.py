"""A head on a dataset's own class names, spread over the classes of its label map's reference.

Such a head can be interpolated with one of the reference, and evaluated through the label map like
one (paper, section 3: zero-shot heads of ImageNet-Vid-Robust and YTBB-Robust).
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from wiseft.base.typed import LIMIT_SUFFIX_PATTERN
from wiseft.errors import WiseftError
from wiseft.images.store import Manifest


def check_spread(dataset: Manifest, reference: Manifest) -> None:
    """Check that a head of a dataset can be spread over the classes of a reference.

    Raises:
        WiseftError: if the dataset has no label map to that reference, or a class of the
            reference is out of range or belongs to two classes.
    """
    mapping = dataset.label_map
    if mapping is None or _bare(mapping.reference) != _bare(reference.dataset):
        raise WiseftError(
            f"the classes of {dataset.dataset} cannot be carried over to those of "
            f"{reference.dataset}: its label map is to "
            f"{mapping.reference if mapping else 'nothing'}; give the manifest of that dataset"
        )
    places = [place for members in dataset.members for place in members]
    n = len(reference.class_names)
    wrong = [place for place in places if not 0 <= place < n or places.count(place) > 1]
    if wrong:
        raise WiseftError(
            f"the label map of {dataset.dataset} ({dataset.path}) names class {wrong[0]} of "
            f"{reference.dataset}, but each of 0..{n - 1} may be named once only; prepare "
            f"{dataset.dataset} again"
        )


def spread_head(weight: Tensor, dataset: Manifest, reference: Manifest) -> Tensor:
    """Return a head over the reference's classes, (its classes, width), of one over the dataset's.

    The row of each class is that of the class that it is a member of. Through the label map, the
    largest logit of a class's members is then the logit that the class had; the rows of all other
    classes are zero, and the map never reads them.

    Args:
        dataset: one that `check_spread` accepts.
        weight: (classes of the dataset, width).
    """
    spread = torch.zeros(len(reference.class_names), weight.shape[1], dtype=weight.dtype)
    for row, members in zip(weight, dataset.members, strict=True):
        spread[members] = row
    return spread


def renamed(reference: Manifest, dataset: Manifest) -> list[list[str]]:
    """Return the prompt names of a reference's classes, with a dataset's for those it is made of.

    The names of a class of the dataset stand for each of its members (paper, D.4: ObjectNet's own
    names); the other classes of the reference keep theirs.

    Raises:
        WiseftError: as `check_spread`.
    """
    check_spread(dataset, reference)
    assert dataset.label_map is not None
    names = list(reference.prompt_names)
    for own, members in zip(dataset.prompt_names, dataset.label_map.members, strict=True):
        for place in members:
            names[place] = own
    return names


def _bare(name: str) -> str:
    """Return a dataset's name without what marks a preview, whose classes are the whole's."""
    return re.sub(LIMIT_SUFFIX_PATTERN, "", name)
