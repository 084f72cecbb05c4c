"""Recipes of `wiseft combine` where models are all that there is to combine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel

from wiseft.base import plugins
from wiseft.base.validation import validate
from wiseft.errors import WiseftError


class _Kind(BaseModel):
    kind: str


class Recipe(NamedTuple):
    """A recipe with all that it is followed with.

    Attributes:
        options: `RecipeOptions` of its kind.
        inputs: `RecipeInputs` of its kind.
    """

    options: Any
    inputs: Any


def make_recipe(
    recipe: Mapping[str, Any],
    inputs: Mapping[str, Sequence[Any]],
    source: str = "recipe",
    beside: str = "",
) -> Recipe:
    """Return a recipe.

    Args:
        recipe: its options, `kind` among them.
        inputs: files by the name of the input, `thetas` among them.
        source: where the options come from, for messages.
        beside: where the inputs do.

    Raises:
        WiseftError: a sentence for every key or input that is unknown, missing or wrong.
    """
    kind = validate(_Kind, recipe, source).kind
    module = plugins.load(plugins.RECIPES, kind)
    options = validate(module.Options, recipe, source)
    return Recipe(options, validate(module.Inputs, inputs, beside or f"recipe {kind}"))


def checked_recipe(recipe: Mapping[str, Any], models: int, alone: bool = False) -> Recipe:
    """Return a recipe for so many fine-tuned models, whose files are not known yet.

    Raises:
        WiseftError: as `make_recipe`, and if it needs (`alone`: may take) other files than models.
    """
    kind = validate(_Kind, recipe, "recipe").kind
    takes: type[Any] = plugins.load(plugins.RECIPES, kind).Inputs
    fields = {key: field for key, field in takes.model_fields.items() if key != "thetas"}
    others = [key for key, field in fields.items() if alone or field.is_required()]
    if others:
        raise WiseftError(
            f"recipe is {kind}, which also takes {', '.join(others)}, but there are only models "
            "for it; run `wiseft combine`, and bring what that writes as a fine-tuned model"
        )
    thetas = ["zero-shot"] * takes.from_zero_shot + ["fine-tuned"] * models
    return make_recipe(recipe, {"thetas": thetas})


def options_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a recipe's options, by name. Raises WiseftError if there is none."""
    kind = validate(_Kind, recipe, "recipe").kind
    options: type[Any] = plugins.load(plugins.RECIPES, kind).Options
    return options.model_fields


def recipe_at(recipe: Mapping[str, Any], models: int, alpha: str) -> tuple[Recipe, str]:
    """Return a recipe at an alpha, and how far to go from the zero-shot model to what it makes.

    A recipe that needs an `alpha` and has none gets this one, and all the way is gone.

    Args:
        models: how many fine-tuned ones there are.

    Raises:
        WiseftError: as `checked_recipe`, and if it has use for anything but models.
    """
    needed = {key for key, field in options_of(recipe).items() if field.is_required()}
    if "alpha" in needed - recipe.keys():
        recipe, alpha = {**recipe, "alpha": float(alpha)}, "1.000"
    return checked_recipe(recipe, models, alone=True), alpha
