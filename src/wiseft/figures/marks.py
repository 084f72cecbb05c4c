"""The marks that the figures share: a curve over alpha with its points, ends and intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from wiseft.figures.select import FIXED_ALPHA
from wiseft.figures.style import ZERO_SHOT, Look
from wiseft.tabulate.models import each_run, mean_over_runs

SELECTED_ALPHAS = (0.0, FIXED_ALPHA, 1.0)
"""Points that get a 95 % interval: zero-shot, the fixed alpha and fine-tuned."""

TAG_SIDES: dict[str, tuple[tuple[int, int], str, str]] = {
    "left": ((-8, 0), "right", "center"),
    "above": ((0, 5), "center", "bottom"),
}
"""Offset in points and alignment of a tag."""


def plot(ax: Axes, points: pd.DataFrame, name: str, zorder: int, **style: Any) -> None:
    """Plot points of fractions whose columns are as :func:`wiseft.figures.select.paired_curve`.

    `name` is the `gid` of the mark, by which tests and readers of an SVG find it.
    """
    ax.plot(points["value_x"], points["value_y"], gid=name, zorder=zorder, **style)


def draw_curve(
    ax: Axes,
    curve: pd.DataFrame,
    look: Look,
    name: str,
    scale: float = 1.0,
    each: bool = False,
    join: bool = True,
) -> None:
    """Draw the mean over runs with a marker an alpha, and each run as a thin line.

    Args:
        ax: axes of fractions.
        curve: columns as :func:`wiseft.figures.select.paired_curve`.
        look: colour, marker and line.
        name: ends the `gid` of every mark.
        scale: factor of widths and sizes.
        each: whether the runs are drawn as well.
        join: whether a line joins the points.
    """
    runs = each_run(curve)
    if each and join and len(runs) > 1:
        for run in runs:
            plot(ax, run, f"run:{name}", 2, **look.line, linewidth=0.5, alpha=0.4)
    mean = mean_over_runs(curve)
    if join:
        plot(ax, mean, f"mean:{name}", 4, **look.line, linewidth=1.3 * scale)
    plot(ax, mean[mean["alpha"] > 0], f"markers:{name}", 5, **look.points, markersize=3.4 * scale)
    _draw_selected(ax, mean, look, name, scale)


def _draw_selected(ax: Axes, mean: pd.DataFrame, look: Look, name: str, scale: float) -> None:
    """Draw intervals at the selected alphas, and larger markers at the fixed one and at 1."""
    for point in mean[mean["alpha"].isin(SELECTED_ALPHAS)].to_dict("records"):
        alpha = point["alpha"]
        draw_interval(ax, point, look.color if alpha > 0 else ZERO_SHOT.color, scale)
        if alpha == 0:
            continue
        fixed = alpha == FIXED_ALPHA
        ax.plot(
            [point["value_x"]],
            [point["value_y"]],
            marker=look.marker,
            markersize=6.5 * scale,
            markerfacecolor="white" if fixed else look.color,
            markeredgecolor=look.color,
            markeredgewidth=1.5 * scale,
            linestyle="none",
            zorder=7,
            gid=f"{'fixed' if fixed else 'fine-tuned'}:{name}",
        )


def draw_interval(ax: Axes, point: Mapping[Any, Any], color: str, scale: float = 1.0) -> None:
    """Draw the intervals of a point on both axes, each where it is known; one that ends at 0 or 1
    goes to the edge of a logit axis.
    """
    ends: dict[str, Any] = {}
    for axis in ("x", "y"):
        low, value, high = (point[f"{name}_{axis}"] for name in ("ci_low", "value", "ci_high"))
        if not np.isnan(low):
            if getattr(ax, f"get_{axis}scale")() == "logit":  # where 0 and 1 are infinitely far
                view = getattr(ax, f"get_{axis}lim")()
                low = low if low > 0 else min(view[0], value)
                high = high if high < 1 else max(view[1], value)
            ends[f"{axis}err"] = [[value - low], [high - value]]
    if ends:
        ax.errorbar(
            point["value_x"],
            point["value_y"],
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
        **ZERO_SHOT.points,
        markersize=11 * scale,
        markeredgecolor="white",
        markeredgewidth=0.5,
        zorder=8,
        gid="zero-shot",
    )


def draw_tag(ax: Axes, text: str, at: tuple[float, float], look: Look, side: str) -> None:
    """Write what a point is beside it, on a side of `TAG_SIDES`."""
    offset, ha, va = TAG_SIDES[side]
    how: dict[str, Any] = {"textcoords": "offset points", "ha": ha, "va": va, "fontsize": 6}
    ax.annotate(text, at, offset, color=look.color, zorder=9, **how).set_gid("tag")


def legend_line(label: str, look: Look, **more: Any) -> Line2D:
    """Return a legend entry in a look; keyword arguments replace settings of the line."""
    settings = {**look.line, "marker": look.marker, "markersize": 3.4, **more}
    return Line2D([], [], label=label, **settings)
