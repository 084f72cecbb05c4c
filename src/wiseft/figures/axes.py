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
from wiseft.figures.style import DASHED, GREY, Look, Style
from wiseft.tabulate.robustness import BaselineFit

STEPS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""Distances in percent between the ticks of an axis that is nearly linear."""
WHOLE_STEPS = tuple(step for step in STEPS if step >= 1)
MARGIN = 0.06
"""Around what a panel shows, as a share of its range in logits."""
LEAST_TICKS = 3
"""With fewer, a reader cannot see how the axis is scaled."""
NICE = (
    *(50.0, 90.0, 99.0, 10.0, 1.0, 99.9, 0.1),
    *(80.0, 95.0, 60.0, 98.0, 20.0, 40.0, 70.0, 30.0, 5.0, 97.0, 99.5, 2.0, 0.5, 99.8, 0.2),
    *(85.0, 75.0, 96.0, 93.0, 92.0, 94.0, 15.0, 25.0, 65.0, 55.0, 45.0, 35.0, 91.0, 98.5, 99.2),
)
"""Ticks in percent of an axis that is not, the most welcome first."""
IDENTITY: dict[str, Any] = {"color": GREY, "linestyle": DASHED, "linewidth": 0.9}
"""The line y = x."""


def percent_text(fraction: float) -> str:
    """Return e.g. `95` or `99.5`: percent without needless decimals."""
    return f"{100 * fraction:.2f}".rstrip("0").rstrip(".")


def logit_ticks(low: float, high: float, most: int = 10) -> list[float]:
    """Return ticks within [low, high] (fractions), no closer than a `most`-th of the axis.

    A range where one distance in percent serves gets evenly stepped ticks; a wide one gets those
    of `NICE` that have room, such as 60 70 80 90 95 98 99.
    """
    room = float(logit(high) - logit(low)) / (most + 0.5)
    even = _even_ticks(low, high, STEPS, room)
    if even:
        return even
    chosen: list[float] = []
    for percent in NICE:
        tick = percent / 100
        if low <= tick <= high and all(abs(logit(tick) - logit(c)) >= room for c in chosen):
            chosen.append(tick)
    if len(chosen) < LEAST_TICKS:  # two digits take less room than the `most` allows for
        chosen = _even_ticks(low, high, WHOLE_STEPS, 0.8 * room) or chosen
    return sorted(chosen)


def _even_ticks(low: float, high: float, steps: Iterable[float], room: float) -> list[float]:
    """Return ticks of the first step (percent) that leaves `room` (logits); of none, no tick."""
    for step in steps:
        count = np.arange(np.ceil(100 * low / step - 1e-9), np.floor(100 * high / step + 1e-9) + 1)
        ticks = np.round(count * step / 100, 6)
        ticks = ticks[(ticks > 0) & (ticks < 1)]
        gaps = np.diff(logit(ticks))
        if len(ticks) >= LEAST_TICKS and gaps.min() >= room and gaps.max() < 2.2 * gaps.min():
            return [float(tick) for tick in ticks]
    return []


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


def draw_fit(ax: Axes, fit: BaselineFit, look: Look, **style: Any) -> None:
    """Draw a line through models with its 95 % band where these models are and nowhere else."""
    x = np.linspace(fit.x_min, fit.x_max, 200)
    low, high = fit.band(x)
    ax.fill_between(x, low, high, color=look.color, alpha=0.15, linewidth=0, zorder=1)
    ax.plot(x, fit.predict(x), color=look.color, linewidth=1.0, **style)


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
