"""What a drawing shows, in words of the tidy table: quantities, series and their points.

A series is what one legend entry stands for: rows of one method (and model, variant, ...) over the
alphas, over the runs, or as single points. Where a table holds published and measured rows of a
series, both are returned, so that both stand in the same picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
from pydantic import Field

from wiseft.base.typed import Entry
from wiseft.errors import WiseftError
from wiseft.figures.labels import FEW, accuracy_label, name_of
from wiseft.figures.select import matching, rows
from wiseft.figures.style import FAMILIES, Look
from wiseft.tabulate.intervals import with_intervals
from wiseft.tabulate.models import RUN, VALUES, mean_over_runs
from wiseft.tabulate.robustness import BaselineFit
from wiseft.tabulate.schema import AVERAGE_PREFIX, MEASURED, PUBLISHED

THROUGH = "-classes"
"""Ends the name of a view through another dataset's classes."""

HELD_OUT = "held-out"
"""The split in which the paper's choices are made."""
Texts = str | list[str]


class Quantity(Entry):
    """What an axis shows: the value of one metric on one dataset."""

    dataset: str
    """Dataset, or `avg:<name>`."""
    view: str = "all"
    """View of the dataset."""
    otherwise: str = ""
    """View to use if some series lacks `view`."""
    split: str = "test"
    """Split of the dataset."""
    label: str = ""
    """Label of the axis. Default: made from the names."""


class Series(Entry):
    """Rows of the table that belong together, and how they are drawn."""

    label: str = ""
    """Text in the legend. Default: the look's."""
    model: Texts | None = None
    """Model, or several; null: all."""
    method: Texts | None = None
    """Method, or several; null: all."""
    variant: Texts | None = None
    """Variant, or several in order; null: all."""
    best_of: list[str] = Field([])
    """Variants; the best one replaces `variant` if it is measured: the one whose fine-tuned end is
    best on held-out images of the reference, as the paper chooses among regularisers."""
    combination: str = "weight"
    """Combination: weight space, output space, ..."""
    source: Literal["published", "measured"] | None = None
    """Source of the numbers; null: published and measured ones."""
    where: dict[str, Any] = Field({})
    """Values of further columns of the table."""
    along: Literal["alpha", "runs", "points"] = "alpha"
    """Line to draw. `alpha`: through the alphas. `runs`: through the variants, in the given order.
    `points`: no line."""
    alphas: list[float] | None = None
    """Alphas to draw; null: all, or only 1 along `runs`."""
    tags: dict[str, str] = Field({})
    """Text beside a point, by its variant, or by its alpha, as in `0.500`."""
    tag_side: Literal["left", "above"] = "above"
    """Place of the tags."""
    look: str = ""
    """A look of `style`. Default: the method's."""

    @property
    def key(self) -> str:
        """Name under which the style finds the look."""
        return self.look or (self.method if isinstance(self.method, str) else self.label)

    @property
    def conditions(self) -> dict[str, Any]:
        """Columns and the values that they must have."""
        named = {"model": self.model, "method": self.method, "variant": self.variant}
        given = {name: value for name, value in named.items() if value is not None}
        return {**given, "combination": self.combination, "selection": "grid", **self.where}


@dataclass(frozen=True)
class Drawn:
    """One series of one source on the axes of a panel."""

    series: Series
    source: str
    look: Look
    points: pd.DataFrame
    beside: bool = (
        False  # whether the figure has measured numbers, behind which published ones stand
    )

    @property
    def name(self) -> str:
        """What marks are called in an SVG, after the source where there are two."""
        return f"{self.series.key}:{self.source}"

    @property
    def label(self) -> str:
        """Text in the legend."""
        return self.series.label or self.look.label

    @property
    def joined(self) -> bool:
        """Whether a line joins the points."""
        if self.series.along == "alpha":
            return self.points["alpha"].nunique() > FEW
        return self.series.along == "runs" and self.points["variant"].nunique() > 1

    @property
    def faded(self) -> bool:
        """Whether published numbers stand back behind measured ones."""
        return self.beside and self.source == PUBLISHED

    @property
    def start(self) -> tuple[float, float] | None:
        """Where the zero-shot model stands, if the series goes out from one."""
        first = mean_over_runs(self.points).iloc[0]
        if self.series.along == "runs" or first["alpha"] > 0:
            return None
        return float(first["value_x"]), float(first["value_y"])


def quantity(given: str | Quantity) -> Quantity:
    """Return a quantity, of which a bare name is the dataset."""
    return Quantity(dataset=given) if isinstance(given, str) else given


def sources_of(table: pd.DataFrame, series: Series, *axes: Quantity) -> list[str]:
    """Return the sources that have rows of a series on all axes, measured ones last and so on top.

    There may be none: an experiment that has not been run leaves its points to the paper's tables.
    """
    sources = [series.source] if series.source is not None else [PUBLISHED, MEASURED]
    return [source for source in sources if len(_runs_on(table, series, source, *axes))]


def _runs_on(table: pd.DataFrame, series: Series, source: str, *axes: Quantity) -> pd.DataFrame:
    """Return the rows of a series' runs that have values on all axes; maybe none."""
    wanted = {**series.conditions, "source": source}
    if series.best_of and source == MEASURED:
        wanted["variant"] = [*series.best_of, *_listed(series.variant)]
    found = matching(table, **wanted)
    for of in axes:
        on = (found["dataset"] == of.dataset) & (found["split"] == of.split)
        there = found.loc[on & (found["view"] == of.view), "run"]
        found = found[found["run"].isin(there)]
    return found


def _listed(variant: Texts | None) -> list[str]:
    return [variant] if isinstance(variant, str) else variant or []


def chosen(table: pd.DataFrame, series: Series, source: str, *axes: Quantity) -> Series:
    """Return a series with the best of its variants in place of `variant`, if any is measured.

    Only runs that have values on the axes count: those of another reference are no candidates.
    """
    found = _runs_on(table, series, source, *axes)
    end = found[found["variant"].isin(series.best_of) & (found["alpha"] == 1.0)]
    if source != MEASURED or end.empty:
        return series
    held_out = end[(end["dataset"] == end["reference"]) & (end["split"] == HELD_OUT)]
    scores = held_out.groupby("variant")["value"].mean()
    best = scores.idxmax() if len(scores) else end["variant"].iloc[0]
    return series.model_copy(update={"variant": best, "best_of": []})


def values(table: pd.DataFrame, series: Series, source: str, of: Quantity) -> pd.DataFrame:
    """Return the points of a series: one row a run and alpha, sorted.

    Columns: model, variant, run, seed, alpha, value, ci_low, ci_high (fractions). A published
    share has no interval in the table; it gets Clopper and Pearson's of the rounded value where
    the number of samples is known.

    Raises:
        WiseftError: if there is no such row, if published tables contradict each other, or if
            there are several rows of a run and alpha.
    """
    conditions = {**series.conditions, "source": source, "dataset": of.dataset}
    conditions |= {"split": of.split, "view": of.view}
    points = rows(table, **conditions)
    alphas = [1.0] if series.along == "runs" and series.alphas is None else series.alphas
    if alphas is not None:
        points = rows(points, alpha=[round(alpha, 3) for alpha in alphas])
    key = [*RUN, "alpha"]
    points = with_intervals(points[[*key, *VALUES, "ci_method", "metric", "n", "experiment"]])
    points = points.drop_duplicates([*key, "metric", "value"])  # tables repeat each other's rows
    if points.duplicated(key).any():
        first = points[points.duplicated(key)].iloc[0]
        raise WiseftError(
            f"{source} rows of run {first['run']} have several values on {of.dataset} at alpha "
            f"{first['alpha']}, of metrics {', '.join(sorted(points['metric'].unique()))} and "
            f"experiments {', '.join(sorted(points['experiment'].unique()))}; choose one with "
            "`where`"
        )
    return points[[*key, *VALUES]].sort_values(key, ignore_index=True)


def paired(
    table: pd.DataFrame, series: Series, source: str, x: Quantity, y: Quantity
) -> pd.DataFrame:
    """Return the points of a series on two axes: columns as `values`, with `_x` and `_y`.

    Of published numbers, alphas that only one of the two has are left out.

    Raises:
        WiseftError: as `values`, or if a measured run has an alpha for one of the two only, or if
            no alpha is common.
    """
    series = chosen(table, series, source, x, y)
    both = [values(table, series, source, of) for of in (x, y)]
    on = ["model", "variant", "seed", "alpha"]
    joined = both[0].merge(both[1].drop(columns="run"), on=on, suffixes=("_x", "_y"))
    complete = len(joined) == len(both[0]) == len(both[1])
    if joined.empty or (source == MEASURED and not complete):
        raise WiseftError(
            f"{source} rows of {series.key or 'a series'} have other runs or alphas on {x.dataset} "
            f"(view {x.view}, split {x.split}) than on {y.dataset} (view {y.view}, split "
            f"{y.split}); rerun the stages evaluate and tabulate"
        )
    return joined


@dataclass(frozen=True)
class Family:
    """Models of one kind on one pair of axes.

    Attributes:
        name: the method of their rows.
        points: x, y (fractions) of each model; empty where the accuracies are not at hand.
        fits: lines in logit space: none, one, or the two pieces of a line with a knee.
        at_hand: whether the table has the models.
        source: whether their accuracies are measured or published.
    """

    name: str
    points: pd.DataFrame
    fits: list[BaselineFit] = field(default_factory=list)
    at_hand: bool = False
    source: str = PUBLISHED

    @property
    def look(self) -> Look:
        """Colour, marker and line."""
        return FAMILIES[self.name]


def axis_label(of: Quantity, titles: Mapping[str, str]) -> str:
    """Return the label of an axis: dataset, and the classes that it is restricted to."""
    if of.label:
        return of.label
    label = accuracy_label(of.dataset, titles)
    if of.view.endswith(THROUGH) and not of.dataset.startswith(AVERAGE_PREFIX):
        label += f",\nclasses of {name_of(of.view.removesuffix(THROUGH), titles)}"
    return label
