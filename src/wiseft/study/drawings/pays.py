"""When interpolation pays: how far α = 0.5 lies above the mean of its two ends, against half the
distance between these ends, in percentage points of the average under shift. Above the dashed
line, the interpolated model is better than both ends. Below it, one end is better: the fine-tuned
one at a filled mark, the zero-shot one at a hollow mark. Marks are means over runs. Bars are 95 %
intervals over pre-training seeds, if there are three or more.
"""

from __future__ import annotations

from typing import Annotated, Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

from wiseft.base.typed import Entry
from wiseft.figures.axes import IDENTITY, panel_grid
from wiseft.figures.legend import place_legend
from wiseft.figures.line_names import in_one_space
from wiseft.figures.marks import legend_line
from wiseft.figures.select import FIXED_ALPHA, matching, of_runs
from wiseft.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Look,
    Style,
)
from wiseft.tabulate.models import over_models, without_seed
from wiseft.tabulate.robustness import average_name

LOOKS = [
    Look("", BLUE, "s"),
    Look("", VERMILLION, "D"),
    Look("", GREEN, "o"),
    Look("", PURPLE, "v"),
    Look("", ORANGE, "^"),
    Look("", SKY, "P"),
    Look("", BLACK, "X"),
]
WIDTH, HEIGHT = 0.75, 4.0
"""Of the panel, as a share of the page, and in inches."""
ENDS = (0.0, FIXED_ALPHA, 1.0)
KEY = ["source", "experiment", "reference", "method", "variant"]


class Group(Entry):
    """Fine-tunings that share a look and a line of the legend."""

    label: str = Field(description="Text of the legend.")
    where: dict[str, str | list[str]] = Field(description="Values of columns of the table.")
    names: dict[str, str] = Field({}, description="Text beside a mark, by variant or by model.")
    offsets: dict[str, tuple[float, float]] = Field(
        {}, description="Points from a mark to its text, by the same."
    )


def draw(
    table: pd.DataFrame,
    style: Style,
    *,
    groups: Annotated[list[Group], Field(max_length=len(LOOKS))],
) -> Figure:
    """Draw one mark for each fine-tuning that has both ends and alpha 0.5.

    Args:
        table: the tidy table.
        style: looks and widths.
        groups: groups to draw; a group without rows in the table is left out.

    Raises:
        WiseftError: if nothing is left to draw.
    """
    figure, (ax,) = panel_grid(style, 1, 1, HEIGHT)
    figure.set_size_inches(WIDTH * style.page_width, HEIGHT)
    found = [bonuses(matching(table, **each.where)) for each in groups]
    handles = []
    for look, group, points in zip(LOOKS[: len(groups)], groups, found, strict=True):
        if len(points):
            handles.append(legend_line(group.label, look, linestyle="none", markersize=5))
            _draw_group(ax, group, look, points)
    ax.set_xlabel("Half the distance between the ends under shift (pp)")
    ax.set_ylabel(f"α = {FIXED_ALPHA} above the mean of the ends (pp)")
    _draw_border(ax)
    place_legend(figure, handles, 3)
    return figure


def bonuses(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each fine-tuning on the average `shifts`, means over its models and seeds,
    in percentage points.

    Columns: `bonus` (alpha 0.5 over the mean of both ends), `gap` (zero-shot less fine-tuned),
    `ci_low` and `ci_high` of the bonus (Student's t over pre-training seeds; null of fewer than
    three), model, method, variant.

    Args:
        table: rows of the tidy table.
    """
    here = matching(of_runs(table), selection="grid", split="test", view="all", metric="accuracy")
    here = matching(here, dataset=average_name("shifts"), alpha=list(ENDS))
    if here.empty:
        return pd.DataFrame(columns=["model", "method", "variant", "bonus", "gap"])
    key = [*KEY, "model", "seed"]
    wide = in_one_space(here).fillna({"seed": 0}).pivot_table("value", key, "alpha").dropna()
    start, middle, end = (100 * wide[alpha] for alpha in ENDS)
    each = wide[[]].assign(bonus=middle - (start + end) / 2, gap=start - end).reset_index()
    entry = [without_seed(model) for model in each["model"]]
    several = each.groupby([*KEY, pd.Series(entry, name="entry")])["model"].transform("nunique") > 1
    means = over_models(each[several], KEY, ["bonus", "gap"])
    means = means.rename(columns={"bonus_ci_low": "ci_low", "bonus_ci_high": "ci_high"})
    alone = each[~several].groupby([*KEY, "model"], as_index=False)[["bonus", "gap"]].mean()
    return pd.concat([part for part in (means, alone) if len(part)], ignore_index=True)


def _draw_group(ax: Axes, group: Group, look: Look, points: pd.DataFrame) -> None:
    for point in points.to_dict("records"):
        place = abs(point["gap"]) / 2, point["bonus"]
        face = "white" if point["gap"] > 0 else look.color
        ax.plot(
            *place, **look.points, markerfacecolor=face, markersize=5, gid=group.label, zorder=4
        )
        if pd.notna(low := point.get("ci_low")):
            ends = [low, point["ci_high"]]
            ax.plot([place[0]] * 2, ends, color=look.color, linewidth=0.8, gid="interval")
        name = point["variant"] if point["variant"] in group.names else point["model"]
        if name in group.names:
            offset = group.offsets.get(name, (5.0, 0.0))
            side: dict[str, Any] = {"ha": "right" if offset[0] < 0 else "left", "va": "center"}
            text = group.names[name]
            ax.annotate(
                text, place, offset, textcoords="offset points", fontsize=6, **side
            ).set_gid("name")


def _draw_border(ax: Axes) -> None:
    """Draw where alpha 0.5 is as good as the better end, and say what lies on either side."""
    right, top = ax.get_xlim()[1], ax.get_ylim()[1]
    end = min(right, top)
    ax.plot([0, end], [0, end], **IDENTITY, gid="border")
    ax.axhline(0, color=GREY, linewidth=0.6, zorder=1, gid="zero")
    ax.set_xlim(0, right)
    how: dict[str, Any] = {"color": GREY, "fontsize": 7}
    ax.text(0.02, 0.97, "better than both ends", va="top", transform=ax.transAxes, **how)
    below = {"textcoords": "offset points", "ha": "right", **how}
    ax.annotate("one end is better", (right, 0), (-5, 4), **below)
