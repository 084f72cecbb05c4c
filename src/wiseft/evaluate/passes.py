"""The forward passes of a sweep: from chunks of pixels to logits for every alpha."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from wiseft.combine.ensembles import random_ensemble, softmax_ensemble
from wiseft.combine.interpolator import Interpolator
from wiseft.combine.linear_combination import combine_logits, ends
from wiseft.errors import WiseftError
from wiseft.models.batch_size import BatchSize
from wiseft.models.classifier import (
    ImageClassifier,
    build_classifier,
    compilation_failed,
    compile_tower,
    mask_logits,
)
from wiseft.models.precision import Arithmetic
from wiseft.thetas.preprocessing import Transform
from wiseft.thetas.theta import Theta, check_compatible, share_image_tower
from wiseft.zeroshot.text_head import has_text

WEIGHT, OUTPUT, SOFTMAX, RANDOM = "weight", "output", "softmax", "random"
COMBINATIONS = (WEIGHT, OUTPUT, SOFTMAX, RANDOM)
"""How two classifiers are combined: their weights, their logits, their probabilities, or one of
them drawn for each sample (paper section 5.2, Figure 13)."""

STANDARD = (WEIGHT, OUTPUT)
FIRST, LAST = "0.000", "1.000"

Pixels = tuple[Tensor, ...]
"""A batch as models take it, normalised: once, or once for each of two that take it otherwise."""
Batches = Sequence[Pixels]
Logits = Iterator[tuple[str, str, Tensor]]
"""Combination, alpha and the logits (samples of all batches, classes)."""


@dataclass
class Inference:
    """How forward passes are made; it is shared by the classifiers of a sweep.

    Attributes:
        device: where they are made.
        arithmetic: of the image towers; features, heads and logits are fp32.
        batch_size: images of a pass.
        compile: whether image towers are compiled.
    """

    device: torch.device
    arithmetic: Arithmetic
    batch_size: BatchSize
    compile: bool = False


class Sweep(Protocol):
    """A classifier, or two and everything in between, as a function of alpha.

    Attributes:
        inference: how its passes are made.
        combinations: those that are yielded.
        never_predicted: classes whose logit may be minus infinity.
        transforms: those after which `pixels` takes a batch.
    """

    inference: Inference
    combinations: tuple[str, ...]
    never_predicted: Sequence[int]
    transforms: tuple[Transform, ...]

    def images_that_fit(self) -> int | None:
        """Return the images of the largest pass that fits the device; None: it is not known."""

    def pixels(self, images: Sequence[Tensor]) -> Pixels:
        """Bring a batch of images to the device and normalise it.

        Args:
            images: the batch as uint8 (n, 3, S, S), once for each of `transforms`.
        """

    def logits(self, batches: Batches, alphas: list[str], numbers: Tensor | None = None) -> Logits:
        """Yield combination, alpha and the logits (samples of all batches, classes).

        Args:
            numbers: fp64 (samples of all batches,), for `random`.
        """


def make_sweep(
    theta_0: Theta | None,
    theta_1: Theta,
    inference: Inference,
    combinations: Sequence[str] = STANDARD,
) -> Sweep:
    """Choose the cheapest exact way to cover the grid between two thetas.

    Args:
        combinations: those that are wanted. Without `weight`, the thetas may be of different
            architectures and preprocessing.

    Raises:
        WiseftError: if a combination is unknown, the thetas are of different classes or, where
            weights are combined, of different architectures or preprocessing.
    """
    unknown = [name for name in combinations if name not in COMBINATIONS]
    if unknown or not combinations:
        raise WiseftError(
            f"combination {unknown[0] if unknown else 'none'} is not one of "
            f"{', '.join(COMBINATIONS)}; give some of these"
        )
    if theta_0 is None:
        return SingleSweep(theta_1, inference)
    try:
        check_compatible(theta_0, theta_1)
    except WiseftError:
        if WEIGHT in combinations:
            raise
        return EnsembleSweep(theta_0, theta_1, inference, combinations)
    # With a text tower a head follows from its weights and is not linear in alpha.
    linear = share_image_tower(theta_0.tensors, theta_1.tensors) and not has_text(theta_1.tensors)
    return (HeadSweep if linear else WeightSweep)(theta_0, theta_1, inference, combinations)


class _Resident:
    """One model on the device."""

    copies = 1
    """Of the weights, that are on the device."""

    def __init__(self, theta: Theta, inference: Inference):
        device = inference.device
        self.model: ImageClassifier = build_classifier(theta.header, theta.tensors).to(device)
        self.inference = inference
        if inference.compile:
            compile_tower(self.model)
        self.never_predicted: Sequence[int] = self.model.never_predicted
        self.transforms: tuple[Transform, ...] = (theta.header.transform,)

    def pixels(self, images: Sequence[Tensor]) -> Pixels:
        (batch,) = images
        return (self.model.pixels(batch.to(self.inference.device)),)

    def images_that_fit(self) -> int | None:
        from wiseft.models.towers.memory import images_that_fit  # takes a second to import

        size, name = self.transforms[0].size, self.inference.arithmetic.name
        kept = {"training": False, "copies": self.copies}
        return images_that_fit(self.model, size, name, self.inference.device, **kept)

    def features(self, pixels: Tensor) -> Tensor:
        """Return fp32 features, computed on as many images at once as there is memory for."""
        try:
            return torch.cat(self.inference.batch_size.each(self._encode, pixels))
        except RuntimeError as error:
            if why := compilation_failed(error):
                raise WiseftError(
                    f"the image tower cannot be compiled ({why}); leave out --compile, or switch "
                    "evaluation.how.compile off"
                ) from error
            raise

    def _encode(self, pixels: Tensor) -> Tensor:
        with self.inference.arithmetic.autocast():
            features = self.model.image(pixels)
        if self.inference.arithmetic.name == "fp16" and not bool(features.isfinite().all()):
            raise WiseftError(
                "precision is fp16, whose numbers end at 65,504, and these weights make larger "
                "ones; evaluate in bf16 or fp32"
            )
        return self.model.scaled(features.float())

    def run(self, batches: Iterable[Pixels]) -> Tensor:
        """Return logits before those of classes that are never predicted are masked."""
        return torch.cat([self.model.head(self.features(pixels)) for (pixels,) in batches])

    def mask(self, logits: Tensor) -> Tensor:
        return mask_logits(logits, self.never_predicted)


class SingleSweep(_Resident):
    """One classifier without another end: a baseline, or a file that was interpolated before."""

    combinations: tuple[str, ...] = (WEIGHT,)

    def logits(self, batches: Batches, alphas: list[str], numbers: Tensor | None = None) -> Logits:
        """Yield the classifier's logits as alpha 1.000, which is the only one that it has."""
        yield WEIGHT, LAST, self.mask(self.run(batches))


class _TwoEnds(_Resident):
    """Combines the logits of two classifiers, which are in hand anyway."""

    available: tuple[str, ...]

    def __init__(
        self, theta_0: Theta, theta_1: Theta, inference: Inference, combinations: Sequence[str]
    ):
        super().__init__(theta_1, inference)
        self.combinations = tuple(name for name in self.available if name in combinations)
        if not self.combinations:
            raise WiseftError(
                f"combinations are {', '.join(combinations)}, but of these two thetas, which "
                f"share their image tower, there are only {', '.join(self.available)}: output "
                "space is weight space there"
            )


class WeightSweep(_TwoEnds):
    """Interpolates all weights: one forward pass for each alpha.

    The other combinations mix what the two ends give, so they come out of the same pass.
    """

    available = COMBINATIONS
    copies = 3

    def __init__(
        self, theta_0: Theta, theta_1: Theta, inference: Inference, combinations: Sequence[str]
    ):
        super().__init__(theta_0, theta_1, inference, combinations)
        self._interpolator = Interpolator(
            self.model, theta_0.tensors, theta_1.tensors, theta_1.header
        )

    def logits(self, batches: Batches, alphas: list[str], numbers: Tensor | None = None) -> Logits:
        """Yield logits of every combination; the ends are run even if not asked for."""
        end_logits = [self.at(FIRST, batches), self.at(LAST, batches)]
        masked = self.mask(end_logits[0]), self.mask(end_logits[1])
        for alpha in alphas:
            if OUTPUT in self.combinations:
                yield OUTPUT, alpha, self.mask(combine_logits(end_logits, ends(alpha)))
            yield from _of_masked(masked, alpha, self.combinations, numbers)
            if WEIGHT in self.combinations:
                # At the ends all combinations are the same classifier.
                known = {FIRST: masked[0], LAST: masked[1]}.get(alpha)
                yield WEIGHT, alpha, self.mask(self.at(alpha, batches)) if known is None else known

    def at(self, alpha: str, batches: Iterable[Pixels]) -> Tensor:
        """Return logits at an alpha, as `run` does."""
        self._interpolator.set(alpha)
        return self.run(batches)


class HeadSweep(_TwoEnds):
    """Interpolates a linear classifier over a shared image tower: one feature pass for all alphas.

    Logits are linear in alpha, so weight space and output space are one and the same here and
    only `weight` is reported.
    """

    available = (WEIGHT, SOFTMAX, RANDOM)

    def __init__(
        self, theta_0: Theta, theta_1: Theta, inference: Inference, combinations: Sequence[str]
    ):
        super().__init__(theta_0, theta_1, inference, combinations)
        self._heads = [
            tuple(theta.tensors[f"head.{name}"].to(inference.device) for name in ("weight", "bias"))
            for theta in (theta_0, theta_1)
        ]

    def logits(self, batches: Batches, alphas: list[str], numbers: Tensor | None = None) -> Logits:
        """Yield logits interpolated between the two heads; at the ends they are the heads' own."""
        features = [self.features(pixels) for (pixels,) in batches]
        end_logits = [
            torch.cat([functional.linear(batch, weight, bias) for batch in features])
            for weight, bias in self._heads
        ]
        masked = self.mask(end_logits[0]), self.mask(end_logits[1])
        for alpha in alphas:
            yield from _of_masked(masked, alpha, self.combinations, numbers)
            if WEIGHT in self.combinations:
                yield WEIGHT, alpha, self.mask(combine_logits(end_logits, ends(alpha)))


class EnsembleSweep:
    """Ensembles of two classifiers of any architectures over the same classes (paper Table 13).

    Each of them runs once, on images at its own size.
    """

    available = (OUTPUT, SOFTMAX, RANDOM)

    def __init__(
        self, theta_0: Theta, theta_1: Theta, inference: Inference, combinations: Sequence[str]
    ):
        names = theta_0.header.class_names, theta_1.header.class_names
        if names[0] != names[1]:
            raise WiseftError(
                f"the two thetas differ in class_names: {names[0]} and {names[1]}; build both "
                "heads for the same reference"
            )
        self.combinations = tuple(name for name in self.available if name in combinations)
        self.inference = inference
        self._sides = [_Resident(theta, inference) for theta in (theta_0, theta_1)]
        never = [side.never_predicted for side in self._sides]
        self.never_predicted: Sequence[int] = sorted(set().union(*never))
        self.transforms = tuple(dict.fromkeys(side.transforms[0] for side in self._sides))

    def images_that_fit(self) -> int | None:
        fits = [n for side in self._sides if (n := side.images_that_fit()) is not None]
        return min(fits, default=None)

    def pixels(self, images: Sequence[Tensor]) -> Pixels:
        """Normalise a batch for each of the two, whose transforms may be the same."""
        after = dict(zip(self.transforms, images, strict=True))
        return tuple(side.pixels([after[side.transforms[0]]])[0] for side in self._sides)

    def logits(self, batches: Batches, alphas: list[str], numbers: Tensor | None = None) -> Logits:
        """Yield what the ensembles give; at the ends it is what one of the two gives.

        In between, mean logits leave out a class that one of the two never predicts, because its
        logit there means nothing; mean probabilities count it as zero.
        """
        raw = [
            side.run([(pixels[place],) for pixels in batches])
            for place, side in enumerate(self._sides)
        ]
        first, second = (side.mask(part) for side, part in zip(self._sides, raw, strict=True))
        for alpha in alphas:
            if OUTPUT in self.combinations:
                known = {FIRST: first, LAST: second}.get(alpha)
                if known is None:
                    known = mask_logits(combine_logits(raw, ends(alpha)), self.never_predicted)
                yield OUTPUT, alpha, known
            yield from _of_masked((first, second), alpha, self.combinations, numbers)


def _of_masked(
    masked: tuple[Tensor, Tensor], alpha: str, combinations: Sequence[str], numbers: Tensor | None
) -> Logits:
    """Yield the combinations that take the two ends' logits with minus infinities in them."""
    if SOFTMAX in combinations:
        yield SOFTMAX, alpha, softmax_ensemble(masked, ends(alpha))
    if RANDOM in combinations:
        assert numbers is not None
        yield RANDOM, alpha, random_ensemble(masked, numbers, alpha)
