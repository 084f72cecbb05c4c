"""What a merge recipe is made of: options, input files, and the mixture that it gives.

A recipe is one file of `wiseft.combine.recipes`; only its `apply` imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from wiseft.base.alphas import format_alpha
from wiseft.base.typed import Entry, Fraction
from wiseft.errors import WiseftError

if TYPE_CHECKING:
    from torch import Tensor

    from wiseft.thetas.theta import StoredTheta, ThetaHeader

_TOLERANCE = 1e-6


def _sum_to_one(values: list[float]) -> list[float]:
    if not values or abs(sum(values) - 1.0) > _TOLERANCE:
        raise ValueError(
            f"coefficients sum to {sum(values):g}, but must sum to 1: the sum of weights of "
            "another scale is no classifier"
        )
    return values


def _three_decimals(value: float) -> float:
    try:
        format_alpha(value)
    except WiseftError as error:
        raise ValueError(str(error)) from None
    return value


def _the_one(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    if len(value) != 1:
        raise ValueError("it was given several times, but there can be only one")
    return value[0]


SumToOne = AfterValidator(_sum_to_one)
Coefficients = Annotated[list[float], SumToOne]
Alpha = Annotated[Fraction, AfterValidator(_three_decimals)]
File = Annotated[Path, BeforeValidator(_the_one)]
Listed = BeforeValidator(lambda value: value if isinstance(value, list) else [value])
Density = Annotated[float, Field(gt=0, le=1)]
Scale = Annotated[float, Field(ge=-100, le=100)]


class RecipeOptions(Entry):
    """What a recipe is told."""

    kind: str
    """Name of the recipe."""


class RecipeInputs(Entry):
    """The files that a recipe takes."""

    from_zero_shot: ClassVar[bool] = True
    """Whether the first theta is the zero-shot model, where the others were fine-tuned from it."""

    thetas: Annotated[list[Path], Field(min_length=2)]
    """Theta files: theta_0 first, if the recipe starts from it, then the others."""


class TwoThetas(RecipeInputs):
    """Two thetas."""

    thetas: Annotated[list[Path], Field(min_length=2, max_length=2)]
    """Theta files of the models at alpha 0 and 1."""


class SeveralTuned(RecipeInputs):
    """theta_0 and at least two models that were fine-tuned from it."""

    @field_validator("thetas")
    @classmethod
    def _several(cls, thetas: list[Path]) -> list[Path]:
        if len(thetas) < 3:
            raise ValueError(
                f"only {len(thetas)} were given; give theta_0 and, after it, at least two models "
                "that were fine-tuned from it"
            )
        return thetas


@dataclass(frozen=True)
class Mixture:
    """What a recipe gives.

    Attributes:
        tensors: by name; each may be computed when it is asked for.
        thetas: what they were made of.
        like: the header of the theta whose classes and preprocessing they go with.
        settings: what the header of the mixture says of how it came about, beside the options.
        parents: SHA-256 of inputs other than the thetas.
    """

    tensors: Mapping[str, Tensor]
    thetas: list[StoredTheta]
    like: ThetaHeader
    settings: dict[str, Any] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)


class SoupInputs(RecipeInputs):
    """The files that a recipe takes which treats all thetas alike."""

    from_zero_shot: ClassVar[bool] = False
