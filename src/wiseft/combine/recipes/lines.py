"""LiNeS (Wang et al. 2024, arXiv 2410.17146): a task vector scaled linearly in the depth of layers.

    theta_0 + s(d) (theta_1 - theta_0),    s(d) = first + (last - first) d / D

The image tower's stem is at depth 0, its blocks are at 1 to B, what comes after them is at B + 1
and the head at D = B + 2; so is a text tower, from which the head follows. (In the authors' code
the blocks alone go from the first scale to the last; all else has the first, and heads are frozen.)
"""

from __future__ import annotations

import dataclasses
from typing import Any

from wiseft.base.typed import Fraction
from wiseft.combine.parts import parts_of
from wiseft.combine.recipe import Mixture, RecipeOptions, TwoThetas
from wiseft.errors import WiseftError

Inputs = TwoThetas


class Options(RecipeOptions):
    """The scales at both ends of a network."""

    first: Fraction = 0.0
    """Scale of the stem."""
    last: Fraction = 1.0
    """Scale of the head."""


def apply(options: Options, inputs: TwoThetas, *_: Any) -> Mixture:
    """Return the scaled theta; the header holds depth and scale of every part."""
    from wiseft.combine.files import mixture, open_thetas

    thetas = open_thetas(inputs.thetas)
    parts, blocks = parts_of(thetas[0].tensors)
    if unknown := [name for name, part in parts.items() if part is None]:
        raise WiseftError(
            f"the depth of tensor {unknown[0]} is not known; give the parts alphas with the recipe "
            "groups instead"
        )
    depths = {part: depth for part, depth in _depths(blocks).items() if part in parts.values()}
    scales = {
        part: options.first + (options.last - options.first) * depth / (blocks + 2)
        for part, depth in depths.items()
    }
    mixed = mixture(thetas, {n: (1.0 - scales[p], scales[p]) for n, p in parts.items() if p})
    table = {part: {"depth": depths[part], "scale": scales[part]} for part in depths}
    return dataclasses.replace(mixed, settings={"depths": table})


def _depths(blocks: int) -> dict[str, int]:
    of_blocks = {f"blocks.{index}": index + 1 for index in range(blocks)}
    return {"stem": 0, **of_blocks, "tail": blocks + 1, "head": blocks + 2, "text": blocks + 2}
