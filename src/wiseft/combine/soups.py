"""Soups: averages of fine-tuned thetas (Wortsman et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wiseft.classifier import build_classifier, classifier_tensors
from wiseft.combine.linear import combine
from wiseft.data.manifest import Manifest
from wiseft.data.store import batches, open_split
from wiseft.errors import WiseftError
from wiseft.metrics import Truth, pairs_of
from wiseft.theta import ThetaHeader
from wiseft.towers import IMAGE

HELD_OUT = "held-out"
"""The split that ingredients are chosen by: training samples of the reference that no training
saw. Never a test split."""


def uniform_soup(thetas: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of thetas. Raises WiseftError as `combine` does."""
    return combine(thetas, uniform_coefficients(len(thetas)))


def uniform_coefficients(n: int) -> list[float]:
    """Return n equal coefficients that sum to one."""
    return [1.0 / n] * n


@dataclass(frozen=True)
class GreedySoup:
    """A greedy soup and how it came about.

    Attributes:
        tensors: of the soup, whose accuracy was measured.
        ingredients: places of the thetas in it, in the order in which they were added.
        accuracies: of each theta alone, in the order given.
        accuracy: of the soup.
    """

    tensors: dict[str, Tensor]
    ingredients: list[int]
    accuracies: list[float]
    accuracy: float


def greedy_soup(
    thetas: Sequence[Mapping[str, Tensor]],
    accuracy: Callable[[Mapping[str, Tensor]], float],
    finish: Callable[[dict[str, Tensor]], dict[str, Tensor]] = lambda soup: soup,
    say: Callable[[str], None] = lambda line: None,
) -> GreedySoup:
    """Return the mean of those thetas that each did not make it worse.

    From the most accurate theta on, in falling order of accuracy (the first given first, where
    two are equal), a theta is added if the mean with it is at least as accurate.

    Args:
        thetas: at least one.
        accuracy: of a classifier on held-out samples of the reference.
        finish: makes a classifier of a mean (such as a head for its text tower).
        say: takes a line for every theta.

    Raises:
        WiseftError: as `combine` does.
    """
    if not thetas:
        raise WiseftError("there is nothing to combine: give at least one theta")
    accuracies = []
    for place, theta in enumerate(thetas):
        accuracies.append(accuracy(theta))
        say(f"theta {place}: held-out accuracy {accuracies[-1]:.4f}")
    first, *others = sorted(range(len(thetas)), key=lambda place: -accuracies[place])
    soup, best, ingredients = combine([thetas[first]], [1.0]), accuracies[first], [first]
    for place in others:
        weight = 1.0 / (len(ingredients) + 1)
        mean = finish(combine([soup, thetas[place]], [1.0 - weight, weight]))
        found = accuracy(mean)
        added = found >= best
        say(f"theta {place}: the soup with it {found:.4f}, {'added' if added else 'left out'}")
        if added:
            soup, best = mean, found
            ingredients.append(place)
    return GreedySoup(soup, ingredients, accuracies, best)


class HeldOutAccuracy:
    """The accuracy of thetas of one architecture on the held-out split of their reference.

    One model is resident. Images are decoded once if they fit; features are computed once for
    thetas that follow one another with the same image tower.

    Args:
        manifest: of the reference.
        header: of one of the thetas.
        keep: bytes of images that may be held.

    Raises:
        WiseftError: if the reference has other classes, or no held-out split.
    """

    def __init__(
        self,
        manifest: Manifest,
        header: ThetaHeader,
        device: torch.device | str = "cpu",
        batch_size: int = 256,
        keep: int = 2 * 2**30,
    ):
        if manifest.class_names != header.class_names:
            raise WiseftError(
                f"dataset {manifest.dataset} has {len(manifest.class_names)} classes other than "
                f"the {len(header.class_names)} of the thetas; choose by their reference"
            )
        self._split = open_split(manifest.path, HELD_OUT, header.transform)
        labels = self._split.labels
        base_ids = np.asarray(self._split.base_ids, dtype=str)
        self._truth = Truth(labels, base_ids, pairs_of(self._split.other_labels))
        self._device = torch.device(device)
        self._model = build_classifier(header, seed=0).to(self._device)
        self._live = classifier_tensors(self._model)
        self._batch_size = batch_size
        self._images: list[Tensor] | None = None
        self._fits = len(self._split) * 3 * header.transform.size**2 <= keep
        self._features: list[Tensor] = []
        self.samples = len(self._split)

    @torch.no_grad()
    def __call__(self, tensors: Mapping[str, Tensor]) -> float:
        """Return the share of samples that a theta predicts right."""
        new_tower = False
        for name, live in self._live.items():
            tensor = tensors[name].to(self._device, live.dtype)
            if name.startswith(IMAGE) and not torch.equal(live, tensor):
                new_tower = True
            live.copy_(tensor)
        if new_tower or not self._features:
            self._features = [
                self._model.features(images.to(self._device)) for images in self._batches()
            ]
        logits = [self._model.logits(features) for features in self._features]
        prediction = torch.cat([each.argmax(dim=-1) for each in logits]).cpu().numpy()
        return float(self._truth.right(prediction).mean())

    def _batches(self) -> list[Tensor] | map[Tensor]:
        if self._images is not None:
            return self._images
        read = map(_images_of, batches(self._split, self._batch_size))
        if not self._fits:
            return read
        self._images = list(read)
        return self._images


def _images_of(batch: tuple[Tensor, Tensor]) -> Tensor:
    return batch[0]
