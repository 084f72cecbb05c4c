"""What a figure draws, held against what its legend says: look by look, both ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.offsetbox import DrawingArea, HPacker, TextArea
from matplotlib.patches import Rectangle

Look = tuple[str, ...]
BLACK = "#000000"
"""Of the error bars of bars, which the drawing's text explains."""
FURNITURE = {"zero"}
"""A line at zero belongs to the axes, as the grid does."""


def problems(figure: Figure) -> list[str]:
    """Return what is drawn and not in the legend, in it and not drawn, or in it twice."""
    (legend,) = figure.legends
    said = {label: [look for part in parts for look in looks(part)] for label, parts in of(legend)}
    entries = {look for found in said.values() for look in found}
    drawn = {look for ax in figure.axes for part in marks(ax) for look in looks(part)}
    found = [f"drawn, not in the legend: {look}" for look in sorted(drawn - entries)]
    found += [f"in the legend, not drawn: {look}" for look in sorted(entries - drawn)]
    colors = {look[1] for look in entries}
    found += [
        f"a colour without entry: {c}" for ax in figure.axes for c in shades(ax) - colors - {BLACK}
    ]
    labels = [label for label, _ in of(legend)]
    found += [f"twice in the legend: {name}" for name in labels if labels.count(name) > 1]
    owners: dict[Any, str] = {}
    for label, parts in of(legend):
        whole = frozenset((*look, size(part)) for part in parts for look in looks(part))
        if whole and whole in owners:
            found.append(f"{label!r} looks like {owners[whole]!r}: {sorted(whole)}")
        owners[whole] = label
    return found


def size(mark: Artist) -> float:
    """Return the size of a mark: published numbers are told apart by it where they are few."""
    return float(mark.get_markersize()) if isinstance(mark, Line2D) else 0.0


def of(legend: Legend) -> list[tuple[str, list[Artist]]]:
    """Return the entries of a legend: text and marks."""
    rows = [
        row.get_children()
        for row in legend.findobj(HPacker)
        if [type(part) for part in row.get_children()] == [DrawingArea, TextArea]
    ]
    return [(text.get_text(), area.get_children()) for area, text in rows]


def marks(ax: Axes) -> Iterator[Artist]:
    """Yield lines, points and bars; error bars are in the colour of their point."""
    bars = {id(part) for each in ax.containers for part in each.get_children()}
    for line in ax.lines:
        if id(line) not in bars and line.get_gid() not in FURNITURE:
            yield line
    yield from (patch for patch in ax.patches if isinstance(patch, Rectangle))


def looks(mark: Any) -> Iterator[Look]:
    """Yield how a mark looks: its points, its line, or its area."""
    if isinstance(mark, Line2D):
        color, marker = to_hex(mark.get_color()), str(mark.get_marker())
        if marker not in ("", "None"):
            face, edge = (
                to_hex(c) for c in (mark.get_markerfacecolor(), mark.get_markeredgecolor())
            )
            yield ("points", face if edge == "#ffffff" else edge, marker, face)
        if mark.get_linestyle() != "None":
            yield ("line", color, str(mark._unscaled_dash_pattern))
    else:
        face, edge = to_hex(mark.get_facecolor(), True), to_hex(mark.get_edgecolor())
        yield ("area", edge if face.endswith("00") else face[:7], str(mark.get_hatch()))


def shades(ax: Axes) -> set[str]:
    """Return the colours of bands and error bars."""
    found = set()
    for part in ax.collections:
        assert isinstance(part, Collection)
        for color in [*part.get_facecolor(), *part.get_edgecolor()]:
            found.add(to_hex(color))
    return found
