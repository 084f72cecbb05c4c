"""Recipes of `wiseft combine` where models are all that there is to combine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from pydantic import Field, model_validator

from wiseft import plugins
from wiseft.config.base import Entry, Seeds
from wiseft.config.loading import validate
from wiseft.errors import WiseftError


class CheckedRecipe(NamedTuple):
    """A recipe that can be followed.

    Attributes:
        options: all of its options, `kind` among them.
        from_zero_shot: whether its first theta is the zero-shot model.
    """

    options: Entry
    from_zero_shot: bool


def checked_recipe(recipe: Mapping[str, Any], models: int) -> CheckedRecipe:
    """Return a recipe for so many fine-tuned models.

    Raises:
        WiseftError: if there is no such recipe, an option is not its own or wrong, it takes more or
            fewer models, or it needs other files than models.
    """
    kind = str(recipe.get("kind"))
    module = plugins.load(plugins.RECIPES, kind)
    fields, start = module.Inputs.model_fields, bool(module.Inputs.from_zero_shot)
    others = [key for key, field in fields.items() if field.is_required() and key != "thetas"]
    if others:
        raise WiseftError(
            f"recipe is {kind}, which also takes {', '.join(others)}, but there are only models "
            "for it; run `wiseft combine`, and bring what that writes as a fine-tuned model"
        )
    thetas = ["zero-shot"] * start + ["fine-tuned"] * models
    validate(module.Inputs, {"thetas": thetas}, f"recipe {kind}")
    return CheckedRecipe(validate(module.Options, recipe, "recipe"), start)


class MergedModel(Entry):
    """A model that a recipe of `wiseft combine` makes of fine-tuned ones, in place of training."""

    of: str = Field(
        min_length=1,
        description="Method that trains these models, which need not be runs of the experiment.",
    )
    seeds: Seeds | None = Field(
        None,
        description="Seeds of these models, of which one is made then, so that an experiment gives "
        "it one seed; null: each run combines the model of its own seed.",
    )
    recipe: dict[str, Any] = Field(
        description="How they are combined: `kind`, and the options of that recipe. Of one that "
        "starts from the zero-shot model, that is the first theta."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            self.checked()
        except WiseftError as error:
            raise ValueError(str(error)) from None
        return self

    def checked(self) -> CheckedRecipe:
        """Return the recipe. Raises WiseftError if it can't be followed with these models."""
        return checked_recipe(self.recipe, len(self.seeds or [0]))
