"""How far a download, a check or an unpacking is, in bytes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tqdm import tqdm

from wiseft.progress import print_line

INTERVAL = 10.0
"""Seconds between two lines."""


class Meter:
    """Shows a bar on a terminal, else a line at most every ten seconds. Used in a `with` block.

    Args:
        what: is under way, for example ``sun397.tar.gz: downloading``.
        total: bytes of the whole; None where nobody knows.
        done: bytes that were there before.
        say: called with a line where stderr is not a terminal.
        interval: seconds between two lines; None: ten.
        delay: seconds before a bar appears.
    """

    def __init__(
        self,
        what: str,
        total: int | None,
        done: int = 0,
        *,
        say: Callable[[str], None] = print_line,
        interval: float | None = None,
        delay: float = 1.0,
    ):
        self.what = what
        self.total = total
        self.say = say
        self.interval = INTERVAL if interval is None else interval
        self.done = self._before = done
        self._began = self._shown = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(
                desc=what, total=total, initial=done, unit="B", unit_scale=True, delay=delay
            )

    def add(self, n: int) -> None:
        """Count `n` more bytes."""
        self.done += n
        if self._bar is not None:
            self._bar.update(n)
            return
        now = time.monotonic()
        if now - self._shown >= self.interval:
            self._shown = now
            self.say(self.line(now - self._began))

    def line(self, elapsed: float) -> str:
        """Return what is done, of how much, how fast and the time left, after `elapsed` seconds."""
        speed = (self.done - self._before) / max(elapsed, 1e-9)
        if self.total is None:
            return f"{self.what}, {self.done / 1e6:.0f} MB, {speed / 1e6:.1f} MB/s"
        left = f"{(self.total - self.done) / speed:.0f} s left" if speed else "no end in sight"
        return (
            f"{self.what}, {self.done / 1e6:.0f} of {self.total / 1e6:.0f} MB, "
            f"{speed / 1e6:.1f} MB/s, {left}"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
