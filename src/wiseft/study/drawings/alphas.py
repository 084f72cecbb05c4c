"""Accuracy at every α, from the zero-shot model (0) to the fine-tuned one (1), one line per
dataset. Bands are the 95 % intervals of the table; over several runs their ends are averaged. Each
band belongs to one α. Neighbouring alphas see the same images, so they may differ less than the
bands suggest. Dotted lines are choices of α.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from wiseft.figures.curves import draw_by_alpha
from wiseft.figures.style import Style


def draw(
    table: pd.DataFrame,
    style: Style,
    *,
    marks: dict[str, float] | None = None,
    label: str | None = None,
) -> Figure:
    """Draw a line for each dataset.

    Args:
        table: the tidy table, with one method.
        style: looks and widths.
        marks: alphas to mark with a dotted line, by the text written there.
        label: name of a metric that is drawn as it is; null: an accuracy, in percent.

    Raises:
        WiseftError: if the table lacks what is drawn.
    """
    return draw_by_alpha(table, style, marks, label)
