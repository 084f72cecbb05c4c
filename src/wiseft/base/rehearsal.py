"""Whether this is a rehearsal, whose numbers mean nothing: what is made then says so itself."""

from __future__ import annotations

import os
from typing import Any

VARIABLE = "WISEFT_REHEARSAL"
"""In the environment of all commands of a rehearsal (`rehearsal: true` in config/config.yaml)."""
TITLE = "Rehearsal: "
NOTE = "This is a rehearsal: few images, tiny models, hardly trained. No number means anything."


def rehearsed() -> bool:
    """Whether what runs is a rehearsal."""
    return os.environ.get(VARIABLE) == "1"


def titled(title: str) -> str:
    """Return a page's title, marked where this is a rehearsal."""
    return f"{TITLE}{title}" if rehearsed() else title


def noted(text: str) -> str:
    """Return a text, below the note that this is a rehearsal where it is one."""
    return f"{NOTE} {text}".rstrip() if rehearsed() else text


def mark(figure: Any) -> None:
    """Write "rehearsal" across a figure of matplotlib, where this is one."""
    if rehearsed():
        look = {"fontsize": 30, "color": "#d00000", "alpha": 0.35, "rotation": 25}
        figure.text(0.5, 0.5, "rehearsal", ha="center", va="center", zorder=1000, **look)
