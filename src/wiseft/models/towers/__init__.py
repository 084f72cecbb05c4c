"""Families of models behind one small interface: open_clip, ALIGN, timm.

A family turns the description of an architecture (the theta header's `architecture`, plain JSON)
into modules, and knows which of its tensors are the image tower's. Without the key `family` a
description is an open_clip model config.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from wiseft.errors import WiseftError
from wiseft.models.towers.base import IMAGE as IMAGE
from wiseft.models.towers.base import TEXT as TEXT
from wiseft.models.towers.base import ZeroShotModel as ZeroShotModel
from wiseft.models.towers.base import check_fit as check_fit
from wiseft.models.towers.base import explained
from wiseft.models.towers.base import floating as floating
from wiseft.models.towers.base import for_weights as for_weights
from wiseft.models.towers.base import prefixed as prefixed
from wiseft.models.towers.base import with_prefix as with_prefix

FAMILIES = ("open_clip", "align", "timm")


def family(architecture: Mapping[str, Any]) -> str:
    """Return the family of an architecture.

    Raises:
        WiseftError: if there is no such family.
    """
    name = str(architecture.get("family", "open_clip"))
    if name not in FAMILIES:
        raise WiseftError(
            f"the architecture is of the family {name}, but must be one of {', '.join(FAMILIES)}"
        )
    return name


def build(architecture: Mapping[str, Any], seed: int | None = None) -> ZeroShotModel:
    """Return a model in eval mode, with random weights drawn from `seed`.

    The global random state is left as it was.

    Raises:
        WiseftError: if the architecture cannot be built, or a library for it is missing.
    """
    model: ZeroShotModel = _module(architecture).build(architecture, seed)
    return model


def load(
    architecture: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    where: str,
    share: bool = False,
) -> ZeroShotModel:
    """Return a model in eval mode with these weights.

    Args:
        weights: floating tensors of the whole model, in its family's names.
        where: names the weights in messages.
        share: as `ZeroShotModel.load` takes it.

    Raises:
        WiseftError: if the architecture cannot be built or the weights are not exactly its own.
    """
    with for_weights(architecture, weights):
        model = build(architecture, seed=0)
    model.load(weights, where, share)
    return model


def build_image(architecture: Mapping[str, Any], seed: int | None = None) -> nn.Module:
    """Return an image tower alone, in train mode, with random weights drawn from `seed`.

    It maps normalised pixels (n, 3, S, S) to features (n, width), not L2-normalised.

    Raises:
        WiseftError: if the architecture cannot be built, or a library for it is missing.
    """
    image: nn.Module = _module(architecture).build_image(architecture, seed)
    return image


def embed_dim(architecture: Mapping[str, Any]) -> int:
    """Return the width of the features."""
    return int(architecture["embed_dim"])


def image_size(architecture: Mapping[str, Any]) -> int | None:
    """Return the edge in pixels of the images that the tower reads; None for any.

    Raises:
        WiseftError: if the architecture has no such edge.
    """
    with explained("the architecture has no image size", "compare it with one of its family"):
        size: int | None = _module(architecture).image_size(architecture)
    return size


def normalises(architecture: Mapping[str, Any]) -> bool:
    """Whether features are L2-normalised before the head."""
    return bool(architecture.get("normalise", True))


def image_tensors(
    architecture: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the image tower of whole weights by its names in a theta: `image.*`."""
    return dict(_module(architecture).image_tensors(architecture, weights))


def text_tensors(
    architecture: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the text tower, scale included, of whole weights by its names in a theta: `text.*`.

    Raises:
        WiseftError: if the family has none.
    """
    return dict(_with_text(architecture).text_tensors(weights))


def whole_tensors(
    architecture: Mapping[str, Any], theta: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the weights of a whole model, in its family's names, from a theta with `text.*`.

    Raises:
        WiseftError: if the family has no text tower.
    """
    return dict(_with_text(architecture).whole_tensors(theta))


def _with_text(architecture: Mapping[str, Any]) -> ModuleType:
    if family(architecture) == "timm":
        raise WiseftError(f"{architecture['model']} has no text tower")
    return _module(architecture)


def _module(architecture: Mapping[str, Any]) -> ModuleType:
    return of_family(family(architecture))


def of_family(name: str) -> ModuleType:
    """Return the module of a family, which is imported when it is used."""
    return import_module(f"wiseft.models.towers.{name}_models")
