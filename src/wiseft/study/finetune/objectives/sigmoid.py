"""A binary cross-entropy for every class."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from wiseft.study.config.training_parts import ObjectiveOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from wiseft.study.config import FinetuneSettings
    from wiseft.study.finetune.batches import Batch, LossFunction
    from wiseft.thetas.theta import Theta


class Options(ObjectiveOptions):
    """None."""

    refused: ClassVar = dict.fromkeys(
        ("label_smoothing", "distillation"), "but it is for loss: cross-entropy"
    )


def make(settings: FinetuneSettings, model: nn.Module, start: Theta | None) -> LossFunction:
    """Return the loss, which pushes every class away from a sample of one never predicted."""
    from wiseft.study.finetune.objective import PredictedClasses

    classes = PredictedClasses.of(model, start)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return sigmoid_loss(classes.logits(model(batch.inputs)), classes.labels(batch.labels))

    return loss


def sigmoid_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the binary cross-entropy of every class, summed over classes, mean over samples.

    Args:
        logits: (n, classes).
        labels: int64 (n,); a negative one is of no class.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    targets = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)
    each = binary_cross_entropy_with_logits(
        logits.float(), targets.to(torch.float32), reduction="none"
    )
    return each.sum(dim=1).mean()
