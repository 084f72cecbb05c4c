"""The style of every figure: sizes in inches, one colour, marker and line for each thing drawn."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import matplotlib as mpl

COLUMN_WIDTH = 3.25
"""Inches: one column of a two-column paper."""
PAGE_WIDTH = 6.75
"""Inches: both columns."""

BLACK, GREY = "#000000", "#8a8a8a"
# Okabe and Ito's palette, which stays distinct under the common colour-vision deficiencies.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
)
DASHED, DOTTED, DASHDOT = (0, (4, 1.4)), (0, (1, 1.3)), (0, (5, 1.4, 1, 1.4))


@dataclass(frozen=True)
class Look:
    """How one method is drawn; marker and line differ so that a grey print can be read too."""

    label: str
    color: str
    marker: str
    linestyle: Any = "-"


METHODS: dict[str, Look] = {
    "end-to-end": Look("WiSE-FT, end-to-end", BLUE, "s", "-"),
    "linear-classifier": Look("WiSE-FT, linear classifier", VERMILLION, "D", DASHED),
}
OUTPUT_SPACE = Look("output-space ensemble", BLUE, "", DOTTED)
ZERO_SHOT = Look("zero-shot", BLACK, "*")
FROM_SCRATCH = Look("trained from scratch", GREEN, "o", "-")
AUGMENTED = Look("trained from scratch", GREEN, "^")
SPARE = (
    Look("", PURPLE, "v", DASHDOT),
    Look("", ORANGE, "P", (0, (2, 1.2))),
    Look("", SKY, "X", (0, (7, 1.5))),
)
"""Looks of methods that have none of their own, in order of appearance."""


@dataclass(frozen=True)
class Style:
    """What a drawing may use: widths in inches and the look of each method."""

    column_width: float = COLUMN_WIDTH
    page_width: float = PAGE_WIDTH
    methods: dict[str, Look] = field(default_factory=lambda: dict(METHODS))

    def looks(self, methods: list[str]) -> dict[str, Look]:
        """Return a look for each method; the same list always gets the same looks."""
        spare = iter(SPARE * len(methods))
        found = {}
        for method in methods:
            look = self.methods.get(method)
            if look is None:
                free = next(spare)
                look = Look(method, free.color, free.marker, free.linestyle)
            found[method] = look
        return found


@contextlib.contextmanager
def paper_style() -> Iterator[Style]:
    """Apply ``style/paper.mplstyle`` over matplotlib's defaults, whatever a user's own rc says."""
    path = files("wiseft") / "style" / "paper.mplstyle"
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(mpl.rc_params_from_file(str(path), use_default_template=False))
        yield Style()
