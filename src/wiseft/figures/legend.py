"""The legend of a figure with several panels: every entry once, in the order of reading."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wiseft.figures.axes import IDENTITY
from wiseft.figures.baselines import Family
from wiseft.figures.marks import legend_line
from wiseft.figures.select import FIXED_ALPHA
from wiseft.figures.series import MEASURED, PUBLISHED, Series
from wiseft.figures.style import BLACK, FADED_LINE, FAMILIES, GREY, ZERO_SHOT, Look

GAP = 0.08
"""Inches between panels and legend."""
AFTER_FITS = 5
"""Rank of what follows the lines through other people's models."""


def place_legend(figure: Figure, handles: Sequence[Artist], columns: int) -> None:
    """Put the legend below the panels, and add the height that it needs to theirs.

    Args:
        figure: the figure, as high as its panels; its width stays.
        handles: the legend's entries.
        columns: at most so many, and fewer where the figure is too narrow for their texts.
    """
    for count in range(columns, 0, -1):
        legend = figure.legend(handles=list(handles), loc="outside lower center", ncols=count)
        extent = legend.get_window_extent()
        if count == 1 or extent.width <= figure.bbox.width:
            break
        legend.remove()
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + extent.height / figure.dpi + GAP)


class Keys:
    """Collects the legend's entries while panels are drawn."""

    def __init__(self) -> None:
        self._entries: dict[tuple[int, str], Line2D] = {}
        self._sources: dict[str, bool] = {}
        self._fitted: dict[str, list[int]] = {}
        self._at_hand: set[str] = set()

    def _add(self, rank: int, handle: Line2D) -> None:
        self._entries.setdefault((rank, str(handle.get_label())), handle)

    def add_series(
        self, series: Series, look: Look, source: str, alphas: Iterable[float], faded: bool
    ) -> None:
        """Add a series, the marks of its ends and of the fixed alpha, and its source."""
        self._add(1, legend_line(series.label or look.label, look, linestyle="none"))
        self._sources[source] = self._sources.get(source, False) or faded
        if series.along == "runs":
            return
        at = {round(float(alpha), 3) for alpha in alphas}
        alone: dict[str, Any] = {"linestyle": "none", "color": BLACK}
        if 0.0 in at:
            self._add(0, legend_line(ZERO_SHOT.label, ZERO_SHOT, **alone, markersize=8))
        if FIXED_ALPHA in at:
            white = {"markersize": 6, "markerfacecolor": "white"}
            self._add(2, legend_line(f"α = {FIXED_ALPHA}", Look("", BLACK, "s"), **alone, **white))
        if 1.0 in at:
            tuned = legend_line("fine-tuned (α = 1)", Look("", BLACK, "s"), **alone, markersize=6)
            self._add(3, tuned)

    def add_line(self, series: Series, look: Look) -> None:
        """Say that a line joins the points of a series somewhere."""
        label = series.label or look.label
        self._entries[1, label] = legend_line(label, look)

    def add_families(self, families: list[Family]) -> None:
        """Add other people's models and their lines."""
        for family in families:
            if len(family.points):
                self._add(4, legend_line(family.look.label, family.look, linestyle="none"))
            if family.at_hand:
                self._at_hand.add(family.name)
            if family.fits:
                n = sum(fit.n for fit in family.fits)
                self._fitted.setdefault(family.name, []).append(n)

    def _fits(self) -> list[Line2D]:
        """Return an entry for each line: how many models it goes through, and where they are."""
        entries = []
        for name, counts in self._fitted.items():
            look, few, many = FAMILIES[name], min(counts), max(counts)
            n = str(many) if few == many else f"{few} to {many}"
            absent = "" if name in self._at_hand else ",\npoints not at hand"
            entries.append(legend_line(f"fit of {n} {look.label}{absent}", look, marker=""))
        return entries

    def add_identity(self) -> None:
        """Add y = x."""
        self._add(AFTER_FITS, Line2D([], [], **IDENTITY, label="y = x"))

    def handles(self) -> list[Line2D]:
        """Return the entries, and at the end what is published and what is measured."""
        keys = sorted(self._entries, key=lambda key: key[0])
        before = [self._entries[key] for key in keys if key[0] < AFTER_FITS]
        after = [self._entries[key] for key in keys if key[0] >= AFTER_FITS]
        ordered = [*before, *self._fits(), *after]
        if any(self._sources.values()):
            text = f"{PUBLISHED} (small marks)"
            return [
                *ordered,
                Line2D([], [], color=GREY, linestyle=FADED_LINE, linewidth=0.9, label=text),
                Line2D([], [], color=GREY, linewidth=1.6, label=MEASURED),
            ]
        if not self._sources:
            return ordered
        text = " and ".join(sorted(self._sources))
        return [*ordered, Line2D([], [], linestyle="none", label=f"all numbers {text}")]
