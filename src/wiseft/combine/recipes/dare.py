"""DARE (Yu et al. 2024): drop elements of task vectors at random and rescale the others.

An element is kept with probability `density` (1 - p for the paper's drop rate p) and divided by it.
What is left is summed, or merged as TIES does after trimming:

    theta_0 + scale * sum of m_i (theta_i - theta_0) / density

What is dropped follows from the seed, the model's place and the tensor's name alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from wiseft.base.typed import Seed
from wiseft.combine.recipe import Density, Mixture, RecipeInputs, RecipeOptions, Scale

if TYPE_CHECKING:
    from torch import Tensor

Inputs = RecipeInputs


class Options(RecipeOptions):
    """How much is kept, the seed, and what is done with it."""

    density: Density
    """Probability of keeping an element."""
    scale: Scale = 1.0
    """Scale of the merged task vector."""
    merge: Literal["sum", "ties"] = "sum"
    """`sum` over the models, or the mean of those with the elected sign (`ties`)."""
    seed: Seed = 0
    """Seed that decides which elements are dropped."""


def apply(options: Options, inputs: RecipeInputs, *_: Any) -> Mixture:
    """Return the merged theta."""
    from wiseft.combine.files import open_thetas
    from wiseft.combine.task_vectors import elected_mean, merged

    summed, density = options.merge == "sum", options.density

    def merge(name: str, theta_0: Tensor, vectors: Tensor) -> Tensor:
        for place, vector in enumerate(vectors, start=1):
            vector.mul_(mask(options.seed, place, name, vector.shape, density)).div_(density)
        return (vectors.sum(dim=0) if summed else elected_mean(vectors)) * options.scale

    models = len(inputs.thetas) - 1
    scale = options.scale if summed else options.scale / models
    return merged(open_thetas(inputs.thetas), merge, [scale] * models)


def mask(seed: int, place: int, name: str, shape: Sequence[int], density: float) -> Tensor:
    """Return which elements of a tensor are kept (bool) of the model at a place, from 1 on."""
    import torch

    digest = hashlib.blake2b(f"{seed}\0{place}\0{name}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
    return torch.rand(shape, generator=generator) < density
