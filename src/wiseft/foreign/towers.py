"""Image towers and heads in the tensors of a checkpoint."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wiseft.errors import WiseftError
from wiseft.foreign import huggingface
from wiseft.foreign.formats import Checkpoint
from wiseft.models import towers

_HEADS = re.compile(r"(?:^|\.)(?:classification_head|classifier|head|fc|linear)\.weight$")


@dataclass(frozen=True)
class FoundTower:
    """A checkpoint in which the image tower was found.

    Attributes:
        path: of the file or folder.
        image: its tensors, by their names without `image.`.
        prefix: what is before these names in the checkpoint.
        rest: all other floating tensors of the checkpoint, by its names.
    """

    path: Path
    image: dict[str, Tensor]
    prefix: str
    rest: dict[str, Tensor]


def find_image_tower(
    checkpoint: Checkpoint, architecture: Mapping[str, Any], expected: Mapping[str, Tensor]
) -> FoundTower:
    """Find the tensors that are expected of an image tower in a checkpoint, in fp32.

    It is behind the prefix that most of its tensors' names have. Programs call it `visual.`,
    `model.visual.`, `image_encoder.model.visual.`, `image.` or nothing. A CLIPModel of
    transformers is brought under open_clip's names.

    Raises:
        WiseftError: listing the tensors that are missing, unexpected and of another shape.
    """
    tensors, file = checkpoint.tensors, checkpoint.path
    if towers.family(architecture) == "open_clip" and huggingface.is_clip(tensors):
        tensors = huggingface.to_open_clip(tensors)
    tensors = {key: value.float() for key, value in towers.floating(tensors).items()}
    counts = Counter(
        key.removesuffix(name)
        for name in expected
        for key in tensors
        if key == name or key.endswith("." + name)
    )
    best = max(counts, key=lambda prefix: (counts[prefix], -len(prefix)), default="")
    behind = towers.prefixed(tensors, best)
    image = {key: value for key, value in behind.items() if key in expected}
    # Without a prefix everything else in the file would count as unexpected.
    unexpected = {k: v for k, v in behind.items() if best and k not in expected}
    towers.check_fit(expected, image | unexpected, f"{file} (image tower, names behind '{best}')")
    own = {best + key for key in image}
    rest = {key: value for key, value in tensors.items() if key not in own}
    return FoundTower(file, image, best, rest)


def head_in(
    tensors: Mapping[str, Tensor], shape: tuple[int, int], where: str
) -> tuple[Tensor, Tensor] | None:
    """Return weight and bias of the one head, fp32; None if there is none. As `head_name`."""
    key = head_name(tensors, shape, where)
    if key is None:
        return None
    bias = tensors.get(key.removesuffix("weight") + "bias", torch.zeros(shape[0]))
    return tensors[key].float(), bias.float()


def heads_in(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the matrices that are named as the weight of a head is."""
    return {k: v for k, v in tensors.items() if v.ndim == 2 and (_HEADS.search(k) or k == "weight")}


def head_name(tensors: Mapping[str, Tensor], shape: tuple[int, int], where: str) -> str | None:
    """Return the name of the one head's weight; None if there is no head.

    Args:
        shape: of the weight, (classes, width).
        where: names the tensors in messages.

    Raises:
        WiseftError: if there are several of that shape, or none of it but others.
    """
    named = heads_in(tensors)
    fitting = [key for key, value in named.items() if tuple(value.shape) == shape]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise WiseftError(f"{where} has several heads: {', '.join(fitting)}; give one with --head")
    if named:
        shapes = ", ".join(f"{key} {tuple(value.shape)}" for key, value in named.items())
        raise WiseftError(
            f"{where} has the head {shapes}, but {shape[0]} classes and a width of {shape[1]} are "
            "expected; theta_0 and the checkpoint must be of the same classes"
        )
    return None
