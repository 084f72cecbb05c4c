"""The marks that the figures share: a curve over alpha with its points, ends and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from wiseft.figures.select import FIXED_ALPHA, each_run, mean_over_runs
from wiseft.figures.style import ZERO_SHOT, Look

SELECTED_ALPHAS = (0.0, FIXED_ALPHA, 1.0)
"""Points that get a 95 % interval: zero-shot, the fixed alpha and fine-tuned."""


def draw_curve(
    ax: Axes,
    found: pd.DataFrame,
    look: Look,
    name: str,
    scale: float = 1.0,
    each: bool = False,
    alphas: Sequence[float] = SELECTED_ALPHAS,
    join: bool = True,
) -> None:
    """Draw the mean over runs with a marker an alpha, and each run as a thin line.

    Args:
        ax: axes of fractions.
        found: columns as :func:`wiseft.figures.select.paired_curve`.
        look: colour, marker and line.
        name: ends the `gid` of every mark, by which tests and readers of an SVG find it.
        scale: factor of widths and sizes.
        each: whether the runs are drawn as well.
        alphas: points that get an interval.
        join: whether a line joins the points.
    """
    runs = each_run(found)
    if each and join and len(runs) > 1:
        for run in runs:
            ax.plot(
                run["value_x"],
                run["value_y"],
                color=look.color,
                linewidth=0.5,
                alpha=0.4,
                zorder=2,
                gid=f"run:{name}",
            )
    mean = mean_over_runs(found)
    inner = mean[mean["alpha"] > 0]
    if join:
        ax.plot(
            mean["value_x"],
            mean["value_y"],
            color=look.color,
            linestyle=look.linestyle,
            linewidth=1.3 * scale,
            zorder=4,
            gid=f"mean:{name}",
        )
    ax.plot(
        inner["value_x"],
        inner["value_y"],
        color=look.color,
        marker=look.marker,
        markersize=3.4 * scale,
        linestyle="none",
        zorder=5,
        gid=f"markers:{name}",
    )
    draw_selected(ax, mean, look, name, scale, alphas)


def draw_selected(
    ax: Axes,
    mean: pd.DataFrame,
    look: Look,
    name: str,
    scale: float = 1.0,
    alphas: Sequence[float] = SELECTED_ALPHAS,
) -> None:
    """Draw intervals at the selected alphas, and larger markers at the fixed one and at 1."""
    for record in mean[mean["alpha"].isin(alphas)].to_dict("records"):
        point = {str(column): float(number) for column, number in record.items()}
        x, y, alpha = point["value_x"], point["value_y"], point["alpha"]
        draw_interval(ax, point, look.color if alpha > 0 else ZERO_SHOT.color, scale)
        if alpha == 0:
            continue
        fixed = alpha == FIXED_ALPHA
        ax.plot(
            [x],
            [y],
            marker=look.marker,
            markersize=6.5 * scale,
            markerfacecolor="white" if fixed else look.color,
            markeredgecolor=look.color,
            markeredgewidth=1.5 * scale,
            linestyle="none",
            zorder=7,
            gid=f"{'fixed' if fixed else 'fine-tuned'}:{name}",
        )


def draw_interval(ax: Axes, point: dict[str, float], color: str, scale: float = 1.0) -> None:
    """Draw the intervals of a point on both axes, each where it is known."""
    x, y = point["value_x"], point["value_y"]
    ends: dict[str, Any] = {}
    if not np.isnan(point["ci_low_x"]):
        ends["xerr"] = [[x - point["ci_low_x"]], [point["ci_high_x"] - x]]
    if not np.isnan(point["ci_low_y"]):
        ends["yerr"] = [[y - point["ci_low_y"]], [point["ci_high_y"] - y]]
    if ends:
        ax.errorbar(
            x,
            y,
            **ends,
            fmt="none",
            ecolor=color,
            elinewidth=0.8 * scale,
            capsize=1.8 * scale,
            capthick=0.8 * scale,
            zorder=6,
        )


def draw_star(ax: Axes, x: float, y: float, scale: float = 1.0) -> None:
    """Draw the zero-shot model."""
    ax.plot(
        [x],
        [y],
        marker=ZERO_SHOT.marker,
        markersize=11 * scale,
        color=ZERO_SHOT.color,
        markeredgecolor="white",
        markeredgewidth=0.5,
        linestyle="none",
        zorder=8,
        gid="zero-shot",
    )


def legend_line(label: str, look: Look, **more: Any) -> Line2D:
    """Return a legend entry in a look; keyword arguments replace settings of the line."""
    settings = {
        "color": look.color,
        "marker": look.marker,
        "linestyle": look.linestyle,
        "markersize": 3.4,
    }
    return Line2D([], [], label=label, **(settings | more))
