"""What all typed models of the configuration share: names, numbers, and their base class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

NAME_PATTERN = r"^[A-Za-z0-9]+(?:[-.][A-Za-z0-9]+)*$"
SEED_SUFFIX_PATTERN = r"-s(0|[1-9][0-9]*)$"
"""Tells a name with a pre-training seed (``digits-rn-s10``) from a bare entry name (``digits-rn``).
"""
LIMIT_SUFFIX_PATTERN = r"-limit([1-9][0-9]*)$"
"""Tells a preview (``imagenet-limit1000``) from a whole dataset (``imagenet``)."""
FILE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"


def repeated(values: list[Any]) -> Iterator[str]:
    """Yield a sentence that names the values which occur twice, if any do."""
    if twice := sorted({str(value) for value in values if values.count(value) > 1}):
        yield f"{', '.join(twice)} occurs twice, but values must be distinct"


def distinct(values: list[Any]) -> list[Any]:
    """Return `values` as they are. Raises ValueError when one of them occurs twice."""
    for problem in repeated(values):
        raise ValueError(problem)
    return values


Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Names = Annotated[list[Name], AfterValidator(distinct)]
SomeNames = Annotated[list[Name], Field(min_length=1), AfterValidator(distinct)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(distinct)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Edge = Annotated[int, Field(ge=1, le=8192)]
Sha256 = Annotated[str, Field(pattern=SHA256_PATTERN)]
Channels = tuple[float, float, float]


class Entry(BaseModel):
    """Base of all models of the configuration: immutable, finite numbers only, unknown keys
    refused. The docstring of a field is its description.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Put every description on one line, as tables and messages need it."""
        for field in cls.model_fields.values():
            field.description = field.description and " ".join(field.description.split())

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if problems := list(self._conflicts()):
            raise ValueError("\n".join(problems))
        return self

    def _conflicts(self) -> Iterator[str]:
        """Yield a sentence for everything that the keys say of each other and can't be."""
        yield from ()
