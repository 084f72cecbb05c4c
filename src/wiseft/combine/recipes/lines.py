"""LiNeS (Wang et al. 2024, arXiv 2410.17146): a task vector scaled by the depth of its layers.

    theta_0 + s (theta_1 - theta_0),    s = alpha + beta i / (B - 1)    in block i of B

Outside of the blocks s is alpha. The head and a text tower stay those of theta_0, because the
authors edit an image tower under a frozen head (`line_scaling` of their code). They have vision
transformers; that the blocks of a ResNet are counted through all stages is ours.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Self

from pydantic import model_validator

from wiseft.base.typed import Fraction
from wiseft.combine.parts import parts_of
from wiseft.combine.recipe import Mixture, RecipeOptions, TwoThetas
from wiseft.errors import WiseftError

Inputs = TwoThetas

_FROZEN = ("head", "text")


class Options(RecipeOptions):
    """The two parameters of the authors."""

    alpha: Fraction = 0.0
    """Scale of the first block and outside of blocks."""
    beta: Fraction = 1.0
    """Added to `alpha` at the last block."""

    @model_validator(mode="after")
    def _within_the_ends(self) -> Self:
        if self.alpha + self.beta > 1:
            raise ValueError(
                f"alpha + beta is {self.alpha + self.beta:g}, but must be at most 1, where the "
                "last block is the fine-tuned one"
            )
        return self


def apply(options: Options, inputs: TwoThetas, *_: Any) -> Mixture:
    """Return the scaled theta; its header holds the scale of every part."""
    from wiseft.combine.files import mixture, open_thetas

    thetas = open_thetas(inputs.thetas)
    parts, blocks = parts_of(thetas[0].tensors)
    if unknown := [name for name, part in parts.items() if part is None]:
        raise WiseftError(f"LiNeS scales by depth, and that of tensor {unknown[0]} is not known")
    if blocks < 2:
        raise WiseftError(f"LiNeS scales by depth, and this image tower has {blocks} blocks")
    scales = {part: 0.0 if part in _FROZEN else options.alpha for part in parts.values() if part}
    for index in range(blocks):
        scales[f"blocks.{index}"] = options.alpha + options.beta * (index / (blocks - 1))
    mixed = mixture(thetas, {n: (1.0 - scales[p], scales[p]) for n, p in parts.items() if p})
    return dataclasses.replace(mixed, settings={"scales": scales})
