"""The least speed of a transfer and the largest answer, so that no server holds up a command."""

from __future__ import annotations

from time import monotonic

LEAST = 10_000
"""Bytes a second, over a window."""
WINDOW = 60.0
"""Seconds."""
LARGEST = 2 * 1024**3
"""Bytes of an answer whose size nobody says."""


class TooSlow(Exception):
    """Fewer bytes came in a window than the least speed brings."""


class Pace:
    """Watches one transfer; every window counts by itself."""

    def __init__(self) -> None:
        self._since, self._bytes = monotonic(), 0

    def add(self, n: int) -> None:
        """Count bytes that came. Raises TooSlow at the end of a window with too few."""
        self._bytes += n
        seconds = monotonic() - self._since
        if seconds < WINDOW:
            return
        if self._bytes < LEAST * seconds:
            raise TooSlow(
                f"only {self._bytes} bytes came in {seconds:.0f} s, fewer than {LEAST} a second"
            )
        self._since, self._bytes = monotonic(), 0
