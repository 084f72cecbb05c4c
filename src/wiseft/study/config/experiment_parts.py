"""Typed models of the parts of an experiment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from wiseft.base import plugins
from wiseft.base.typed import NAME_PATTERN, Entry, Name, Names, Seeds, distinct

if TYPE_CHECKING:
    Draw = str
else:
    Draw = Literal[plugins.names(plugins.DRAWINGS)]

METHOD_PATTERN = NAME_PATTERN.removesuffix("$") + r"(?:__[A-Za-z0-9]+(?:[-.][A-Za-z0-9]+)*)?$"
MethodIds = Annotated[list[Annotated[str, Field(pattern=METHOD_PATTERN)]], AfterValidator(distinct)]


class Baselines(Entry):
    """Models trained from scratch on the reference dataset, through which the baseline fit goes."""

    model: Name
    """Model entry whose architecture is trained; without a seed."""
    methods: MethodIds = Field(min_length=1)
    """Methods with `init: random`."""
    seeds: Seeds = [0]
    """Training seeds."""


class FigureSettings(Entry):
    """One figure, drawn from the tidy table alone."""

    draw: Draw
    """What is drawn."""
    caption: str = ""
    """What the figure shows: its number in the paper, the tables its numbers are from, what is
    published and what is measured. Stands in the report and in the page."""
    options: dict[str, Any] = {}
    """Options of the drawing, such as `average`: one of the experiment's `averages`. `file` is a
    file of yours that the drawing needs, relative to the project's root; until it is there, the
    figure is left out, and the run says so."""


class PublishedSettings(Entry):
    """Numbers of the paper that stand beside the measured ones, in the same table and pictures."""

    tables: Annotated[list[Annotated[int, Field(ge=1, le=13)]], AfterValidator(distinct)] = []
    """Tables of the paper, in order of precedence where two give a number; any but 3, which holds
    differences."""
    models: Names = []
    """Only these models of the tables; none listed: all."""
    measured: Names = []
    """Experiments whose tables are joined where they are there, so that measured numbers stand in
    the pictures of an experiment without runs."""
    zero_shot: Name | None = None
    """Experiment whose zero-shot models, as measured, the figures draw their line through, once its
    table is there: on the classes of each shift as well, where open_clip publishes nothing."""
    other_models: bool = False
    """Whether models of other authors are drawn, through which the fits go: those of `wiseft
    testbed` or, until it was run, their fitted lines."""
    # dumps of other experiments stay as they were
    successors: bool = Field(False, exclude_if=lambda value: not value)
    """Whether numbers of later papers are joined (docs/paper.md)."""

    def _conflicts(self) -> Iterator[str]:
        if 3 in self.tables:
            yield "tables lists 3, but must not: its differences follow from 4 and 5"


class SamplesSettings(Entry):
    """Images of one class from every dataset, in place of one image of each of twelve classes."""

    of: str = Field(min_length=1)
    """Display name of a class of the reference."""
    images: Annotated[int, Field(ge=1, le=12)] = 6
    """Images of every dataset, drawn at random by a fixed seed."""
