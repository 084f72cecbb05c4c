"""What the legend of several panels says, collected while these are drawn: series of both sources,
other people's models and their lines.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from matplotlib.lines import Line2D

from wiseft.figures import legend
from wiseft.figures.marks import legend_line
from wiseft.figures.select import FIXED_ALPHA
from wiseft.figures.series import Drawn, Family
from wiseft.figures.style import BEYOND, FADED_LINE, FAMILIES, ZERO_SHOT, Look
from wiseft.tabulate.schema import MEASURED, PUBLISHED

TWO_STARS = f"{ZERO_SHOT.label} (two: the paper's tables differ)"


class Keys:
    """Collects the legend's entries while panels are drawn."""

    def __init__(self) -> None:
        self._entries: dict[tuple[int, str], Line2D] = {}
        self._shared: dict[int, list[Look]] = {kind: [] for kind in legend.SHARED}
        self._labels: dict[str, list[str]] = {MEASURED: [], PUBLISHED: []}
        self._fitted: dict[str, list[int]] = {}
        self._at_hand: set[str] = set()
        self._star = ""

    def add_series(self, drawn: Drawn) -> None:
        """Add a series, the marks of its end and of the fixed alpha, and its source."""
        look, label = drawn.look, drawn.label
        if drawn.joined and not drawn.faded:
            self._entries[legend.SERIES, label] = legend_line(label, look)
        self._entries.setdefault((legend.SERIES, label), legend_line(label, look, linestyle="none"))
        if drawn.faded:
            line = FADED_LINE if drawn.joined else "none"
            self._shared[legend.SMALL].append(replace(look, linestyle=line))
        else:
            self._labels[drawn.source].append(label)
        for rank, alpha in ((legend.FIXED, FIXED_ALPHA), (legend.TUNED, 1.0)):
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
                self._entries.setdefault((legend.MODELS, label), handle)
            if family.at_hand:
                self._at_hand.add(family.name)
            if family.fits:
                n = sum(fit.n for fit in family.fits)
                self._fitted.setdefault(family.name, []).append(n)

    def add_identity(self) -> None:
        """Add y = x."""
        self._entries[legend.LINES, "y = x"] = legend.identity()

    def add_beyond(self) -> None:
        """Add the dotted part of a line, and the star of a distance to it."""
        text = "* line continued beyond its models"
        self._entries[legend.LINES, text] = Line2D([], [], **BEYOND, label=text)

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
        text = f"all {'else' if self._shared[legend.SMALL] else 'numbers'} {first}"
        text += "".join([" but for", *(f"\n{name}" for name in others)]) if others else ""
        return [legend.words(text)]

    def handles(self) -> list[Line2D | legend.Together]:
        """Return the entries, and at the end what is published and what is measured."""
        ranked = sorted(self._entries.items(), key=lambda entry: entry[0][0])
        at = {
            rank: [line for (of, _), line in ranked if of == rank] for rank in range(legend.SOURCE)
        }
        shared = {
            kind: [legend.together(kind, looks)] if looks else []
            for kind, looks in self._shared.items()
        }
        found: list[Any] = [legend.star(self._star)] * bool(self._star) + at[legend.SERIES]
        found += shared[legend.FIXED] + shared[legend.TUNED] + at[legend.MODELS] + self._fits()
        return found + at[legend.LINES] + shared[legend.SMALL] + self._source()
