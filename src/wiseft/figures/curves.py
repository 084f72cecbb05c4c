"""What a sweep draws: accuracy under shift against that on the reference, or all sets by alpha."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from wiseft.figures.axes import accuracy_axes, draw_identity, logit_limits, panel_grid, tick_counts
from wiseft.figures.labels import FEW, accuracy_label
from wiseft.figures.legend import FIXED, TUNED, identity, place_legend, star, together, words
from wiseft.figures.marks import draw_curve, draw_star, draw_tag, legend_line
from wiseft.figures.select import (
    FIXED_ALPHA,
    curve,
    grid_rows,
    methods_of,
    paired_curve,
    reference_of,
)
from wiseft.figures.style import GREY, Style
from wiseft.tabulate.models import mean_over_runs
from wiseft.tabulate.schema import MEASURED

COLUMNS, HEIGHT = 3, 2.35
"""Panels in a row, and inches of a row."""


def draw_under_shift(
    table: pd.DataFrame, style: Style, shifts: Sequence[str], tag: float, titles: Mapping[str, str]
) -> Figure:
    """Draw a panel for each shift: its accuracy against that of the reference, on logit scales.

    Args:
        table: the tidy table, with one method from alpha 0 to 1.
        style: looks and widths.
        shifts: datasets on the y axes, in reading order.
        tag: alpha that is written beside its point.
        titles: names of datasets as readers know them.

    Raises:
        WiseftError: if the table lacks what is drawn.
    """
    grid, reference = grid_rows(table), reference_of(table)
    (method, *_) = methods_of(grid, None)
    look, crossed, alphas = style.looks([method])[method], False, grid["alpha"].unique()
    columns = min(COLUMNS, len(shifts))
    figure, panels = panel_grid(style, len(shifts), COLUMNS, HEIGHT)
    joined = len(alphas) > FEW
    for ax, shift in zip(panels, shifts, strict=True):
        points = paired_curve(grid, reference, shift, method)
        ax.set(xlabel=accuracy_label(reference, titles), ylabel=accuracy_label(shift, titles))
        x, y = (points[[f"value_{at}", f"ci_low_{at}", f"ci_high_{at}"]] for at in "xy")
        most = tick_counts(figure, columns, HEIGHT)
        accuracy_axes(ax, logit_limits([x]), logit_limits([y]), most)
        crossed |= draw_identity(ax)
        draw_curve(ax, points, look, f"{method}:{MEASURED}", join=joined)
        by_alpha = points.set_index("alpha")[["value_x", "value_y"]]
        draw_star(ax, *by_alpha.loc[0.0])
        draw_tag(ax, f"α = {tag:g}", tuple(by_alpha.loc[tag]), look, "left")
    line = {} if joined else {"linestyle": "none"}
    handles: list[Any] = [star(), legend_line("between the two checkpoints", look, **line)]
    fixed = [together(FIXED, [look])] if FIXED_ALPHA in alphas else []
    handles += [*fixed, together(TUNED, [look])]
    handles += [identity()] * crossed + [words(f"all numbers {MEASURED}")]
    place_legend(figure, handles, 3 if columns > 1 else 2)
    return figure


def draw_by_alpha(
    table: pd.DataFrame,
    style: Style,
    marks: Mapping[str, float] | None = None,
    label: str | None = None,
) -> Figure:
    """Draw a line for each dataset over alpha, with its 95 % band.

    Args:
        table: the tidy table, with one method.
        style: looks and widths.
        marks: alphas to mark with a dotted line, by the text written there.
        label: name of a metric that is drawn as it is; None: an accuracy, in percent.

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
