"""Recipes: how thetas are combined into one, as data."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from wiseft.alphas import format_alpha
from wiseft.combine.fisher import FLOOR
from wiseft.config import parse_settings
from wiseft.config.base import Entry, Fraction, NonNegative
from wiseft.errors import WiseftError

_TOLERANCE = 1e-6


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class LinearRecipe(Entry):
    """A weighted sum: interpolation, extrapolation, a soup with weights."""

    kind: Literal["linear"]
    coefficients: list[float] = Field(description="One for each theta, that sum to 1.")

    @field_validator("coefficients")
    @classmethod
    def _sum(cls, values: list[float]) -> list[float]:
        return _sum_to_one(values)


class UniformSoupRecipe(Entry):
    """The mean of all thetas."""

    kind: Literal["soup-uniform"]


class GreedySoupRecipe(Entry):
    """The mean of those thetas that do not make it less accurate on held-out reference samples."""

    kind: Literal["soup-greedy"]


class FisherRecipe(Entry):
    """A mean in which each element counts as much as its Fisher information says."""

    kind: Literal["fisher"]
    coefficients: list[NonNegative] | None = Field(
        None, description="One for each theta, that sum to 1; null: all the same."
    )
    floor: Annotated[float, Field(gt=0)] = Field(
        FLOOR, description="The least that an element counts."
    )

    @field_validator("coefficients")
    @classmethod
    def _sum(cls, values: list[float] | None) -> list[float] | None:
        return values if values is None else _sum_to_one(values)


class PatchingRecipe(Entry):
    """One image tower for several tasks that were fine-tuned from one theta_0, the first theta."""

    kind: Literal["patching"]
    alpha: Annotated[list[Fraction], Field(min_length=1), BeforeValidator(_listed)] = Field(
        description="A number for every task, or a list of one for each."
    )

    @field_validator("alpha")
    @classmethod
    def _decimals(cls, alpha: list[float]) -> list[float]:
        for value in alpha:
            _three_decimals(value)
        return alpha


class GroupsRecipe(Entry):
    """Interpolation of two thetas with an alpha for each group of layers."""

    kind: Literal["groups"]
    alphas: Annotated[dict[str, Fraction], Field(min_length=1)] = Field(
        description="By group: stem, blocks, blocks.3, blocks.0-5, tail, head, text, re:PATTERN."
    )

    @field_validator("alphas")
    @classmethod
    def _decimals(cls, alphas: dict[str, float]) -> dict[str, float]:
        for value in alphas.values():
            _three_decimals(value)
        return alphas


Recipe = (
    LinearRecipe
    | UniformSoupRecipe
    | GreedySoupRecipe
    | FisherRecipe
    | PatchingRecipe
    | GroupsRecipe
)

_MODELS: dict[str, Any] = {
    "linear": LinearRecipe,
    "soup-uniform": UniformSoupRecipe,
    "soup-greedy": GreedySoupRecipe,
    "fisher": FisherRecipe,
    "patching": PatchingRecipe,
    "groups": GroupsRecipe,
}


class _Kind(BaseModel):
    """The key that says which recipe it is."""

    model_config = ConfigDict(extra="ignore")

    kind: Literal["linear", "soup-uniform", "soup-greedy", "fisher", "patching", "groups"] = Field(
        description="How to combine."
    )


def parse_recipe(text: str, source: str = "--recipe") -> Recipe:
    """Return a recipe given as JSON, or as `@` and the name of a YAML or JSON file.

    Raises:
        WiseftError: a sentence for every key that is unknown, missing or has a wrong value.
    """
    model = _MODELS[parse_settings(_Kind, text, source).kind]
    recipe: Recipe = parse_settings(model, text, source)
    return recipe


def _sum_to_one(values: list[float]) -> list[float]:
    if not values or abs(sum(values) - 1.0) > _TOLERANCE:
        raise ValueError(
            f"coefficients sum to {sum(values):g}, but must sum to 1: the sum of weights of "
            "another scale is no classifier"
        )
    return values


def _three_decimals(value: float) -> None:
    try:
        format_alpha(value)
    except WiseftError as error:
        raise ValueError(str(error)) from None
