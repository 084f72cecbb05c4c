"""The mean of those thetas that do not lower its accuracy on held-out reference samples.

Greedy soups (Wortsman et al. 2022).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wiseft.combine.recipe import File, Mixture, RecipeOptions, SoupInputs

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Options = RecipeOptions


class Inputs(SoupInputs):
    """Thetas, and the samples that choose among them."""

    dataset: File
    """Manifest of the reference. Its split held-out chooses the ingredients."""


def apply(options: RecipeOptions, inputs: Inputs, device: torch.device | str) -> Mixture:
    """Return the soup that was measured; in memory are two thetas and a model."""
    from wiseft.combine.files import open_thetas
    from wiseft.combine.held_out import HELD_OUT, HeldOutAccuracy
    from wiseft.images.store import open_manifest
    from wiseft.zeroshot.text_head import HeadBuilder, has_text

    thetas, manifest = open_thetas(inputs.thetas), open_manifest(inputs.dataset)
    like, stored = thetas[-1].header, [theta.tensors for theta in thetas]
    accuracy = HeldOutAccuracy(manifest, like, stored[0], device)
    builder = HeadBuilder(like, stored[0], device) if has_text(stored[0]) else None

    def finish(mean: dict[str, Tensor]) -> dict[str, Tensor]:
        return mean | builder.head(mean) if builder else mean

    soup = greedy_soup(stored, accuracy, finish)
    settings = {
        "ingredients": soup.ingredients,
        "accuracies": soup.accuracies,
        "accuracy": soup.accuracy,
        "held_out": {
            "dataset": manifest.dataset,
            "split": HELD_OUT,
            "samples": accuracy.samples,
            "identity": manifest.identity([HELD_OUT]),
        },
    }
    return Mixture(soup.tensors, thetas, like, settings, {"dataset": manifest.sha256})


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
) -> GreedySoup:
    """Return the mean of those thetas that each did not make it worse.

    From the most accurate theta on, in falling order of accuracy (the first given first, where
    two are equal), a theta is added if the mean with it is at least as accurate.

    Args:
        thetas: at least one.
        accuracy: of a classifier on held-out samples of the reference.
        finish: makes a classifier of a mean (such as a head for its text tower).

    Raises:
        WiseftError: as `combine` does.
    """
    from wiseft.combine.linear_combination import combine

    accuracies = []
    for place, theta in enumerate(thetas):
        accuracies.append(accuracy(theta))
        log.info(f"theta {place}: held-out accuracy {accuracies[-1]:.4f}")
    first, *others = sorted(range(len(thetas)), key=lambda place: -accuracies[place])
    soup, best, ingredients = combine([thetas[first]], [1.0]), accuracies[first], [first]
    for place in others:
        weight = 1.0 / (len(ingredients) + 1)
        mean = finish(combine([soup, thetas[place]], [1.0 - weight, weight]))
        reached = accuracy(mean)
        added = reached >= best
        log.info(
            f"theta {place}: the soup with it {reached:.4f}, {'added' if added else 'left out'}"
        )
        if added:
            soup, best = mean, reached
            ingredients.append(place)
    return GreedySoup(soup, ingredients, accuracies, best)
