"""The forward passes of a sweep: from chunks of pixels to logits for every alpha."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from wiseft.classifier import ImageClassifier, build_classifier
from wiseft.combine import Interpolator, combine_logits
from wiseft.combine.linear import ends
from wiseft.errors import WiseftError
from wiseft.theta import Theta, check_compatible

WEIGHT, OUTPUT = "weight", "output"
FIRST, LAST = "0.000", "1.000"


class Sweep(Protocol):
    """A classifier, or two and everything in between, as a function of alpha."""

    combinations: tuple[str, ...]

    def pixels(self, images: Tensor) -> Tensor:
        """Bring a batch of uint8 images (n, 3, S, S) to the device and normalise it."""

    def logits(self, batches: list[Tensor], alphas: list[str]) -> Iterator[tuple[str, str, Tensor]]:
        """Yield combination, alpha and the logits (samples of all batches, classes)."""


def make_sweep(theta_0: Theta | None, theta_1: Theta, device: torch.device) -> Sweep:
    """Choose the cheapest exact way to cover the grid between two thetas.

    Raises:
        WiseftError: if the thetas are of different architectures, classes or preprocessing.
    """
    if theta_0 is None:
        return SingleSweep(theta_1, device)
    check_compatible(theta_0, theta_1)
    if share_image_tower(theta_0.tensors, theta_1.tensors):
        return HeadSweep(theta_0, theta_1, device)
    return WeightSweep(theta_0, theta_1, device)


def share_image_tower(theta_0: Mapping[str, Tensor], theta_1: Mapping[str, Tensor]) -> bool:
    """Whether only the heads differ, as after fine-tuning a linear classifier."""
    names = [name for name in theta_0 if name.startswith("image.")]
    return all(torch.equal(theta_0[name], theta_1[name]) for name in names)


class _Resident:
    """One model on the device."""

    def __init__(self, theta: Theta, device: torch.device):
        self.model: ImageClassifier = build_classifier(theta.header, theta.tensors).to(device)
        self.device = device

    def pixels(self, images: Tensor) -> Tensor:
        return self.model.pixels(images.to(self.device))

    def features(self, pixels: Tensor) -> Tensor:
        return self.model.encode(pixels)

    def run(self, batches: list[Tensor]) -> Tensor:
        return torch.cat([self.model.head(self.features(pixels)) for pixels in batches])


class SingleSweep(_Resident):
    """One classifier without another end: a baseline, or a file that was interpolated before."""

    combinations: tuple[str, ...] = (WEIGHT,)

    def logits(self, batches: list[Tensor], alphas: list[str]) -> Iterator[tuple[str, str, Tensor]]:
        """Yield the classifier's logits as alpha 1.000.

        Raises:
            WiseftError: if any other alpha is asked for.
        """
        if alphas != [LAST]:
            raise WiseftError(
                f"without theta_0 there is only alpha {LAST}, but {', '.join(alphas)} was asked for"
            )
        yield WEIGHT, LAST, self.run(batches)


class WeightSweep(_Resident):
    """Interpolates all weights: one forward pass for each alpha.

    The output-space ensemble mixes the logits of the two ends, so it comes out of the same pass.
    """

    combinations: tuple[str, ...] = (WEIGHT, OUTPUT)

    def __init__(self, theta_0: Theta, theta_1: Theta, device: torch.device):
        super().__init__(theta_1, device)
        self._interpolator = Interpolator(self.model, theta_0.tensors, theta_1.tensors)

    def logits(self, batches: list[Tensor], alphas: list[str]) -> Iterator[tuple[str, str, Tensor]]:
        """Yield weight- and output-space logits; the ends are run even if not asked for."""
        end_logits = [self._at(FIRST, batches), self._at(LAST, batches)]
        for alpha in alphas:
            mixed = combine_logits(end_logits, ends(alpha))
            yield OUTPUT, alpha, mixed
            # At the ends the two combinations are the same classifier.
            yield WEIGHT, alpha, mixed if alpha in (FIRST, LAST) else self._at(alpha, batches)

    def _at(self, alpha: str, batches: list[Tensor]) -> Tensor:
        self._interpolator.set(alpha)
        return self.run(batches)


class HeadSweep(_Resident):
    """Interpolates a linear classifier over a shared image tower: one feature pass for all alphas.

    Logits are linear in alpha, so weight space and output space are one and the same here and
    only `weight` is reported.
    """

    combinations: tuple[str, ...] = (WEIGHT,)

    def __init__(self, theta_0: Theta, theta_1: Theta, device: torch.device):
        super().__init__(theta_1, device)
        self._heads = [
            (theta.tensors["head.weight"].to(device), theta.tensors["head.bias"].to(device))
            for theta in (theta_0, theta_1)
        ]

    def logits(self, batches: list[Tensor], alphas: list[str]) -> Iterator[tuple[str, str, Tensor]]:
        """Yield logits interpolated between the two heads; at the ends they are the heads' own."""
        features = [self.features(pixels) for pixels in batches]
        end_logits = [
            torch.cat([functional.linear(batch, weight, bias) for batch in features])
            for weight, bias in self._heads
        ]
        for alpha in alphas:
            yield WEIGHT, alpha, combine_logits(end_logits, ends(alpha))
