"""Models of an architecture without bytes, to count what they would take of memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from wiseft.models import towers

_CLASSES = 1000
"""Of the head."""


class _Built(nn.Module):
    """A model on uint8 images, as `wiseft.models.classifier` and contrastive training have them."""

    def __init__(self, model: towers.ZeroShotModel | nn.Module, head: nn.Linear):
        super().__init__()
        self.head = head
        self._text: Callable[[Tensor], Tensor] | None = None
        if isinstance(model, towers.ZeroShotModel):
            self.module, self._text = model.module, model.encode_text
            self._image: Callable[[Tensor], Tensor] = model.image
        else:
            # Not the module: under two names, `functional_call` would not put back its tensors.
            self.module, self._image = model, model.__call__

    def forward(self, images: Tensor, *tokens: Tensor) -> tuple[Tensor, ...]:
        """Map uint8 (n, 3, S, S) to logits (n, classes), or, with int64 (n, tokens) beside it, to
        features of both, (n, width).
        """
        features = functional.normalize(self._image(_pixels(images)), dim=-1)
        if self._text is None:
            return (self.head(features),)
        return features, *(functional.normalize(self._text(each), dim=-1) for each in tokens)


def _pixels(images: Tensor) -> Tensor:
    scaled = (images.to(torch.float32) / 255.0 - 0.5) / 0.5
    return scaled.contiguous(memory_format=torch.channels_last)


def built(architecture: Mapping[str, Any], tokens: int = 0) -> nn.Module:
    """Return a model of an architecture for `wiseft.models.towers.memory.footprint` to count.

    Args:
        tokens: of a prompt beside every image, where both towers are counted; 0: the image tower.

    Raises:
        WiseftError: if the architecture can't be built.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    # Without bytes: timm's models read numbers that fake tensors have not, so they are meta; those
    # of transformers move meta ones, which can't be. open_clip moves a whole model of any kind.
    align = towers.family(architecture) == "align"
    without_bytes = FakeTensorMode(allow_non_fake_inputs=True) if align else torch.device("meta")
    with without_bytes if align or not tokens else contextlib.nullcontext():
        model = (towers.build if tokens else towers.build_image)(architecture)
        return _Built(model, nn.Linear(towers.embed_dim(architecture), _CLASSES))
