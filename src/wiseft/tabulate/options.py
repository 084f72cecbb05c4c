"""What an experiment says of its statistics; light, because the configuration reads it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from wiseft.base.typed import Entry, Name, Seed


class HeldOut(Entry):
    """Where alpha may be chosen: samples that neither training nor the test sees."""

    dataset: Name = Field(description="Dataset, one of `datasets`.")
    split: Name = Field(description="Split of it, one that is evaluated.")


class ReferenceSplit(Entry):
    """Where the reference is itself, if its test split is a shift of it, as in WILDS."""

    split: Name = Field(description="Split of the reference that is in distribution.")
    shift_view: Name = Field("all", description="View of the test split that is reported.")


class Bootstrap(Entry):
    """Intervals of averages and of paired differences."""

    resamples: Annotated[int, Field(ge=100)] = Field(2000, description="Bootstrap resamples.")
    seed: Seed = Field(0, description="Seed of the resampling.")
