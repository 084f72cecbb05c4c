"""Each bar is one number of the table. A single run is drawn with its 95 % interval, if it has
one; several runs are drawn as their mean with the range of the runs. The legend explains colours
and hatching.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from pydantic import Field

from wiseft.base.typed import Entry
from wiseft.errors import WiseftError
from wiseft.figures.axes import panel_grid
from wiseft.figures.legend import place_legend
from wiseft.figures.select import matching, rows
from wiseft.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, Style
from wiseft.tabulate.models import RUN

FILLS = ((BLUE, ""), (ORANGE, "////"), (GREEN, "...."), (GREY, "xxxx"), (PURPLE, "----"))
"""Colour and hatching of the series in their order."""
BAR_SHARE = 0.8
Bar = tuple[float, float, float]
"""Height and the ends of the error bar, NaN for none."""
NO_BAR: Bar = (math.nan, math.nan, math.nan)
HEIGHT = 1.8
"""Inches of a row."""


class BarSeries(Entry):
    """Bars of one colour."""

    label: str = Field(description="Text in the legend.")
    where: dict[str, Any] = Field({}, description="Columns of the table and their values.")


class BarPanel(Entry):
    """One pair of axes."""

    title: str = Field("", description="Text above the panel.")
    ylabel: str = Field("", description="Label of the y axis.")
    where: dict[str, Any] = Field({}, description="Columns of the table and their values.")


def draw(
    table: pd.DataFrame,
    style: Style,
    *,
    across: Literal["dataset", "model", "method", "variant"],
    names: list[str],
    panels: list[BarPanel],
    series: list[BarSeries],
    labels: dict[str, str] | None = None,
    columns: int = 3,
) -> Figure:
    """Draw grouped bars.

    Args:
        table: the tidy table.
        style: looks and widths.
        across: the column whose values are written below the bars.
        names: these values in reading order; values without measurements are left out.
        panels: the axes and their content, e.g. one metric or one dataset each.
        series: bars beside each other; an interval is drawn where one run has one, else the range
            of the runs.
        labels: texts to write instead of `names`.
        columns: number of panels in a row.

    Raises:
        WiseftError: if there is no bar, or rows of a run contradict each other.
    """
    if len(series) > len(FILLS):
        raise WiseftError(f"option series has {len(series)} entries, but may have {len(FILLS)}")
    bars = [[_bars(table, panel, each, across, names) for each in series] for panel in panels]
    shown = [at for at in range(len(names)) if any(at in found for one in bars for found in one)]
    if not shown:  # say which condition leaves no row
        rows(table, **{**panels[0].where, **series[0].where, across: names})
    figure, axes = panel_grid(style, len(panels), columns, HEIGHT)
    texts = [(labels or {}).get(names[at], names[at]) for at in shown]
    for ax, panel, of_series in zip(axes, panels, bars, strict=True):
        for place, (each, found) in enumerate(zip(series, of_series, strict=True)):
            heights = [found.get(at, NO_BAR) for at in shown]
            draw_bars(ax, heights, place, len(series), each.label)
        ax.axhline(0, color=BLACK, linewidth=0.6, zorder=3, gid="zero")
        name_bars(ax, texts)
        ax.set_title(panel.title, loc="left", fontweight="bold")
        ax.set_ylabel(panel.ylabel)
    place_bar_legend(figure, [each.label for each in series])
    return figure


def _bars(
    table: pd.DataFrame, panel: BarPanel, series: BarSeries, across: str, names: list[str]
) -> dict[int, Bar]:
    """Return the bars of a series that are measured, by their place among the names."""
    here = matching(table, **{**panel.where, **series.where, across: names})
    there = set(here[across])
    return {at: bar(here, {across: name}) for at, name in enumerate(names) if name in there}


def name_bars(ax: Axes, texts: list[str]) -> None:
    """Write slanted texts below the bars."""
    ax.set_xticks(range(len(texts)), texts, rotation=40, ha="right", rotation_mode="anchor")
    ax.grid(visible=False, axis="x")


def place_bar_legend(figure: Figure, labels: Iterable[str]) -> None:
    """Put the legend of the series below the panels."""
    handles = [
        Patch(facecolor=color, hatch=hatch, edgecolor="white", label=label)
        for label, (color, hatch) in zip(labels, FILLS, strict=False)
    ]
    place_legend(figure, handles, 2)


def bar(table: pd.DataFrame, conditions: dict[str, Any]) -> Bar:
    """Return a bar's height and the ends of its error bar, NaN for none.

    Raises:
        WiseftError: if there is no row, or several of one run.
    """
    runs = rows(table, **conditions)
    if runs.duplicated([*RUN, "source"]).any():
        columns = ", ".join(sorted(runs.columns[runs.nunique(dropna=False) > 1]))
        raise WiseftError(
            f"{' and '.join(f'{k} {v!r}' for k, v in conditions.items())} leaves several rows of a "
            f"run, which differ in {columns}; name one of them in `where`"
        )
    value = runs["value"]
    if len(runs) == 1:
        return float(value.iloc[0]), float(runs["ci_low"].iloc[0]), float(runs["ci_high"].iloc[0])
    return float(value.mean()), float(value.min()), float(value.max())


def draw_bars(
    ax: Axes,
    bars: list[Bar],
    place: int,
    n_series: int,
    label: str,
    fill: tuple[str, str] | None = None,
) -> None:
    """Draw one series of bars and its error bars.

    Args:
        ax: axes whose x axis counts the names from 0.
        bars: height and ends of the error bar of each, as :func:`bar` returns them.
        place: of the series among `n_series`.
        label: ends the `gid` of every bar.
        fill: colour and hatching; by default those of the series' place.
    """
    width = BAR_SHARE / n_series
    x = np.arange(len(bars)) + (place - (n_series - 1) / 2) * width
    heights, low, high = np.array(bars).T
    color, hatch = fill or FILLS[place]
    for patch in ax.bar(
        x, heights, width, color=color, hatch=hatch, edgecolor="white", linewidth=0.3
    ):
        patch.set_gid(f"bar:{label}")
    known = ~np.isnan(low)
    if known.any():
        ax.errorbar(
            x[known],
            heights[known],
            yerr=np.array([heights - low, high - heights])[:, known],
            fmt="none",
            ecolor=BLACK,
            elinewidth=0.7,
            capsize=1.2,
        )
