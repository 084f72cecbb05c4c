"""The least speed of a transfer and the largest answer, so that no server holds up a command."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

LEAST = 10_000
"""Bytes a second, over a window."""
WINDOW = 60.0
"""Seconds."""
LARGEST = 2 * 1024**3
"""Bytes of an answer whose size nobody says."""


class Pace:
    """Watches one transfer; every window counts by itself.

    Args:
        error: what `add` raises at the end of a window with too few bytes.
    """

    def __init__(self, error: Callable[[str], Exception]):
        self._error, self._since, self._bytes = error, monotonic(), 0

    def add(self, n: int) -> None:
        """Count bytes that came."""
        self._bytes += n
        if (seconds := monotonic() - self._since) < WINDOW:
            return
        if self._bytes < LEAST * seconds:
            came = f"{self._bytes} bytes came in {seconds:.0f} s"
            raise self._error(f"the server is too slow: {came}, fewer than {LEAST} a second")
        self._since, self._bytes = monotonic(), 0
