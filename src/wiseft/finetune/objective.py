"""What a training minimises: the loss of a batch, and penalties on the weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from wiseft.config import FinetuneSettings
from wiseft.finetune.batch import Batch
from wiseft.finetune.contrastive import ContrastiveLoss, TwoTowers
from wiseft.theta import Theta

_IGNORED = -100
"""Label of samples whose class is never predicted, as cross_entropy has it by default."""


class Objective(Protocol):
    """The function that a training minimises.

    Attributes:
        separable: whether the loss of a batch is the mean of the losses of its samples, which
            micro-batches and several processes need.
    """

    separable: bool

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean loss of a batch; `model` is what is trained, maybe wrapped."""
        ...

    def penalty(self) -> Tensor | None:
        """Return what is added once an optimiser step; None if there is nothing."""
        ...


def make_objective(settings: FinetuneSettings, model: nn.Module, start: Theta | None) -> Objective:
    """Return the objective of a training.

    Args:
        model: what is trained: an `ImageClassifier`, the head of one, or, with
            `loss: contrastive`, the `TwoTowers` of `wiseft.finetune.contrastive`.
        start: theta_0; None where training starts from random weights.
    """
    tensors = tensors_of(model, start)
    penalties = Penalties(settings, model, tensors)
    if isinstance(model, TwoTowers):
        return ContrastiveLoss(model, penalties)
    teacher = None
    if settings.distillation and start is not None:
        # Whatever the input is, the teacher sees what the trained model sees, augmented or not.
        teacher = copy.deepcopy(model)
        teacher.load_state_dict(tensors, strict=False)
        teacher.eval().requires_grad_(False)
    never = start.header.never_predicted if start else ()
    head = cast(nn.Linear, model if isinstance(model, nn.Linear) else model.head)
    return LabelLoss(settings, penalties, teacher, Kept(never, head.out_features))


def tensors_of(model: nn.Module, theta: Theta | None) -> dict[str, Tensor]:
    """Return the tensors of a theta by the names that a model has for them.

    A head by itself names its tensors without `head.`, two towers have their family's names, and a
    classifier has those of the theta.
    """
    if isinstance(model, TwoTowers):
        return model.own_names(theta.tensors) if theta else {}
    prefix = "head." if isinstance(model, nn.Linear) else ""
    tensors = theta.tensors if theta else {}
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


class Kept:
    """The classes that can be predicted; the others take no part in a loss.

    Args:
        never_predicted: indices of classes without a row in the head (paper, the JFT model).
        classes: number of all classes.
    """

    def __init__(self, never_predicted: Sequence[int], classes: int):
        self.all = not never_predicted
        wanted = torch.ones(classes, dtype=torch.bool)
        wanted[list(never_predicted)] = False
        self._columns = wanted.nonzero().flatten()
        self._labels = torch.full((classes,), _IGNORED)
        self._labels[self._columns] = torch.arange(len(self._columns))

    def logits(self, logits: Tensor) -> Tensor:
        """Return the columns of classes that can be predicted."""
        return logits if self.all else logits.index_select(1, self._columns.to(logits.device))

    def labels(self, labels: Tensor) -> Tensor:
        """Return labels among these columns; those of other classes are `-100`."""
        return labels if self.all else self._labels.to(labels.device)[labels]


class Penalties:
    """L1 norm of the head's weight, and squared distance of what is trained from theta_0.

    Args:
        model: what is trained.
        start: the tensors of theta_0 by the names of the model.
    """

    def __init__(self, settings: FinetuneSettings, model: nn.Module, start: Mapping[str, Tensor]):
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._l1, self._l2 = settings.l1, settings.l2_to_start
        self._head = trained.get("weight" if isinstance(model, nn.Linear) else "head.weight")
        self._pairs = [
            (parameter, start[name].detach().to(parameter.device, parameter.dtype))
            for name, parameter in trained.items()
            if self._l2
        ]

    def __call__(self) -> Tensor | None:
        """Return the sum of the penalties; None if there is none."""
        terms = []
        if self._l1 and self._head is not None:
            terms.append(self._l1 * self._head.abs().sum())
        if self._l2:
            distances = [(now - before).square().sum() for now, before in self._pairs]
            terms.append(self._l2 * torch.stack(distances).sum())
        return torch.stack(terms).sum() if terms else None


class LabelLoss:
    """A loss on labels: cross-entropy or sigmoid, with distillation from the zero-shot model."""

    separable = True

    def __init__(
        self,
        settings: FinetuneSettings,
        penalties: Penalties,
        teacher: nn.Module | None,
        kept: Kept,
    ):
        self._settings = settings
        self._teacher = teacher
        self._kept = kept
        self.penalty = penalties

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean loss over the batch.

        A sample of a class that is never predicted counts as zero in a cross-entropy; the sigmoid
        loss pushes every class away from it.
        """
        logits = self._kept.logits(model(batch.inputs))
        labels = self._kept.labels(batch.labels)
        if self._settings.loss == "sigmoid":
            return sigmoid_loss(logits, labels)
        loss = self._cross_entropy(logits, labels)
        if self._teacher is None:
            return loss
        with torch.no_grad():
            outputs = self._kept.logits(self._teacher(batch.inputs)).float().softmax(dim=-1)
        distilled = functional.cross_entropy(logits.float(), outputs)
        return (1 - self._settings.distillation) * loss + self._settings.distillation * distilled

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        smoothing = self._settings.label_smoothing
        if self._kept.all:
            return functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        total = functional.cross_entropy(
            logits, labels, label_smoothing=smoothing, ignore_index=_IGNORED, reduction="sum"
        )
        return total / len(labels)


def sigmoid_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the binary cross-entropy of every class, summed over classes, mean over samples.

    Args:
        logits: (n, classes).
        labels: int64 (n,); a negative one is of no class.
    """
    targets = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)
    each = functional.binary_cross_entropy_with_logits(
        logits.float(), targets.to(torch.float32), reduction="none"
    )
    return each.sum(dim=1).mean()
