"""Messages of the library, which nobody hears unless a program asks the loggers below `wiseft`."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator


def print_line(text: str) -> None:
    """Print a line to stderr at once, so that a log file shows how far a job is."""
    print(text, file=sys.stderr, flush=True)


class _Lines(logging.Handler):
    """Hands over bare messages; what that raises (a full disk) is not swallowed."""

    def __init__(self, write: Callable[[str], None]):
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        self._write(self.format(record))


@contextlib.contextmanager
def shown(write: Callable[[str], None] = print_line) -> Iterator[None]:
    """Show the library's messages while the block runs, as the commands do.

    Args:
        write: called with every message.
    """
    logger, handler = logging.getLogger("wiseft"), _Lines(write)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # what another library gave the root would show them twice
    try:
        yield
    finally:
        logger.setLevel(before[0])
        logger.propagate = before[1]
        logger.removeHandler(handler)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let nothing below a warning be heard while the block runs."""
    logger = logging.getLogger("wiseft")
    before = logger.level
    logger.setLevel(max(logger.getEffectiveLevel(), logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(before)
