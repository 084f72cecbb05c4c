"""Which model decides (the form of the paper's Figure 5, middle and right). Left: samples on which
the zero-shot and the fine-tuned model disagree. The bars show how often the model at α = 0.5
predicts like the zero-shot model, which then overrides the other one, and how often like the
fine-tuned model. The rest goes to a third class. Right: δ is the mean difference between the two
largest logits. Above zero, the zero-shot model is more confident.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from wiseft.figures.axes import panel_grid
from wiseft.figures.labels import name_of
from wiseft.figures.style import BLACK, Style
from wiseft.study.drawings.bars import FILLS, bar, draw_bars, name_bars, place_bar_legend
from wiseft.tabulate.schema import PAIR_PREFIX

SHARES = {"overrides": "zero-shot overrides", "overridden": "zero-shot is overridden"}
MARGIN, DIFFERENCE = "margin-difference", "δ zero-shot − δ fine-tuned"
HEIGHT = 2.1
"""Inches of the panels."""


def draw(
    table: pd.DataFrame,
    style: Style,
    *,
    datasets: list[str],
    method: str = "linear-classifier",
    model: str | None = None,
    titles: dict[str, str] | None = None,
) -> Figure:
    """Draw both panels.

    Args:
        table: the tidy table.
        style: looks and widths.
        datasets: datasets below the bars, in reading order.
        method: id of the method whose fine-tuned model is compared with the zero-shot one.
        model: the model to draw; by default the mean over all.
        titles: names of the datasets as readers know them.

    Raises:
        WiseftError: if a bar has no row, or several of one run.
    """
    name, _, variant = method.partition("__")
    where = {"method": name, "variant": variant, "combination": f"{PAIR_PREFIX}zero-shot"}
    if model is not None:
        where["model"] = model
    texts = [name_of(dataset, titles or {}) for dataset in datasets]
    figure, (left, right) = panel_grid(style, 2, 2, HEIGHT)
    bars = {
        metric: [bar(table, {**where, "metric": metric, "dataset": name}) for name in datasets]
        for metric in (*SHARES, MARGIN)
    }
    for place, (metric, label) in enumerate(SHARES.items()):
        draw_bars(left, bars[metric], place, len(SHARES), label)
    draw_bars(right, bars[MARGIN], 0, 1, MARGIN, FILLS[len(SHARES)])
    right.axhline(0, color=BLACK, linewidth=0.6, zorder=3, gid="zero")
    for ax in (left, right):
        name_bars(ax, texts)
    left.set_ylabel("Share of disagreements")
    right.set_ylabel(DIFFERENCE)
    place_bar_legend(figure, [*SHARES.values(), DIFFERENCE])
    return figure
