"""What a training minimises: the loss of a batch, and penalties on the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from wiseft.base import plugins
from wiseft.models.classifier import ImageClassifier
from wiseft.study.config import FinetuneSettings
from wiseft.study.finetune.batch import LossFunction
from wiseft.study.finetune.lipsum import with_energy_gap
from wiseft.study.finetune.two_towers import TwoTowers
from wiseft.thetas.theta import Theta

IGNORED = -100
"""Label of samples whose class is never predicted, as cross_entropy has it by default."""


@dataclass(frozen=True)
class Objective:
    """The function that a training minimises.

    Attributes:
        loss: of a batch.
        penalty: returns what is added once an optimiser step; None if there is nothing.
        separable: whether the loss of a batch is the mean of the losses of its samples, which
            micro-batches and several processes need.
    """

    loss: LossFunction
    penalty: Callable[[], Tensor | None]
    separable: bool


def make_objective(settings: FinetuneSettings, model: nn.Module, start: Theta | None) -> Objective:
    """Return the objective of a training, whose loss is a file of `finetune.objectives`.

    Args:
        model: what is trained: an `ImageClassifier`, the head of one, or `TwoTowers` where the
            loss trains the text tower.
        start: theta_0; None where training starts from random weights.
    """
    penalties = Penalties(settings, model, tensors_of(model, start))
    loss = plugins.load(plugins.OBJECTIVES, settings.loss).make(settings, model, start)
    if settings.lipsum and start is not None:
        loss = with_energy_gap(loss, settings.lipsum, cast(ImageClassifier, model), start)
    return Objective(loss, penalties, settings.objective.separable)


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


class PredictedClasses:
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
        self._labels = torch.full((classes,), IGNORED)
        self._labels[self._columns] = torch.arange(len(self._columns))

    @classmethod
    def of(cls, model: nn.Module, start: Theta | None) -> PredictedClasses:
        """Return those of a classifier, or the head of one, that starts from a theta."""
        head = cast(nn.Linear, model if isinstance(model, nn.Linear) else model.head)
        return cls(start.header.never_predicted if start else (), head.out_features)

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
