"""The forward passes of a sweep: from chunks of pixels to logits for every alpha."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from wiseft.classifier import ImageClassifier, build_classifier, mask_logits
from wiseft.combine import Interpolator, combine_logits, random_ensemble, softmax_ensemble
from wiseft.combine.linear import ends
from wiseft.errors import WiseftError
from wiseft.finetune.contrastive import has_text
from wiseft.theta import Theta, check_compatible

WEIGHT, OUTPUT, SOFTMAX, RANDOM = "weight", "output", "softmax", "random"
COMBINATIONS = (WEIGHT, OUTPUT, SOFTMAX, RANDOM)
"""How two classifiers are combined: their weights, their logits, their probabilities, or one of
them drawn for each sample (paper section 5.2, Figure 13)."""

STANDARD = (WEIGHT, OUTPUT)
FIRST, LAST = "0.000", "1.000"


class Sweep(Protocol):
    """A classifier, or two and everything in between, as a function of alpha.

    Attributes:
        combinations: those that are yielded.
        never_predicted: classes whose logit is minus infinity.
    """

    combinations: tuple[str, ...]
    never_predicted: Sequence[int]

    def pixels(self, images: Tensor) -> Tensor:
        """Bring a batch of uint8 images (n, 3, S, S) to the device and normalise it."""

    def logits(
        self, batches: list[Tensor], alphas: list[str], numbers: Tensor | None = None
    ) -> Iterator[tuple[str, str, Tensor]]:
        """Yield combination, alpha and the logits (samples of all batches, classes).

        Args:
            numbers: fp64 (samples of all batches,), for `random`.
        """


def make_sweep(
    theta_0: Theta | None,
    theta_1: Theta,
    device: torch.device,
    combinations: Sequence[str] = STANDARD,
) -> Sweep:
    """Choose the cheapest exact way to cover the grid between two thetas.

    Args:
        combinations: those that are wanted.

    Raises:
        WiseftError: if the thetas are of different architectures, classes or preprocessing, or a
            combination is unknown.
    """
    unknown = [name for name in combinations if name not in COMBINATIONS]
    if unknown or not combinations:
        raise WiseftError(
            f"combination {unknown[0] if unknown else 'none'} is not one of "
            f"{', '.join(COMBINATIONS)}; give some of these"
        )
    if theta_0 is None:
        return SingleSweep(theta_1, device)
    check_compatible(theta_0, theta_1)
    # With a text tower a head follows from its weights and is not linear in alpha.
    linear = share_image_tower(theta_0.tensors, theta_1.tensors) and not has_text(theta_1.tensors)
    return (HeadSweep if linear else WeightSweep)(theta_0, theta_1, device, combinations)


def share_image_tower(theta_0: Mapping[str, Tensor], theta_1: Mapping[str, Tensor]) -> bool:
    """Whether only the heads differ, as after fine-tuning a linear classifier."""
    names = [name for name in theta_0 if name.startswith("image.")]
    return all(torch.equal(theta_0[name], theta_1[name]) for name in names)


class _Resident:
    """One model on the device."""

    def __init__(self, theta: Theta, device: torch.device):
        self.model: ImageClassifier = build_classifier(theta.header, theta.tensors).to(device)
        self.device = device
        self.never_predicted: Sequence[int] = self.model.never_predicted

    def pixels(self, images: Tensor) -> Tensor:
        return self.model.pixels(images.to(self.device))

    def features(self, pixels: Tensor) -> Tensor:
        return self.model.encode(pixels)

    def run(self, batches: list[Tensor]) -> Tensor:
        """Return logits before those of classes that are never predicted are masked."""
        return torch.cat([self.model.head(self.features(pixels)) for pixels in batches])

    def mask(self, logits: Tensor) -> Tensor:
        return mask_logits(logits, self.never_predicted)


class SingleSweep(_Resident):
    """One classifier without another end: a baseline, or a file that was interpolated before."""

    combinations: tuple[str, ...] = (WEIGHT,)

    def logits(
        self, batches: list[Tensor], alphas: list[str], numbers: Tensor | None = None
    ) -> Iterator[tuple[str, str, Tensor]]:
        """Yield the classifier's logits as alpha 1.000.

        Raises:
            WiseftError: if any other alpha is asked for.
        """
        if alphas != [LAST]:
            raise WiseftError(
                f"without theta_0 there is only alpha {LAST}, but {', '.join(alphas)} was asked for"
            )
        yield WEIGHT, LAST, self.mask(self.run(batches))


class _TwoEnds(_Resident):
    """Combines the logits of two classifiers, which are in hand anyway."""

    available: tuple[str, ...]

    def __init__(
        self, theta_0: Theta, theta_1: Theta, device: torch.device, combinations: Sequence[str]
    ):
        super().__init__(theta_1, device)
        self.combinations = tuple(name for name in self.available if name in combinations)
        if not self.combinations:
            raise WiseftError(
                f"combinations are {', '.join(combinations)}, but of these two thetas, which "
                f"share their image tower, there are only {', '.join(self.available)}: output "
                "space is weight space there"
            )

    def ensembles(
        self, end_logits: list[Tensor], alpha: str, numbers: Tensor | None
    ) -> Iterator[tuple[str, str, Tensor]]:
        """Yield the combinations that are wanted, save those of weights."""
        if OUTPUT in self.combinations:
            yield OUTPUT, alpha, self.mask(combine_logits(end_logits, ends(alpha)))
        masked = self.mask(end_logits[0]), self.mask(end_logits[1])
        if SOFTMAX in self.combinations:
            yield SOFTMAX, alpha, softmax_ensemble(masked, ends(alpha))
        if RANDOM in self.combinations:
            assert numbers is not None
            yield RANDOM, alpha, random_ensemble(masked, numbers, alpha)


class WeightSweep(_TwoEnds):
    """Interpolates all weights: one forward pass for each alpha.

    The other combinations mix what the two ends give, so they come out of the same pass.
    """

    available = COMBINATIONS

    def __init__(
        self, theta_0: Theta, theta_1: Theta, device: torch.device, combinations: Sequence[str]
    ):
        super().__init__(theta_0, theta_1, device, combinations)
        self._interpolator = Interpolator(
            self.model, theta_0.tensors, theta_1.tensors, theta_1.header
        )

    def logits(
        self, batches: list[Tensor], alphas: list[str], numbers: Tensor | None = None
    ) -> Iterator[tuple[str, str, Tensor]]:
        """Yield logits of every combination; the ends are run even if not asked for."""
        end_logits = [self._at(FIRST, batches), self._at(LAST, batches)]
        for alpha in alphas:
            yield from self.ensembles(end_logits, alpha, numbers)
            if WEIGHT in self.combinations:
                # At the ends all combinations are the same classifier.
                known = {FIRST: end_logits[0], LAST: end_logits[1]}.get(alpha)
                yield WEIGHT, alpha, self.mask(self._at(alpha, batches) if known is None else known)

    def _at(self, alpha: str, batches: list[Tensor]) -> Tensor:
        self._interpolator.set(alpha)
        return self.run(batches)


class HeadSweep(_TwoEnds):
    """Interpolates a linear classifier over a shared image tower: one feature pass for all alphas.

    Logits are linear in alpha, so weight space and output space are one and the same here and
    only `weight` is reported.
    """

    available = (WEIGHT, SOFTMAX, RANDOM)

    def __init__(
        self, theta_0: Theta, theta_1: Theta, device: torch.device, combinations: Sequence[str]
    ):
        super().__init__(theta_0, theta_1, device, combinations)
        self._heads = [
            (theta.tensors["head.weight"].to(device), theta.tensors["head.bias"].to(device))
            for theta in (theta_0, theta_1)
        ]

    def logits(
        self, batches: list[Tensor], alphas: list[str], numbers: Tensor | None = None
    ) -> Iterator[tuple[str, str, Tensor]]:
        """Yield logits interpolated between the two heads; at the ends they are the heads' own."""
        features = [self.features(pixels) for pixels in batches]
        end_logits = [
            torch.cat([functional.linear(batch, weight, bias) for batch in features])
            for weight, bias in self._heads
        ]
        for alpha in alphas:
            yield from self.ensembles(end_logits, alpha, numbers)
            if WEIGHT in self.combinations:
                yield WEIGHT, alpha, self.mask(combine_logits(end_logits, ends(alpha)))
