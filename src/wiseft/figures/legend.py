"""The legend of a figure with several panels: every entry once, in the order of reading.

Whatever is drawn stands in it with its look: what is true of several series (alpha 0.5, published
numbers) as their marks side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D

from wiseft.figures.axes import IDENTITY
from wiseft.figures.marks import legend_line
from wiseft.figures.select import FIXED_ALPHA
from wiseft.figures.style import ZERO_SHOT, Look
from wiseft.tabulate.schema import PUBLISHED

GAP = 0.08
"""Inches between panels and legend."""
HANDLE, MARK = 2.4, 0.8
"""Length of a handle, and of a mark among several of one entry, in font sizes."""
SERIES, FIXED, TUNED, MODELS, LINES, SMALL, SOURCE = range(7)
"""Kinds of entries."""
SHARED: dict[int, tuple[str, dict[str, Any]]] = {
    FIXED: (
        f"α = {FIXED_ALPHA}",
        {"linestyle": "none", "markersize": 5.2, "markerfacecolor": "white"},
    ),
    TUNED: ("fine-tuned (α = 1)", {"linestyle": "none", "markersize": 5.2}),
    SMALL: (f"{PUBLISHED} (small marks)", {"linewidth": 0.9, "markersize": 2.5}),
}
"""Text and style of the entries that hold for several series; small marks stand behind measured
ones.
"""


class Together(tuple[Line2D, ...]):
    """Marks of several looks side by side: one entry of a legend."""

    label: str

    def get_label(self) -> str:
        """The entry's text, where matplotlib looks for it."""
        return self.label


def together(kind: int, looks: Iterable[Look]) -> Together:
    """Return the entry of a kind in `SHARED`, with its mark in each of the looks once."""
    label, style = SHARED[kind]
    different = dict.fromkeys(replace(look, label="") for look in looks)
    entry = Together(legend_line("", look, **style) for look in different)
    entry.label = label
    return entry


def fitting_legend(figure: Figure, handles: Sequence[Artist | Together], columns: int) -> float:
    """Put the legend below the panels, and return its height in pixels.

    Args:
        handles: the legend's entries.
        columns: at most so many, and fewer where the figure is too narrow for their texts.
    """
    # Marks side by side have room.
    most = max((len(handle) for handle in handles if isinstance(handle, Together)), default=1)
    settings: dict[str, Any] = {"loc": "outside lower center", "handles": list(handles)}
    settings["handler_map"] = {Together: HandlerTuple(ndivide=None, pad=0.0)}
    settings["handlelength"] = max(HANDLE, MARK * most)
    for count in range(columns, 0, -1):
        legend = figure.legend(**settings, ncols=count)
        extent = legend.get_window_extent()
        if count == 1 or extent.width <= figure.bbox.width:
            break
        legend.remove()
    return float(extent.height)


def place_legend(figure: Figure, handles: Sequence[Artist | Together], columns: int) -> None:
    """Put the legend below the panels, and add the height that it needs to theirs.

    Args:
        figure: the figure, as high as its panels; its width stays.
        handles, columns: as of `fitting_legend`.
    """
    added = fitting_legend(figure, handles, columns)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + added / figure.dpi + GAP)


def star(label: str = ZERO_SHOT.label) -> Line2D:
    """Return the entry of the zero-shot model."""
    return legend_line(label, ZERO_SHOT, linestyle="none", markersize=8)


def identity() -> Line2D:
    """Return the entry of y = x."""
    return Line2D([], [], **IDENTITY, label="y = x")


def words(text: str) -> Line2D:
    """Return an entry that is a text alone."""
    return Line2D([], [], linestyle="none", label=text)
