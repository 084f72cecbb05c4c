"""Label spaces: from the logits of a head to logits over the classes that a view is about.

A head predicts the classes of its reference. A dataset of the same classes is seen as it is. A
dataset with a label map to that reference is seen through the map: the logit of a class is the
largest of those of its members, and a class without members is never predicted (paper, section
3). Classes are known by their places, never by name: two of ImageNet's share a name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wiseft.base.io import sha256_json
from wiseft.base.metrics import OUTSIDE
from wiseft.base.typed import LIMIT_SUFFIX_PATTERN
from wiseft.errors import WiseftError
from wiseft.images.store import Manifest


@dataclass(frozen=True)
class Head:
    """What a head predicts.

    Attributes:
        class_names: display names in the order of its logits.
        reference: the dataset whose classes these are.
    """

    class_names: list[str]
    reference: str


class Projection:
    """Logits of a head -> logits of classes that are each made up of some of the head's.

    Args:
        members: for each class its places among the head's classes, maybe none.
        n_head: classes of the head.
        where: names the map in messages.

    Raises:
        WiseftError: if a place is out of range or repeats in a class, or no class has a member.
    """

    def __init__(self, members: Sequence[Sequence[int]], n_head: int, where: str):
        for index, places in enumerate(members):
            wrong = [place for place in places if not 0 <= place < n_head]
            if wrong or len(set(places)) != len(places):
                raise WiseftError(
                    f"{where}: class {index} has the members {', '.join(map(str, places))}, but "
                    f"they must be distinct and lie in 0..{n_head - 1}, the classes of the head; "
                    "prepare the dataset again"
                )
        flat = [place for places in members for place in places]
        if not flat:
            raise WiseftError(f"{where}: no class has a member; prepare the dataset again")
        self._members = members
        self._n_head = n_head
        self._where = where
        self._flat = torch.tensor(flat, dtype=torch.int64)
        sizes = torch.tensor([len(places) for places in members])
        self._class = torch.repeat_interleave(torch.arange(len(members)), sizes)

    @property
    def sha256(self) -> str:
        """Hash of the members."""
        return sha256_json([list(places) for places in self._members])

    def __call__(self, logits: Tensor) -> Tensor:
        """Return logits (n, classes) of logits (n, head's classes), on their device.

        A class without members gets minus infinity.
        """
        device = logits.device
        if self._flat.device != device:
            self._flat, self._class = self._flat.to(device), self._class.to(device)
        # With classes in rows, every step of the reduction is over contiguous memory.
        chosen = logits.t().index_select(0, self._flat)
        by_class = logits.new_full((len(self._members), len(logits)), -torch.inf)
        return by_class.scatter_reduce(
            0, self._class[:, None].expand_as(chosen), chosen, "amax"
        ).t()

    def map_labels(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the class that each of the head's classes belongs to, `OUTSIDE` for none.

        Raises:
            WiseftError: if one of them belongs to two classes.
        """
        owner = np.full(self._n_head, OUTSIDE, dtype=np.int64)
        for index, places in enumerate(self._members):
            for place in places:
                if owner[place] != OUTSIDE:
                    raise WiseftError(
                        f"{self._where}: the head's class {place} belongs to the classes "
                        f"{owner[place]} and {index}, so that its samples have no one label; "
                        "take the `like` view out"
                    )
                owner[place] = index
        return owner[labels]


def own_projection(manifest: Manifest, head: Head) -> Projection | None:
    """Return how a head's logits become those of a dataset's classes; None where they are.

    Raises:
        WiseftError: if the head's classes are neither the dataset's nor its map's reference's.
    """
    if manifest.class_names == head.class_names:
        return None
    theirs = f"dataset {manifest.dataset} has {_classes(manifest.class_names)}"
    ours = f"the head predicts {_classes(head.class_names)} of {head.reference}"
    if manifest.label_map is None:
        raise WiseftError(
            f"{theirs}, but {ours}; they must be the same in the same order, or the dataset's "
            "entry must have a `label_map` to the head's reference"
        )
    if not _is_reference(manifest.label_map.reference, head):
        raise WiseftError(
            f"{theirs} and a label map to {manifest.label_map.reference}, but {ours}; evaluate a "
            f"head of {manifest.label_map.reference} or of the dataset's own classes"
        )
    return Projection(manifest.members, len(head.class_names), _map_of(manifest))


def like_projection(
    view: str, like: str, manifest: Manifest, likes: Mapping[str, Manifest], head: Head
) -> Projection:
    """Return how a head's logits become those of the classes of the dataset `like`.

    Args:
        view: name of the view, for messages.
        manifest: the dataset that is seen; its classes must be the head's.
        likes: the datasets that a view may be like, by name.

    Raises:
        WiseftError: if `like` is unknown or has no map to the head's reference, or if the
            dataset's classes are not the head's.
    """
    seen = f"view {view} of {manifest.dataset} is like {like}"
    if like not in likes:
        raise WiseftError(
            f"{seen}, but the datasets that a view may be like are "
            f"{', '.join(likes) or 'none'}; give its manifest with --like"
        )
    if manifest.class_names != head.class_names:
        raise WiseftError(
            f"{seen}, but {manifest.dataset} has {_classes(manifest.class_names)} and the head "
            f"predicts {_classes(head.class_names)} of {head.reference}; only a dataset of the "
            "head's classes can be seen through another's label map"
        )
    mapping = likes[like].label_map
    if mapping is None or not _is_reference(mapping.reference, head):
        raise WiseftError(
            f"{seen}, whose label map is to {mapping.reference if mapping else 'nothing'}, but the "
            f"head is of {head.reference}; it must be to that"
        )
    return Projection(mapping.members, len(head.class_names), _map_of(likes[like]))


def _is_reference(name: str, head: Head) -> bool:
    """Whether a head is of this dataset; a preview has the classes of the whole."""
    bare = [re.sub(LIMIT_SUFFIX_PATTERN, "", each) for each in (name, head.reference)]
    return bare[0] == bare[1]


def _map_of(manifest: Manifest) -> str:
    return f"label map of {manifest.dataset} ({manifest.path})"


def _classes(names: list[str]) -> str:
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return f"{len(names)} classes ({shown})"
