"""The style of every figure: sizes in inches, one colour, marker and line for each thing drawn."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Literal

import matplotlib as mpl

from wiseft.figures.labels import SEPARATOR

BLACK, GREY, OLIVE = "#000000", "#8a8a8a", "#6b6b00"
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
BEYOND: dict[str, Any] = {"color": GREY, "linestyle": DOTTED, "linewidth": 0.8}
"""A line continued beyond the models that it goes through."""
FADED_LINE = (0, (1, 1.2))
"""Of published numbers, where measured ones stand beside them."""


@dataclass(frozen=True)
class Look:
    """How one method is drawn; marker and line differ so that a grey print can be read too."""

    label: str
    color: str
    marker: str
    linestyle: Any = "-"

    @property
    def line(self) -> dict[str, Any]:
        """What matplotlib is told of a line."""
        return {"color": self.color, "linestyle": self.linestyle}

    @property
    def points(self) -> dict[str, Any]:
        """What matplotlib is told of points that no line joins."""
        return {"color": self.color, "marker": self.marker, "linestyle": "none"}


METHODS: dict[str, Look] = {
    "end-to-end": Look("WiSE-FT, end-to-end", BLUE, "s", "-"),
    "linear-classifier": Look("WiSE-FT, linear classifier", VERMILLION, "D", DASHED),
}
SPELT = {"lora": "LoRA", "lp-ft": "LP-FT"}
"""Names of methods that have no look of their own, as their papers spell them."""
OUTPUT_SPACE = Look("output-space ensemble", BLUE, "", DOTTED)
ZERO_SHOT = Look("zero-shot", BLACK, "*")
FROM_SCRATCH = Look("trained from scratch", GREEN, "o", "-")
AUGMENTED = Look("trained from scratch", GREEN, "^")
FamilyName = Literal[
    "standard", "zero-shot", "more-data", "robustness-intervention", "lp-adversarial"
]
FAMILIES: dict[str, Look] = {
    "standard": Look("standard ImageNet models", GREEN, "o", "-"),
    "zero-shot": Look("zero-shot CLIP models", PURPLE, "v", (0, (6, 1.4))),
    "more-data": Look("trained with more data", SKY, "^", ""),
    "robustness-intervention": Look("robustness interventions", ORANGE, "x", ""),
    "lp-adversarial": Look("Lp-adversarially trained", GREY, "+", ""),
}
"""Other people's models, by the method of their rows."""
SCALE = (
    Look("", "#3b0f70", "v", "-"),
    Look("", "#8c2981", "<", DASHED),
    Look("", BLUE, "s", "-"),
    Look("", "#de6f2b", "D", DASHDOT),
    Look("", "#b8860b", "^", "-"),
)
"""Looks of alphas from 0 to 1, of lines that are told apart by alpha."""
SPARE = (
    Look("", PURPLE, "v", DASHDOT),
    Look("", ORANGE, "P", (0, (2, 1.2))),
    Look("", SKY, "X", (0, (7, 1.5))),
    Look("", "#7a5195", "<", "-"),
    Look("", OLIVE, "p", DASHED),
    Look("", "#444444", "h", DASHDOT),
    Look("", "#b5475d", ">", "-"),
    Look("", "#00796b", "d", DASHED),
    Look("", "#a65628", "^", DASHDOT),
    Look("", "#7cb518", "H", (0, (2, 1.2))),
    Look("", "#8b0000", "8", (0, (7, 1.5))),
)
"""Looks of methods that have none of their own, in order of appearance."""


def spare_looks(beside: Iterable[Look]) -> Iterator[Look]:
    """Yield looks that differ from each other and, in colour, from what is drawn beside them.

    When the colours are used up they come again, each with the marker and line of another one.
    """
    taken = {look.color for look in beside}
    free = [look for look in SPARE if look.color not in taken]
    for turn in range(len(free)):
        for place, look in enumerate(free):
            other = free[(place + turn) % len(free)]
            yield replace(look, marker=other.marker, linestyle=other.linestyle)


def title(name: str) -> str:
    """Return the title of a line: its method's label, and what else its name says."""
    method, *rest = name.split(SEPARATOR)
    label = METHODS[method].label if method in METHODS else SPELT.get(method, method)
    return SEPARATOR.join([label, *rest])


@dataclass(frozen=True)
class Style:
    """What a drawing may use: widths in inches, of one column of a two-column paper and of both,
    and the look of each method.
    """

    column_width: float = 3.25
    page_width: float = 6.75

    def looks(self, methods: list[str], beside: Iterable[Look] = ()) -> dict[str, Look]:
        """Return a look for each method, unlike all others and unlike what is drawn beside them.

        The same methods in the same order always get the same looks.
        """
        spare = spare_looks(beside)
        return {
            method: METHODS.get(method) or replace(next(spare), label=title(method))
            for method in methods
        }


@contextlib.contextmanager
def paper_style() -> Iterator[Style]:
    """Apply ``figures/paper.mplstyle`` over matplotlib's defaults, whatever the user's rc says."""
    path = files("wiseft.figures") / "paper.mplstyle"
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(mpl.rc_params_from_file(str(path), use_default_template=False))
        yield Style()
