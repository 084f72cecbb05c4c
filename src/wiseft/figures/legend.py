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
from matplotlib.legend import Legend
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D

from wiseft.figures.axes import IDENTITY
from wiseft.figures.marks import legend_line
from wiseft.figures.select import FIXED_ALPHA
from wiseft.figures.series import Drawn, Family
from wiseft.figures.style import BEYOND, FADED_LINE, FAMILIES, ZERO_SHOT, Look
from wiseft.tabulate.schema import MEASURED, PUBLISHED

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
TWO_STARS = f"{ZERO_SHOT.label} (two: the paper's tables differ)"


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


def fitting_legend(
    figure: Figure, handles: Sequence[Artist | Together], columns: int
) -> tuple[Legend, float]:
    """Put the legend below the panels, and return it with its height in pixels.

    Args:
        handles: the legend's entries.
        columns: at most so many, and fewer where the figure is too narrow for their texts.
    """
    for count in range(columns, 0, -1):
        legend = figure.legend(**legend_settings(handles), ncols=count)
        extent = legend.get_window_extent()
        if count == 1 or extent.width <= figure.bbox.width:
            break
        legend.remove()
    return legend, extent.height


def place_legend(figure: Figure, handles: Sequence[Artist | Together], columns: int) -> None:
    """Put the legend below the panels, and add the height that it needs to theirs.

    Args:
        figure: the figure, as high as its panels; its width stays.
        handles, columns: as of `fitting_legend`.
    """
    added = fitting_legend(figure, handles, columns)[1]
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + added / figure.dpi + GAP)


def legend_settings(handles: Sequence[Artist | Together]) -> dict[str, Any]:
    """Return what matplotlib is told of a legend below the panels; marks side by side have room."""
    most = max((len(handle) for handle in handles if isinstance(handle, Together)), default=1)
    return {
        "handles": list(handles),
        "loc": "outside lower center",
        "handler_map": {Together: HandlerTuple(ndivide=None, pad=0.0)},
        "handlelength": max(HANDLE, MARK * most),
    }


class Keys:
    """Collects the legend's entries while panels are drawn."""

    def __init__(self) -> None:
        self._entries: dict[tuple[int, str], Line2D] = {}
        self._shared: dict[int, list[Look]] = {kind: [] for kind in SHARED}
        self._labels: dict[str, list[str]] = {MEASURED: [], PUBLISHED: []}
        self._fitted: dict[str, list[int]] = {}
        self._at_hand: set[str] = set()
        self._star = ""

    def add_series(self, drawn: Drawn) -> None:
        """Add a series, the marks of its end and of the fixed alpha, and its source."""
        look, label = drawn.look, drawn.label
        if drawn.joined and not drawn.faded:
            self._entries[SERIES, label] = legend_line(label, look)
        self._entries.setdefault((SERIES, label), legend_line(label, look, linestyle="none"))
        if drawn.faded:
            line = FADED_LINE if drawn.joined else "none"
            self._shared[SMALL].append(replace(look, linestyle=line))
        else:
            self._labels[drawn.source].append(label)
        for rank, alpha in ((FIXED, FIXED_ALPHA), (TUNED, 1.0)):
            if drawn.series.along != "runs" and (drawn.points["alpha"] == alpha).any():
                self._shared[rank].append(look)

    def add_stars(self, drawn: list[Drawn]) -> None:
        """Add the zero-shot models of a panel, and say why there are several of them."""
        models = {str(each.series.model) for each in drawn}
        published = [each for each in drawn if each.source == PUBLISHED]
        places = {(str(each.series.model), each.start) for each in published}
        if len(places) > len({model for model, _ in places}):
            self._star = TWO_STARS
        elif len(models) > 1 and self._star != TWO_STARS:
            self._star = f"{ZERO_SHOT.label}, each model's own"
        elif models:
            self._star = self._star or ZERO_SHOT.label

    def add_families(self, families: list[Family]) -> None:
        """Add other people's models and their lines."""
        for family in families:
            label = family.look.label
            self._labels[family.source].append(label)
            if len(family.points):
                handle = legend_line(label, family.look, linestyle="none")
                self._entries.setdefault((MODELS, label), handle)
            if family.at_hand:
                self._at_hand.add(family.name)
            if family.fits:
                n = sum(fit.n for fit in family.fits)
                self._fitted.setdefault(family.name, []).append(n)

    def add_identity(self) -> None:
        """Add y = x."""
        self._entries[LINES, "y = x"] = Line2D([], [], **IDENTITY, label="y = x")

    def add_beyond(self) -> None:
        """Add the dotted part of a line, and the star of a distance to it."""
        text = "* line continued beyond its models"
        self._entries[LINES, text] = Line2D([], [], **BEYOND, label=text)

    def _fits(self) -> list[Line2D]:
        """Return an entry for each line: how many models it goes through, and where they are."""
        entries = []
        for name, counts in self._fitted.items():
            look, few, many = FAMILIES[name], min(counts), max(counts)
            n = str(many) if few == many else f"{few} to {many}"
            absent = "" if name in self._at_hand else ",\npoints not at hand"
            entries.append(legend_line(f"fit of {n} {look.label}{absent}", look, marker=""))
        return entries

    def _source(self) -> list[Line2D]:
        """Return a line of text: which numbers are measured, and which are published."""
        kinds = {name: list(dict.fromkeys(labels)) for name, labels in self._labels.items()}
        first = MEASURED if kinds[MEASURED] else PUBLISHED
        others = kinds[PUBLISHED] if first == MEASURED else []
        if not kinds[first]:
            return []
        text = f"all {'else' if self._shared[SMALL] else 'numbers'} {first}"
        text += "".join([" but for", *(f"\n{name}" for name in others)]) if others else ""
        return [Line2D([], [], linestyle="none", label=text)]

    def handles(self) -> list[Line2D | Together]:
        """Return the entries, and at the end what is published and what is measured."""
        star = legend_line(self._star, ZERO_SHOT, linestyle="none", markersize=8)
        ranked = sorted(self._entries.items(), key=lambda entry: entry[0][0])
        at = {rank: [line for (of, _), line in ranked if of == rank] for rank in range(SOURCE)}
        shared = {
            kind: [together(kind, looks)] if looks else [] for kind, looks in self._shared.items()
        }
        parts: list[Sequence[Any]] = [
            [star] if self._star else [],
            at[SERIES],
            shared[FIXED],
            shared[TUNED],
        ]
        parts += [at[MODELS], self._fits(), at[LINES], shared[SMALL], self._source()]
        return [entry for part in parts for entry in part]
