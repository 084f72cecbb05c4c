"""Other people's models: points, and lines through them in logit space (paper, section 2).

Accuracies of the test bed are no part of this project; where they are not in the table, the lines
that were fitted through them stand in (:mod:`wiseft.published`), and the legend says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from wiseft.figures.series import Quantity
from wiseft.figures.style import FAMILIES, Look
from wiseft.published import lines
from wiseft.tabulate.published import ABOVE_KNEE, BELOW_KNEE, STANDARD, model_line, model_points
from wiseft.tabulate.robustness import BaselineFit

FITTED = ("standard", "zero-shot")
"""Families that a line goes through. The others are drawn and never fitted (Taori et al. 2020)."""
NAMES = tuple(FAMILIES)
Limits = tuple[float, float]


@dataclass(frozen=True)
class Family:
    """Models of one kind on one pair of axes.

    Attributes:
        name: the method of their rows.
        points: x, y (fractions) of each model; empty where the accuracies are not at hand.
        fits: lines in logit space: none, one, or the two pieces of a line with a knee.
        at_hand: whether the table has the models.
    """

    name: str
    points: pd.DataFrame
    fits: list[BaselineFit] = field(default_factory=list)
    at_hand: bool = False

    @property
    def look(self) -> Look:
        """Colour, marker and line."""
        return FAMILIES[self.name]


def families(table: pd.DataFrame, names: list[str], x: Quantity, y: Quantity) -> list[Family]:
    """Return the families of these names that have points or a line on a pair of axes."""
    found = []
    for name in names:
        points = model_points(table, y.dataset, name, x.view)
        fits = _fits(table, name, x, y) if name in FITTED else []
        if len(points) or fits:
            found.append(Family(name, points, fits, at_hand=len(points) > 0))
    return found


def _fits(table: pd.DataFrame, name: str, x: Quantity, y: Quantity) -> list[BaselineFit]:
    """Return the lines of a family on a pair of axes; two where the line has a knee."""
    known = lines()
    here = known[(known["dataset"] == y.dataset) & (known["x_view"] == x.view)]
    pieces = [BELOW_KNEE, ABOVE_KNEE] if name == STANDARD else []
    there = set(here["kind"])
    kinds = pieces if pieces and set(pieces) <= there else [name] if name in there else []
    return [model_line(table, y.dataset, kind, x.view).fit for kind in kinds]


def visible(found: list[Family], xlim: Limits, ylim: Limits) -> list[Family]:
    """Return what a view shows: families without the points and lines that lie outside of it."""
    seen = []
    for family in found:
        x, y = family.points["x"], family.points["y"]
        points = family.points[x.between(*xlim) & y.between(*ylim)]
        fits = [fit for fit in family.fits if _crosses(fit, xlim, ylim)]
        if len(points) or fits:
            seen.append(Family(family.name, points, fits, at_hand=family.at_hand))
    return seen


def _crosses(fit: BaselineFit, xlim: Limits, ylim: Limits) -> bool:
    x = np.linspace(max(fit.x_min, xlim[0]), min(fit.x_max, xlim[1]), 50)
    y = fit.predict(x)
    return bool(x[0] < x[-1] and ((y >= ylim[0]) & (y <= ylim[1])).any())


def draw_families(ax: Axes, found: list[Family], enlarged: bool) -> None:
    """Draw points faintly, and lines with their 95 % band between the fitted models only.

    The view stays as it is.
    """
    limits = ax.get_xlim(), ax.get_ylim()
    for family in found:
        look = family.look
        for fit in family.fits:
            x = np.linspace(fit.x_min, fit.x_max, 200)
            low, high = fit.band(x)
            ax.fill_between(x, low, high, color=look.color, alpha=0.15, linewidth=0, zorder=1)
            ax.plot(
                x,
                fit.predict(x),
                color=look.color,
                linestyle=look.linestyle,
                linewidth=1.0,
                zorder=2,
                gid=f"fit:{family.name}",
            )
        if len(family.points):
            ax.plot(
                family.points["x"],
                family.points["y"],
                color=look.color,
                marker=look.marker,
                markersize=3.6 if family.name == "zero-shot" else 2.4 if enlarged else 2.0,
                markeredgewidth=0.6,
                linestyle="none",
                alpha=0.9 if family.name == "zero-shot" else 0.55,
                zorder=2,
                gid=f"family:{family.name}",
            )
    ax.set_xlim(*limits[0])
    ax.set_ylim(*limits[1])
