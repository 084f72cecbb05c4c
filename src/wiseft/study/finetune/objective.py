"""What a training minimises: the loss of a batch, penalties on the weights, and Lipsum's gap.

Lipsum-FT (Nam, Heo and Lee, ICLR 2024): random texts keep the connection of image and text. Section
5.1 of arXiv 2404.00860, as the authors' code computes it (cs-giung/lipsum-ft at 1331873,
scripts/Lipsum-FT.py): the energies of an image with random texts stay near those of theta_0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from wiseft.base import plugins
from wiseft.errors import WiseftError
from wiseft.models.classifier import ImageClassifier
from wiseft.models.towers import ZeroShotModel
from wiseft.study import OBJECTIVES
from wiseft.study.config import FinetuneSettings
from wiseft.study.config.training_parts import Lipsum
from wiseft.study.finetune.batches import Batch, LossFunction
from wiseft.study.finetune.trained_model import TwoTowers, follows_batches, zero_shot_model
from wiseft.thetas.theta import Theta

IGNORED = -100
"""Label of samples whose class is never predicted, as cross_entropy has it by default."""
FIRST, LAST = 49406, 49407
"""CLIP's tokens around a text of Lipsum; those below them are drawn."""


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

    def divisible(self, model: nn.Module, settings: FinetuneSettings) -> bool:
        """Whether the gradients of a batch are the sum of those of its parts."""
        return self.separable and not follows_batches(model, settings.batch_norm)


def make_objective(settings: FinetuneSettings, model: nn.Module, start: Theta | None) -> Objective:
    """Return the objective of a training, whose loss is a file of `finetune.objectives`.

    Args:
        model: what is trained: an `ImageClassifier`, the head of one, or `TwoTowers` where the
            loss trains the text tower.
        start: theta_0; None where training starts from random weights.
    """
    loss = plugins.load(OBJECTIVES, settings.loss).make(settings, model, start)
    if settings.lipsum and start is not None:
        loss = with_energy_gap(loss, settings.lipsum, cast(ImageClassifier, model), start)
    penalty = _penalty(settings, model, start)
    return Objective(loss, penalty, settings.objective.separable)


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


def _penalty(
    settings: FinetuneSettings, model: nn.Module, start: Theta | None
) -> Callable[[], Tensor | None]:
    """Return what computes the penalties: the L1 norm of the head's weight, and the squared
    distance of what is trained from theta_0.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    head = trained.get("weight" if isinstance(model, nn.Linear) else "head.weight")
    origin = tensors_of(model, start)
    pairs = [
        (parameter, origin[name].detach().to(parameter.device, parameter.dtype))
        for name, parameter in trained.items()
        if settings.l2_to_start
    ]

    def penalty() -> Tensor | None:
        terms = []
        if settings.l1 and head is not None:
            terms.append(settings.l1 * head.abs().sum())
        if settings.l2_to_start:
            distances = [(now - before).square().sum() for now, before in pairs]
            terms.append(settings.l2_to_start * torch.stack(distances).sum())
        return torch.stack(terms).sum() if terms else None

    return penalty


def with_energy_gap(
    loss: LossFunction, settings: Lipsum, classifier: ImageClassifier, start: Theta
) -> LossFunction:
    """Return a loss with the gap of energies added: coefficient times (1/2M) |v - v_0|^2.

    v are the M energies of an image, exp(logit_scale) times the cosine with each random text, and
    v_0 those of theta_0, both towers of which stay as they are. Mean over the images of a batch.

    Raises:
        WiseftError: if theta_0 has no text tower, or not CLIP's tokens, or the texts are too long.
    """
    zero_shot = zero_shot_model(start, "lipsum needs a text tower")
    zero_shot.to(classifier.head.weight.device).module.requires_grad_(False)
    framed = _framed(zero_shot, settings)
    scale = zero_shot.logit_scale.exp()

    def regularised(model: nn.Module, batch: Batch) -> Tensor:
        seen: list[Tensor] = []
        hook = classifier.head.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs))
        try:
            of_batch = loss(model, batch)
        finally:
            hook.remove()
        with torch.no_grad():
            before = normalize(zero_shot.image(classifier.pixels(batch.inputs)).float(), dim=-1)
            tokens = random_texts(framed, settings.length, batch.seed).to(before.device)
            texts = normalize(zero_shot.encode_text(tokens).float(), dim=-1)
        with torch.autocast(before.device.type, enabled=False):
            gap = scale * (seen[0].float() - before) @ texts.t()
        return of_batch + settings.coefficient * gap.square().mean() / 2

    return regularised


def random_texts(framed: Tensor, length: int, seed: int) -> Tensor:
    """Return random tokens between the first and the last one, int64 of the shape of `framed`."""
    drawn = torch.Generator().manual_seed(seed)
    tokens = framed.clone()
    tokens[:, 1 : 1 + length] = torch.randint(FIRST, (len(framed), length), generator=drawn)
    return tokens


def _framed(model: ZeroShotModel, settings: Lipsum) -> Tensor:
    """Return the texts without what is drawn, int64 (texts, tokens)."""
    empty, length = model.tokenize([""]), settings.length
    if empty[0, :2].tolist() != [FIRST, LAST]:
        raise WiseftError("lipsum draws tokens of CLIP, but the text tower has other ones")
    if length + 2 > empty.shape[1]:
        raise WiseftError(
            f"lipsum.length is {length}, but the text tower reads {empty.shape[1]} tokens, two of "
            f"which are the first and the last; at most {empty.shape[1] - 2}"
        )
    framed = empty.repeat(settings.texts, 1)
    framed[:, 1 : 1 + length], framed[:, 1 + length] = 0, LAST
    lengths = model.lengths(framed)
    return framed if lengths is None else framed[:, : int(lengths.max())]
