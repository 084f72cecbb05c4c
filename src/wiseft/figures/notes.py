"""Fits, arrows and texts inside a panel: gains, effective robustness, and what a point is."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from wiseft.base.typed import Entry
from wiseft.errors import WiseftError
from wiseft.figures.marks import draw_tag
from wiseft.figures.series import Family, Series
from wiseft.figures.style import BEYOND, BLACK, GREY, Look
from wiseft.tabulate.robustness import BaselineFit

STANDARD = "standard"
"""The family over whose line effective robustness is measured."""
Point = tuple[float, float]
Place = tuple[int, float]
"""A series by its place in the panel's list, counted from 0, and an alpha."""

BEHIND = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6}
"""Under a text, so that it stays readable over marks."""


class Arrow(Entry):
    """An arrow from one point to another, with the gains on both axes beside it."""

    start: Place
    """Start of the arrow: [series, alpha]."""
    end: Place
    """End of the arrow: [series, alpha]."""
    text: Literal["start", "middle"] = "start"
    """Part of the arrow to whose left the gains are written."""


class Robustness(Entry):
    """A point whose effective robustness is shown as an arrow up from the standard models' line."""

    of: Place
    """Point to show: [series, alpha]."""
    side: Literal["left", "right"] = "left"
    """Side of the text."""


def points_text(difference: float) -> str:
    """Return a difference of fractions in signed percentage points."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def draw_arrow(ax: Axes, arrow: Arrow, start: Point, end: Point) -> None:
    """Draw an arrow between two points (fractions) and write what is gained on x and on y."""
    style = {"arrowstyle": "-|>", "color": BLACK, "linewidth": 0.9, "shrinkA": 4, "shrinkB": 5}
    ax.annotate("", xy=end, xytext=start, arrowprops=style, zorder=9).set_gid("arrow")
    gains = [points_text(there - here) for here, there in zip(start, end, strict=True)]
    share, aside, lift = 0.0, "center", 0
    if arrow.text == "middle":  # off the line, which is slanted
        rising = (end[0] - start[0]) * (end[1] - start[1]) > 0
        share, aside, lift = (0.5, "bottom", 5) if rising else (0.5, "top", -5)
    ax.annotate(
        f"{gains[0]} pp (x)\n{gains[1]} pp (y)",
        xy=_between(ax, start, end, share),
        xytext=(-9, lift),
        textcoords="offset points",
        ha="right",
        va=aside,
        fontsize=6.5,
        bbox=BEHIND,
        zorder=9,
    ).set_gid("arrow-text")


def _between(ax: Axes, start: Point, end: Point, share: float) -> Point:
    """Return the point that lies a share of the way from one to another, as the axes show it."""
    ends = ax.transData.transform([start, end])
    x, y = ax.transData.inverted().transform((1 - share) * ends[0] + share * ends[1])
    return float(x), float(y)


def draw_fit(ax: Axes, fit: BaselineFit, look: Look, **style: Any) -> None:
    """Draw a line through models with its 95 % band where these models are and nowhere else."""
    x = np.linspace(fit.x_min, fit.x_max, 200)
    low, high = fit.band(x)
    ax.fill_between(x, low, high, color=look.color, alpha=0.15, linewidth=0, zorder=1)
    ax.plot(x, fit.predict(x), color=look.color, linewidth=1.0, **style)


def draw_robustness(ax: Axes, settings: Robustness, point: Point, families: list[Family]) -> bool:
    """Draw an arrow from the family's line up to a point, with its length beside it.

    Return whether the line had to be continued beyond the models it fits: a star marks the value
    then, and that part of the line is dotted.

    Raises:
        WiseftError: if the panel has no line of that family.
    """
    fits = [fit for family in families if family.name == STANDARD for fit in family.fits]
    if not fits:
        raise WiseftError(
            f"effective robustness needs the line of the family {STANDARD}, which the panel "
            "lacks; list it in `families`, with an x axis for which there is a line"
        )
    x, y = point
    fit = next((each for each in fits if each.x_min <= x <= each.x_max), fits[-1])
    base = float(fit.predict(x))
    outside = bool(fit.extrapolated(x))
    if outside:
        rest = np.array([fit.x_max if x > fit.x_max else fit.x_min, x])
        ax.plot(rest, fit.predict(rest), **BEYOND, zorder=2, gid="beyond")
    left = settings.side == "left"
    style = {"arrowstyle": "<|-|>", "color": GREY, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 4}
    low, high = sorted(ax.get_ylim())
    foot = min(max(base, low), high)  # the line may run below the panel
    ax.annotate("", xy=(x, y), xytext=(x, foot), arrowprops=style, zorder=3).set_gid("robustness")
    ax.annotate(
        f"ρ = {points_text(y - base)} pp{'*' if outside else ''}",
        xy=_between(ax, (x, foot), (x, y), 0.08),
        xytext=(-3 if left else 3, 0),
        textcoords="offset points",
        rotation=90,
        ha="right" if left else "left",
        va="bottom",
        fontsize=6.5,
        color="#555555",
        bbox=BEHIND,
        zorder=9,
    ).set_gid("robustness-text")
    return outside


def draw_tags(ax: Axes, points: pd.DataFrame, series: Series, look: Look) -> None:
    """Write what single points are beside them.

    Raises:
        WiseftError: if a tag names neither a variant nor an alpha of the series.
    """
    if not series.tags:
        return
    names = {f"{alpha:.3f}": ("alpha", alpha) for alpha in points["alpha"].unique()}
    names |= {str(variant): ("variant", variant) for variant in points["variant"].unique()}
    unknown = sorted(set(series.tags) - set(names))
    if unknown:
        raise WiseftError(
            f"option tags names {', '.join(unknown)}, but the points are {', '.join(names)}"
        )
    for name, text in series.tags.items():
        column, value = names[name]
        here = points[points[column] == value][["value_x", "value_y"]].mean()
        draw_tag(ax, text, (here["value_x"], here["value_y"]), look, series.tag_side)
