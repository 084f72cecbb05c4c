"""Accuracy against alpha on every dataset (the paper's Figure 6).

Observation 1 of the paper: the curve lies above the chord between its ends. Observation 2: some
alpha beats both ends, i.e. the curve rises above the better end's level.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wiseft.errors import WiseftError
from wiseft.figures.axes import percent_axis
from wiseft.figures.select import (
    FIXED_ALPHA,
    curve,
    each_run,
    grid_rows,
    has_output_space,
    mean_over_runs,
    methods_of,
    reference_of,
    shifts_of,
)
from wiseft.figures.style import BLACK, DASHDOT, GREY, OUTPUT_SPACE, Look, Style

COLUMNS = 3
CHORD = Look("chord between the ends", GREY, "", "-")
BETTER_END = Look("better end", BLACK, "", DASHDOT)


def draw(
    table: pd.DataFrame,
    style: Style,
    *,
    datasets: list[str] | None = None,
    groups: dict[str, list[str]] | None = None,
    labels: dict[str, str] | None = None,
    methods: list[str] | None = None,
    output_space: bool = True,
    source: str = "measured",
    split: str = "test",
    view: str = "all",
) -> Figure:
    """Draw one panel a dataset; all panels span equally many percentage points.

    Args:
        table: the tidy table.
        style: looks and widths.
        datasets: panels in reading order; by default the reference, then the groups' members or,
            without groups, all other datasets.
        groups: datasets by a word that stands in the corner of their panels, e.g. `natural`.
        labels: panel titles that differ from the dataset's name.
        methods: methods to draw; by default all of the table. Chord, better end and output-space
            ensemble belong to the first.
        output_space: whether the output-space ensemble is drawn.
        source, split, view: which rows of the table.

    Raises:
        WiseftError: if the selection is empty or not one curve a run.
    """
    grid = grid_rows(table, source, split, view)
    chosen = methods_of(grid, methods)
    looks = style.looks(chosen)
    members = [name for group in (groups or {}).values() for name in group]
    names = datasets or [reference_of(grid), *(members or shifts_of(grid))]
    corners = _corners(groups or {}, reference_of(grid), names)
    n_columns = min(COLUMNS, len(names))
    n_rows = math.ceil(len(names) / n_columns)
    figure = Figure(figsize=(style.page_width, 1.75 * n_rows + 0.6), layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True)
    with_output = output_space and has_output_space(grid, chosen[0])
    for ax, name in zip(panels.flat, names, strict=False):
        _draw_panel(ax, grid, name, looks, with_output)
        ax.set_title((labels or {}).get(name, name), loc="left", fontweight="bold")
        ax.set_title(corners[name], loc="right", color="#555555")
    _span_alike(list(panels.flat[: len(names)]))
    for ax in panels.flat[len(names) :]:
        ax.set_axis_off()
    for ax in panels.flat[max(0, len(names) - n_columns) : len(names)]:
        ax.set_xlabel("α")
        ax.tick_params(labelbottom=True)
    for ax in panels[:, 0]:
        ax.set_ylabel("Accuracy (%)")
    figure.legend(handles=_legend(looks, with_output), loc="outside lower center", ncols=3)
    return figure


def _corners(groups: dict[str, list[str]], reference: str, names: list[str]) -> dict[str, str]:
    """Return the word in each panel's corner.

    Raises:
        WiseftError: if a group lists a dataset that has no panel.
    """
    unknown = sorted({m for members in groups.values() for m in members} - set(names))
    if unknown:
        raise WiseftError(
            f"option groups lists {', '.join(unknown)}, but the panels are {', '.join(names)}"
        )
    words = {member: word for word, members in groups.items() for member in members}
    return {name: words.get(name, "reference" if name == reference else "") for name in names}


def _draw_panel(
    ax: Axes, grid: pd.DataFrame, dataset: str, looks: dict[str, Look], output_space: bool
) -> None:
    first = next(iter(looks))
    ends = mean_over_runs(curve(grid, dataset, first)).iloc[[0, -1]]
    ax.plot(
        ends["alpha"],
        ends["value"],
        color=CHORD.color,
        linewidth=0.8,
        zorder=2,
        gid="chord",
    )
    ax.axhline(
        ends["value"].max(),
        color=BETTER_END.color,
        linestyle=BETTER_END.linestyle,
        linewidth=0.6,
        zorder=2,
        gid="better-end",
    )
    if output_space:
        mean = mean_over_runs(curve(grid, dataset, first, "output"))
        ax.plot(
            mean["alpha"],
            mean["value"],
            color=OUTPUT_SPACE.color,
            linestyle=OUTPUT_SPACE.linestyle,
            linewidth=1.4,
            zorder=3,
            gid="output",
        )
    for method, look in reversed(looks.items()):
        _draw_curve(ax, curve(grid, dataset, method), look, method)
    percent_axis(ax.yaxis)
    ax.set_xlim(-0.04, 1.04)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])


def _draw_curve(ax: Axes, found: pd.DataFrame, look: Look, method: str) -> None:
    """Draw the mean over runs with 95 % intervals, and the range of the runs as a band."""
    mean = mean_over_runs(found)
    if len(each_run(found)) > 1:
        spread = found.groupby("alpha")["value"].agg(["min", "max"])
        ax.fill_between(
            spread.index, spread["min"], spread["max"], color=look.color, alpha=0.2, linewidth=0
        )
    ax.errorbar(
        mean["alpha"],
        mean["value"],
        yerr=[mean["value"] - mean["ci_low"], mean["ci_high"] - mean["value"]],
        fmt="none",
        ecolor=look.color,
        elinewidth=0.6,
        capsize=1.2,
        capthick=0.6,
        alpha=0.8,
        zorder=4,
    )
    ax.plot(
        mean["alpha"],
        mean["value"],
        color=look.color,
        linestyle=look.linestyle,
        marker=look.marker,
        markersize=2.8,
        linewidth=1.0,
        zorder=5,
        gid=f"mean:{method}",
    )
    fixed = mean[mean["alpha"] == FIXED_ALPHA]
    ax.plot(
        fixed["alpha"],
        fixed["value"],
        marker=look.marker,
        markersize=5.2,
        markerfacecolor="white",
        markeredgecolor=look.color,
        markeredgewidth=1.3,
        linestyle="none",
        zorder=6,
        gid=f"fixed:{method}",
    )


def _span_alike(panels: list[Axes]) -> None:
    """Give all panels the same number of percentage points, each centred on what it shows."""
    limits = [ax.get_ylim() for ax in panels]
    span = max(high - low for low, high in limits)
    step = next((s for s in (0.01, 0.02, 0.05, 0.1, 0.2) if span / s <= 6), 0.2)
    for ax, (low, high) in zip(panels, limits, strict=True):
        middle = (low + high) / 2
        top = min(middle + span / 2, 1 + 0.04 * span)
        bottom = max(top - span, -0.04 * span)
        ax.set_ylim(bottom, top)
        ticks = np.arange(math.ceil(bottom / step), math.floor(top / step) + 1) * step
        ax.set_yticks([tick for tick in ticks if -1e-9 <= tick <= 1 + 1e-9])


def _legend(looks: dict[str, Look], output_space: bool) -> list[Any]:
    def line(look: Look, label: str | None = None, **more: Any) -> Line2D:
        settings: dict[str, Any] = {
            "color": look.color,
            "marker": look.marker,
            "linestyle": look.linestyle,
            "markersize": 3.2,
            "linewidth": 1.0,
        }
        return Line2D([], [], label=label or look.label, **(settings | more))

    first = next(iter(looks.values()))
    handles = [line(look) for look in looks.values()]
    highlighted = {"linestyle": "none", "markersize": 5.2, "markerfacecolor": "white"}
    handles.append(line(first, f"α = {FIXED_ALPHA}", **highlighted))
    if output_space:
        handles.append(line(OUTPUT_SPACE, f"{OUTPUT_SPACE.label}, {next(iter(looks))}"))
    handles += [line(look, f"{look.label}, {next(iter(looks))}") for look in (CHORD, BETTER_END)]
    return handles
