"""The cross-entropy, with label smoothing and distillation from the zero-shot model."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from wiseft.study.config.training_parts import ObjectiveOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from wiseft.study.config import FinetuneSettings
    from wiseft.study.finetune.batches import Batch, LossFunction
    from wiseft.thetas.theta import Theta


class Options(ObjectiveOptions):
    """None: `label_smoothing` and `distillation` are keys of all settings."""


def make(settings: FinetuneSettings, model: nn.Module, start: Theta | None) -> LossFunction:
    """Return the loss. A sample of a class that is never predicted counts as zero."""
    import torch
    from torch.nn.functional import cross_entropy

    from wiseft.study.finetune.objective import IGNORED, PredictedClasses, tensors_of

    classes = PredictedClasses.of(model, start)
    smoothing, share, teacher = settings.label_smoothing, settings.distillation, None
    if share and start is not None:
        # Whatever the input is, the teacher sees what the trained model sees, augmented or not.
        teacher = copy.deepcopy(model)
        teacher.load_state_dict(tensors_of(model, start), strict=False)
        teacher.eval().requires_grad_(False)

    def of_labels(logits: Tensor, labels: Tensor) -> Tensor:
        if classes.all:
            return cross_entropy(logits, labels, label_smoothing=smoothing)
        total = cross_entropy(
            logits, labels, label_smoothing=smoothing, ignore_index=IGNORED, reduction="sum"
        )
        return total / len(labels)

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        logits = classes.logits(model(batch.inputs))
        of_batch = of_labels(logits, classes.labels(batch.labels))
        if teacher is None:
            return of_batch
        with torch.no_grad():
            outputs = classes.logits(teacher(batch.inputs)).float().softmax(dim=-1)
        return (1 - share) * of_batch + share * cross_entropy(logits.float(), outputs)

    return loss
