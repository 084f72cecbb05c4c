"""Methods after WiSE-FT over its published curve: mean accuracy under shift against accuracy on
ImageNet, on logit scales with ticks in percent. The line goes through every printed α; the small
panel shows all of them. The large open marker is α = 0.5. Means are over the printed accuracies,
and all points of a panel use the same shifts. A dashed line leads from WiSE-FT as another paper
quotes it to a point of the curve. Among the alphas that are at least as accurate on ImageNet, this
point is the best under shift. Hollow: the number was not read where it is printed.
"""

from __future__ import annotations

from math import hypot
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

from wiseft.base.typed import Entry
from wiseft.figures.axes import accuracy_axes, logit_limits, panel_grid
from wiseft.figures.legend import place_legend
from wiseft.figures.marks import legend_line
from wiseft.figures.select import FIXED_ALPHA, rows
from wiseft.figures.style import BLACK, GREEN, GREY, METHODS, OLIVE, ORANGE, PURPLE, Look, Style
from wiseft.study.published.successors import SECOND_HAND, SUCCESSORS

CURVE = METHODS["end-to-end"]
KINDS = {
    "post-hoc": Look("combined after training", GREEN, "D"),
    "training": Look("trained otherwise", ORANGE, "o"),
    "quoted": Look("WiSE-FT as others quote it", PURPLE, "v"),
    "baseline": Look("plain fine-tuning as others quote it", OLIVE, "P"),
    "zero-shot": Look("zero-shot as others quote it", BLACK, "*"),
}
JOIN: dict[str, Any] = {"color": BLACK, "linewidth": 0.7, "linestyle": (0, (2, 1))}
LEADER = {"arrowstyle": "-", "color": GREY, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2}
"""Leads from a name to its mark, from 12 points on."""
Pair = tuple[float, float]
Keys = dict[str, Any]


class FrontierPanel(Entry):
    """One pair of axes; their ends are in percent."""

    title: str = Field("", description="Text above the panel.")
    shifts: list[str] = Field(description="Datasets whose mean is on the y axis.")
    xlim: Pair
    ylim: Pair
    without: list[str] = Field([], description="Names that are not drawn.")
    offsets: dict[str, Pair] = Field({}, description="Points from a mark to its name.")


def draw(table: pd.DataFrame, style: Style, *, panels: list[FrontierPanel]) -> Figure:
    """Draw panels of named points over the curve of CLIP ViT-B/16.

    Args:
        table: the tidy table of an experiment with `published.successors`.
        style: looks and widths.
        panels: the axes and their content.

    Raises:
        WiseftError: if the table has no such curve or points.
    """
    here = rows(table, source="published", model="clip-vit-b-16", split="test", view="all")
    sweep = rows(here, method="end-to-end", variant="", selection="grid", reference="imagenet")
    others = rows(here, experiment=[SUCCESSORS, SECOND_HAND])
    figure, axes = panel_grid(style, len(panels), 2, 3.6)
    keys: Keys = {}
    for ax, panel in zip(axes, panels, strict=True):
        curve, points = _means(sweep, panel.shifts), _means(others, panel.shifts)
        _draw_panel(ax, panel, curve, points[~points["variant"].isin(panel.without)], keys)
    place_legend(figure, list(keys.values()), 3)
    return figure


def _means(cells: pd.DataFrame, shifts: list[str]) -> pd.DataFrame:
    """Return the points that have all cells: x and y (fractions), and what they are."""
    key = ["method", "variant", "experiment", "alpha"]
    cells = cells.assign(alpha=cells["alpha"].fillna(-1.0))  # a pivot leaves out what is null
    wide = cells.pivot_table(index=key, columns="dataset", values="value")
    wide = wide[["imagenet", *shifts]].dropna()
    return wide[[]].assign(x=wide["imagenet"], y=wide[shifts].mean(axis=1)).reset_index()


def _draw_panel(
    ax: Axes, panel: FrontierPanel, curve: pd.DataFrame, points: pd.DataFrame, keys: Keys
) -> None:
    """Draw what lies within the panel's ends with its names, and all of it in a small panel."""
    (left, right), (low, high) = panel.xlim, panel.ylim
    accuracy_axes(ax, (left / 100, right / 100), (low / 100, high / 100), most=(7, 8))
    whole = ax.inset_axes((0.7, 0.06, 0.27, 0.23))
    ends = [logit_limits([curve[axis], points[axis]]) for axis in "xy"]
    accuracy_axes(whole, ends[0], ends[1], most=(3, 3))
    whole.tick_params(labelsize=5, pad=1)
    _draw_marks(ax, curve, points, 1.0, keys)
    _draw_marks(whole, curve, points, 0.5, keys)
    for name, x, y in points[["variant", "x", "y"]].itertuples(index=False):
        place = panel.offsets.get(name, (6, 0))
        text: Keys = {"va": "center", "ha": "right" if place[0] < 0 else "left", "fontsize": 6}
        text["arrowprops"] = LEADER if hypot(*place) > 12 else None
        ax.annotate(name, (x, y), place, textcoords="offset points", **text).set_gid("name")
    ax.set_title(panel.title, loc="left", fontweight="bold")
    ax.set_xlabel("ImageNet accuracy (%)")
    ax.set_ylabel(f"Mean accuracy on {len(panel.shifts)} shifts (%)")


def _draw_marks(
    ax: Axes, curve: pd.DataFrame, points: pd.DataFrame, scale: float, keys: Keys
) -> None:
    """Draw the curve, the points, and the lines from quoted ones; each label gets its key."""

    def plot(label: str, look: Look, x: Any, y: Any, size: float, **how: Any) -> None:
        keys.setdefault(label, legend_line(label, look, markersize=size, **how))
        sizes = {"markersize": size * scale, "linewidth": 1.3 * scale}
        ax.plot(x, y, **{**look.line, "marker": look.marker, **sizes, **how}, gid=label)

    plot("WiSE-FT, published, all α", CURVE, curve["x"], curve["y"], 3.4)
    fixed, hollow = curve[curve["alpha"] == FIXED_ALPHA], {"markerfacecolor": "white"}
    plot(f"α = {FIXED_ALPHA}", CURVE, fixed["x"], fixed["y"], 6, **hollow, linestyle="none")
    for kind, _, experiment, _, x, y in points.itertuples(index=False):
        look, unsure = KINDS[kind], experiment == SECOND_HAND
        label = look.label + (", not confirmed" if unsure else "")
        plot(label, look, [x], [y], 4.2, **(hollow if unsure else {}), linestyle="none")
        best = curve[curve["x"] >= x - 1e-9].nlargest(1, "y")
        if kind == "quoted" and scale == 1.0:
            ends = [x, *best["x"]], [y, *best["y"]]
            plot("to the curve at that accuracy", look, *ends, 0, marker="", **JOIN)
