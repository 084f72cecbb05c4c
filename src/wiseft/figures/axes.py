"""Axes that the figures share: accuracy on a logit scale with ticks in percent, and y = x.

Accuracies are fractions in (0, 1) throughout; percent exists only in the text of ticks. The logit
scale spreads out high accuracies, and there models trained alike lie on a line (paper, section 2).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, NullLocator
from scipy.special import expit, logit

from wiseft.errors import WiseftError
from wiseft.figures.labels import logit_ticks
from wiseft.figures.style import DASHED, GREY, Style

MARGIN = 0.06
"""Around what a panel shows, as a share of its range in logits."""
TICKS_AN_INCH = 2.9
IDENTITY: dict[str, Any] = {"color": GREY, "linestyle": DASHED, "linewidth": 0.9}
"""The line y = x."""


def percent_text(fraction: float) -> str:
    """Return e.g. `95` or `99.5`: percent without needless decimals."""
    return f"{100 * fraction:.2f}".rstrip("0").rstrip(".")


def short_number(value: float) -> str:
    """Return a number of at most about four characters, e.g. `50k` or `1.3M`."""
    for step, letter in ((1e6, "M"), (1e3, "k")):
        if value >= step:
            return f"{float(f'{value / step:.2g}'):g}{letter}"
    return f"{value:g}"


class LogitTicks(Locator):
    """Places :func:`logit_ticks` on an axis of fractions."""

    def __init__(self, most: int = 10) -> None:
        self.most = most

    def __call__(self) -> list[float]:
        """Return the ticks of the current view."""
        assert self.axis is not None  # matplotlib sets it before it asks
        return self.tick_values(*sorted(self.axis.get_view_interval()))

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """Return the ticks between two fractions."""
        return logit_ticks(max(vmin, 1e-6), min(vmax, 1 - 1e-6), self.most)


def percent_axis(axis: Axis) -> None:
    """Label the ticks of an axis of fractions in percent."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: percent_text(value)))


def logit_limits(values: Iterable[Any]) -> tuple[float, float]:
    """Return limits (fractions) around all values, with a margin.

    Raises:
        WiseftError: if no value lies strictly between 0 and 1, where the logit is finite.
    """
    flat = np.concatenate([np.ravel(np.asarray(v, dtype=np.float64)) for v in values])
    flat = flat[(flat > 0) & (flat < 1)]
    if len(flat) == 0:
        raise WiseftError(
            "a logit axis needs an accuracy strictly between 0 and 1, but the selection has none"
        )
    low, high = logit(flat.min()), logit(flat.max())
    pad = MARGIN * max(float(high - low), 0.2)
    return float(expit(low - pad)), float(expit(high + pad))


def accuracy_axes(
    ax: Axes, xlim: tuple[float, float], ylim: tuple[float, float], most: tuple[int, int] = (10, 10)
) -> None:
    """Put both axes on the logit scale, with limits in fractions and at most so many ticks."""
    ax.set_xscale("logit")
    ax.set_yscale("logit")
    for axis, count in zip((ax.xaxis, ax.yaxis), most, strict=True):
        axis.set_major_locator(LogitTicks(count))
        axis.set_minor_locator(NullLocator())
        percent_axis(axis)
    ax.set_xlim(*xlim)
    ax.set_ylim(*ylim)


def draw_identity(ax: Axes) -> bool:
    """Draw y = x, where a shift costs nothing, if the view shows it; return whether it does."""
    (x_low, x_high), (y_low, y_high) = ax.get_xlim(), ax.get_ylim()
    low, high = max(x_low, y_low), min(x_high, y_high)
    if low >= high:
        return False
    ax.plot([low, high], [low, high], **IDENTITY, gid="identity")
    return True


def panel_grid(style: Style, n: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with room for n panels, and their axes in reading order.

    Args:
        columns: panels in a row, at most; a single one is as wide as a column of the paper.
        height: inches of a row.
    """
    n_columns = min(columns, n)
    n_rows = math.ceil(n / n_columns)
    width = style.page_width if n_columns > 1 else style.column_width
    figure = Figure(figsize=(width, height * n_rows), layout="constrained")
    panels = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for ax in panels[n:]:
        ax.set_axis_off()
    return figure, panels[:n]


def tick_counts(figure: Figure, columns: int, height: float) -> tuple[int, int]:
    """Return how many ticks the axes of a panel have room for, of a grid of so many columns.

    Args:
        height: inches of a row.
    """
    width = figure.get_figwidth() / columns
    return round(TICKS_AN_INCH * width), round(TICKS_AN_INCH * height)


def no_numbers(ax: Axes) -> None:
    """Say in a panel that there is nothing to show yet."""
    ax.set(xticks=[], yticks=[])
    ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", color=GREY)
