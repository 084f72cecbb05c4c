"""Typed models of the parts of an experiment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from wiseft.base import plugins
from wiseft.base.typed import NAME_PATTERN, Entry, Name, Names, Seeds, distinct
from wiseft.study import DRAWINGS

if TYPE_CHECKING:
    Draw = str
else:
    Draw = Literal[plugins.names(DRAWINGS)]

METHOD_PATTERN = NAME_PATTERN.removesuffix("$") + r"(?:__[A-Za-z0-9]+(?:[-.][A-Za-z0-9]+)*)?$"
MethodIds = Annotated[list[Annotated[str, Field(pattern=METHOD_PATTERN)]], AfterValidator(distinct)]


class Baselines(Entry):
    """Models trained from scratch on the reference dataset, to which the baseline fit is made."""

    model: Name
    """Model whose architecture is trained; its name without a seed."""
    methods: MethodIds = Field(min_length=1)
    """Methods with `init: random`."""
    seeds: Seeds = [0]
    """Training seeds."""


class FigureSettings(Entry):
    """One figure, drawn from the tidy table alone."""

    draw: Draw
    """Kind of drawing."""
    caption: str = ""
    """Caption in the report and the page: the figure's number in the paper, the tables with its
    numbers, and which numbers are published or measured."""
    options: dict[str, Any] = {}
    """Options of the drawing, such as `average`: one of the experiment's `averages`. `file` is your
    own file that the drawing needs, relative to the project's root. As long as it is missing, the
    figure is left out and the run reports that."""


class PublishedSettings(Entry):
    """Numbers of the paper that stand beside the measured ones, in the same table and pictures."""

    tables: Annotated[list[Annotated[int, Field(ge=1, le=13)]], AfterValidator(distinct)] = []
    """Numbers of the tables in the paper. If two tables give the same number, the first one counts.
    Table 3 is not allowed, because it holds differences."""
    models: Names = []
    """Models to take from the tables. If none are listed: all."""
    measured: Names = []
    """Experiments whose measured tables are added if they exist. Thus an experiment without runs
    can show measured numbers."""
    zero_shot: Name | None = None
    """Experiment whose measured zero-shot models the figures fit their line to, as soon as its
    table exists. It also covers the classes of each shift, for which open_clip publishes no
    numbers."""
    other_models: bool = False
    """Whether to draw models of other authors and the fits to them. `wiseft testbed` fetches their
    accuracies; before it has run, only the fitted lines are drawn."""
    # dumps of other experiments stay as they were
    successors: bool = Field(False, exclude_if=lambda value: not value)
    """Whether to add numbers of later papers (docs/paper.md)."""

    def _conflicts(self) -> Iterator[str]:
        if 3 in self.tables:
            yield "tables lists 3, but must not: its differences follow from 4 and 5"


class SamplesSettings(Entry):
    """Images of one class from every dataset, in place of one image of each of twelve classes."""

    of: str = Field(min_length=1)
    """Display name of a class of the reference."""
    images: Annotated[int, Field(ge=1, le=12)] = 6
    """Number of images from every dataset, drawn at random with a fixed seed."""
