"""A weighted sum: interpolation, extrapolation, a soup with weights."""

from __future__ import annotations

from typing import Any

from wiseft.combine.recipe import Coefficients, Mixture, RecipeInputs, RecipeOptions

Inputs = RecipeInputs


class Options(RecipeOptions):
    """A weighted sum of all thetas."""

    coefficients: Coefficients
    """One coefficient per theta; their sum is 1."""


def apply(options: Options, inputs: RecipeInputs, *_: Any) -> Mixture:
    """Return the sum."""
    from wiseft.combine.files import mixture, open_thetas

    return mixture(open_thetas(inputs.thetas), options.coefficients)
