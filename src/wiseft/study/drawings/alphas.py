"""Accuracy at every α, from the zero-shot model (0) to the fine-tuned one (1), one line per
dataset. Bands are the 95 % intervals of the table; over several runs their ends are averaged. Each
band belongs to one α. Neighbouring alphas see the same images, so they may differ less than the
bands suggest. Dotted lines are choices of α.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from wiseft.figures.axes import panel_grid
from wiseft.figures.select import curve, grid_rows, methods_of
from wiseft.figures.style import GREY, Style
from wiseft.tabulate.models import mean_over_runs


def draw(
    table: pd.DataFrame,
    style: Style,
    *,
    marks: dict[str, float] | None = None,
    label: str | None = None,
) -> Figure:
    """Draw a line for each dataset.

    Args:
        table: the tidy table, with one method.
        style: looks and widths.
        marks: alphas to mark with a dotted line, by the text written there.
        label: name of a metric that is drawn as it is; null: an accuracy, in percent.

    Raises:
        WiseftError: if the table lacks what is drawn.
    """
    grid = grid_rows(table)
    (method, *_) = methods_of(grid, None)
    figure, (ax,) = panel_grid(style, 1, 1, 2.6)
    for name, look in style.looks(grid["dataset"].unique().tolist()).items():
        points = mean_over_runs(curve(grid, name, method)).set_index("alpha")
        points = points * (1 if label else 100)
        ax.fill_between(
            points.index, points["ci_low"], points["ci_high"], alpha=0.2, color=look.color
        )
        ax.plot(points.index, points["value"], label=name, gid=name, **look.line)
    at: dict[float, list[str]] = {}
    for text, alpha in (marks or {}).items():
        at.setdefault(alpha, []).append(text)
    for alpha, texts in at.items():
        ax.axvline(alpha, color=GREY, linestyle=":", linewidth=0.8)
        how: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "ha": "center", "fontsize": 6}
        ax.annotate("\n".join(texts), (alpha, 1), va="bottom", **how)
    ax.set(xlabel="α (0: zero-shot, 1: fine-tuned)", ylabel=label or "Accuracy (%)")
    figure.legend(loc="outside lower center", ncols=3)
    return figure
