"""CLIP's symmetric loss on images and a random prompt of the class of each (Goyal et al. 2023).

Both towers are trained, as in pre-training; the paper fine-tunes BASIC so. As there, another image
of the same class counts as a wrong answer like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from wiseft.study.config.training_parts import ObjectiveOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from wiseft.study.config import FinetuneSettings
    from wiseft.study.finetune.batches import Batch, LossFunction
    from wiseft.study.finetune.trained_model import TwoTowers
    from wiseft.thetas.theta import Theta


class Options(ObjectiveOptions):
    """None."""

    separable = False
    trains_text = True
    refused: ClassVar = {
        **dict.fromkeys(("label_smoothing", "distillation"), "but it is for loss: cross-entropy"),
        **dict.fromkeys(
            ("trainable", "l1", "head_init", "linear_probe"),
            "whose head follows from the text tower",
        ),
    }


def make(settings: FinetuneSettings, model: nn.Module, start: Theta | None) -> LossFunction:
    """Return the mean over a batch of the loss from image to prompt and back."""
    import torch

    towers = cast("TwoTowers", model)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        tokens = towers.draw_prompts(batch.labels).to(batch.labels.device)
        image, text, scale = model(batch.inputs, tokens)
        with torch.autocast(image.device.type, enabled=False):
            return clip_loss(image.float(), text.float(), scale.float())

    return loss


def clip_loss(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """Return CLIP's symmetric cross-entropy over the pairs of a batch.

    Args:
        image: L2-normalised features (n, width).
        text: likewise, of the prompt that belongs to each image.
        scale: what cosines are multiplied by, a scalar.
    """
    import torch
    from torch.nn.functional import cross_entropy

    logits = scale * image @ text.t()
    pairs = torch.arange(len(logits), device=logits.device)
    return (cross_entropy(logits, pairs) + cross_entropy(logits.t(), pairs)) / 2
