"""How much is done: a bar on a terminal, else a message now and then."""

from __future__ import annotations

import logging
import sys
from typing import Any

from tqdm import tqdm

log = logging.getLogger(__name__)

INTERVAL = 10.0
"""Seconds between two lines."""

DELAY = 1.0
"""Seconds before a `Meter` shows anything."""


class Meter(tqdm):
    """How much of something is done: tqdm's bar on a terminal, else its text as a message every
    three `INTERVAL`s; nothing in the first second, and nothing where messages are not heard.
    """

    monitor_interval = 0  # no thread: it would not live on in a fork

    def __init__(self, *given: Any, **look: Any):
        heard = log.isEnabledFor(logging.INFO) and not look.get("disable")
        look |= {"disable": not heard, "delay": DELAY, "leave": False}
        look |= {"unit": look.get("unit", "B"), "unit_scale": True}
        if not sys.stderr.isatty():
            form = "{desc}: {n_fmt} of {total_fmt}{unit}, {rate_fmt}, {remaining} left"
            look |= {"mininterval": 3 * INTERVAL, "miniters": 1, "bar_format": form}
        super().__init__(*given, **look)

    def update(self, n: float | None = 1) -> bool | None:
        """Count; where there is more than was expected, the end moves, so that it isn't passed."""
        if self.total is not None:
            self.total = max(self.total, self.n + (n or 0))
        return super().update(n)

    def skip(self, n: float) -> None:
        """Take off what is there already: it takes no time, and so is no part of the speed."""
        self.total = max((self.total or 0) - n, self.n)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Show the state, or a text in its place."""
        if sys.stderr.isatty():
            super().display(msg, pos)
        elif text := str(self) if msg is None else msg:
            log.info(text)
