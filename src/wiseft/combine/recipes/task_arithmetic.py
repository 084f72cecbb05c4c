"""Task arithmetic (Ilharco et al. 2023): theta_0 + sum of s_i (theta_i - theta_0).

With one model and a scale in [0, 1] it is the interpolation. `patching` does so with the image
tower alone, for models of different classes.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from wiseft.combine.recipe import Listed, Mixture, RecipeInputs, RecipeOptions, Scale
from wiseft.errors import WiseftError

Inputs = RecipeInputs


class Options(RecipeOptions):
    """A scale for every model."""

    scale: Annotated[list[Scale], Field(min_length=1), Listed]
    """Scale of every task vector, or a list with one scale each; negative to forget."""


def apply(options: Options, inputs: RecipeInputs, *_: Any) -> Mixture:
    """Return the sum."""
    from wiseft.combine.files import mixture, open_thetas
    from wiseft.combine.task_vectors import convex, is_statistic

    models = len(inputs.thetas) - 1
    scales = options.scale * models if len(options.scale) == 1 else options.scale
    if len(scales) != models:
        raise WiseftError(f"{len(scales)} scales were given for {models} models; give one for each")
    thetas, weights = open_thetas(inputs.thetas), [1.0 - sum(scales), *scales]
    if (of_statistics := convex(scales)) == weights:
        return mixture(thetas, weights)
    names = thetas[0].tensors
    return mixture(thetas, {n: of_statistics if is_statistic(n) else weights for n in names})
