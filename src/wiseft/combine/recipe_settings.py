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


def checked_recipe(recipe: Mapping[str, Any], models: int) -> Recipe:
    """Return a recipe for so many fine-tuned models, whose files are not known yet.

    Raises:
        WiseftError: as `make_recipe`, and if it needs other files than models.
    """
    kind = validate(_Kind, recipe, "recipe").kind
    takes: type[Any] = plugins.load(plugins.RECIPES, kind).Inputs
    fields = takes.model_fields
    others = [key for key, field in fields.items() if field.is_required() and key != "thetas"]
    if others:
        raise WiseftError(
            f"recipe is {kind}, which also takes {', '.join(others)}, but there are only models "
            "for it; run `wiseft combine`, and bring what that writes as a fine-tuned model"
        )
    thetas = ["zero-shot"] * takes.from_zero_shot + ["fine-tuned"] * models
    return make_recipe(recipe, {"thetas": thetas})
