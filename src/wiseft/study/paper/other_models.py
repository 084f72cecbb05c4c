"""Other people's models: points, and lines through them in logit space (paper, section 2).

Accuracies of the test bed are no part of this project; where they are not in the table, the lines
that were fitted through them stand in (:mod:`wiseft.study.published`), and the legend says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from wiseft.figures.notes import draw_fit
from wiseft.figures.series import Family, Quantity
from wiseft.study.paper.published import line_kinds, model_line, model_points, other_source
from wiseft.tabulate.robustness import BaselineFit, fit_points
from wiseft.tabulate.schema import MEASURED

FITTED = ("standard", "zero-shot")
"""Families that a line goes through. The others are drawn and never fitted (Taori et al. 2020)."""
Limits = tuple[float, float]


def families_of(
    table: pd.DataFrame, names: Sequence[str], x: Quantity, y: Quantity
) -> list[Family]:
    """Return the families of these names that have points or a line on a pair of axes."""
    families = []
    for name in names:
        points = model_points(table, y.dataset, name, x.view)
        fits = _fits(table, name, x, y, points) if name in FITTED else []
        if len(points) or fits:
            source = other_source(table, name)
            families.append(Family(name, points, fits, at_hand=len(points) > 0, source=source))
    return families


def _fits(
    table: pd.DataFrame, name: str, x: Quantity, y: Quantity, points: pd.DataFrame
) -> list[BaselineFit]:
    """Return the lines of a family on a pair of axes; two where the line has a knee."""
    if other_source(table, name) == MEASURED:  # on any axes, also where there is no published line
        fit = fit_points(y.dataset, points)
        return [] if fit is None else [fit]
    kinds = line_kinds(name, y.dataset, x.view)
    return [model_line(table, y.dataset, kind, x.view) for kind in kinds]


def visible(families: list[Family], xlim: Limits, ylim: Limits) -> list[Family]:
    """Return what a view shows: families without the points and lines that lie outside of it."""
    seen = []
    for family in families:
        x, y = family.points["x"], family.points["y"]
        points = family.points[x.between(*xlim) & y.between(*ylim)]
        fits = [fit for fit in family.fits if _crosses(fit, xlim, ylim)]
        if len(points) or fits:
            seen.append(replace(family, points=points, fits=fits))
    return seen


def _crosses(fit: BaselineFit, xlim: Limits, ylim: Limits) -> bool:
    x = np.linspace(max(fit.x_min, xlim[0]), min(fit.x_max, xlim[1]), 50)
    y = fit.predict(x)
    return bool(x[0] < x[-1] and ((y >= ylim[0]) & (y <= ylim[1])).any())


def draw_families(ax: Axes, families: list[Family], enlarged: bool) -> None:
    """Draw points faintly, and lines with their 95 % band between the fitted models only."""
    for family in families:
        look = family.look
        for fit in family.fits:
            style = {"linestyle": look.linestyle, "zorder": 2, "gid": f"fit:{family.name}"}
            draw_fit(ax, fit, look, **style)
        if len(family.points):
            ax.plot(
                family.points["x"],
                family.points["y"],
                **look.points,
                markersize=3.6 if family.name == "zero-shot" else 2.4 if enlarged else 2.0,
                markeredgewidth=0.6,
                alpha=0.9 if family.name == "zero-shot" else 0.55,
                zorder=2,
                gid=f"family:{family.name}",
            )
