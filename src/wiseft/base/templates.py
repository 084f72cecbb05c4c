"""Text, Markdown and HTML from Jinja2 templates, which lie beside the modules that fill them in."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from wiseft.base.rehearsal import noted, rehearsed


def render(template: str, **given: Any) -> str:
    """Return a template of Markdown filled in, below a note where this is a rehearsal."""
    text = filled(template, **given)
    return f"**{noted('')}**\n\n{text}" if rehearsed() else text


def filled(template: str, **given: Any) -> str:
    """Return a template filled in; in one of HTML every value is escaped.

    Args:
        template: its path below the package, such as `study/paper/summary.md.j2`.
        given: the values and functions that it names. Any other name is an error.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined  # parsing a config needs none

    environment = Environment(
        loader=PackageLoader("wiseft", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=".html" in template,
    )
    environment.filters |= {one.__name__: one for one in (cell, row, percent, points, p_text)}
    environment.tests["nan"] = math.isnan
    return environment.get_template(template).render(given)


def cell(text: object) -> str:
    """Return text as it may stand in a cell of a table: on one line, its bars escaped."""
    # Space that does not break stays what it is.
    return re.sub(r"[ \n]+", " ", str(text).strip()).replace("|", "\\|")


def plain(text: str) -> str:
    """Return text such that Markdown shows it as it is: on one line, neither markup nor HTML.

    A bar is left to `cell`, and an underscore within a word is none of Markdown's.
    """
    line = escape(re.sub(r"[ \t\n\r\f\v]+", " ", text), quote=False)
    return re.sub(r"[\\`*\[\]~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", line)


def row(cells: Iterable[object]) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(map(cell, cells))} |"


def aligned(rows: Iterable[Sequence[str]]) -> str:
    """Return rows of texts as lines whose columns stand below each other."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ([text.ljust(width) for text, width in zip(row, widths, strict=True)] for row in rows)
    return "\n".join("  ".join(row).rstrip() for row in padded)


def percent(value: float) -> str:
    """Return a fraction as percent with one decimal."""
    return f"{100 * value:.1f}"


def points(value: float) -> str:
    """Return a difference of fractions in signed percentage points."""
    return signed(100 * value)


def signed(points: float) -> str:
    """Return a difference in percentage points with its sign; 0.0 has none."""
    text = f"{points:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def p_text(value: float) -> str:
    """Return a p value with two significant digits."""
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"
