"""The mean of all thetas (Wortsman et al. 2022)."""

from __future__ import annotations

from typing import Any

from wiseft.combine.recipe import Mixture, RecipeInputs, RecipeOptions, SoupInputs

Options, Inputs = RecipeOptions, SoupInputs


def apply(options: RecipeOptions, inputs: RecipeInputs, *_: Any) -> Mixture:
    """Return the mean."""
    from wiseft.combine.files import mixture, open_thetas

    return mixture(open_thetas(inputs.thetas), [1.0 / len(inputs.thetas)] * len(inputs.thetas))
