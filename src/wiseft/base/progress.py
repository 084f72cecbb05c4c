"""Messages of the library, and progress: a bar on a terminal, else a line now and then.

Messages go to the loggers below `wiseft`, which nobody hears unless a program asks for them.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

log = logging.getLogger(__name__)

INTERVAL = 10.0
"""Seconds between two lines."""


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


def _new_bar(**look: Any) -> Any:
    """Return a bar of tqdm; None where messages are not heard, or not on a terminal."""
    if not (log.isEnabledFor(logging.INFO) and sys.stderr.isatty()):
        return None
    from tqdm import tqdm

    return tqdm(file=sys.stderr, **look)


class Progress:
    """Shows step, loss, learning rate, speed and the time left.

    Args:
        steps: of the whole training.
        interval: seconds between two lines; the last step always has one.

    Attributes:
        done: steps counted here, without those before a resumption.
    """

    def __init__(self, steps: int, interval: float = INTERVAL):
        self.steps = steps
        self.interval = interval
        self._began = self._shown = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._images = self.done = 0
        self._bar = _new_bar(total=steps, unit="step", dynamic_ncols=True, mininterval=0.5)

    @property
    def seconds(self) -> float:
        """Seconds since this was made."""
        return time.monotonic() - self._began

    @property
    def images_per_second(self) -> float:
        """The speed so far, without the first step, in which memory is found and code compiled."""
        began, before = self._first or (self._began, 0)
        if self._images == before:
            began, before = self._began, 0
        return (self._images - before) / max(time.monotonic() - began, 1e-9)

    def __call__(self, step: int, loss: float, learning_rate: float, images: int) -> None:
        """Count a step.

        Args:
            step: number of steps made, those before a resumption included.
            loss: of the step.
            learning_rate: of the step.
            images: in the step.
        """
        now = time.monotonic()
        self._images += images
        self.done += 1
        if self._first is None:
            self._first = (now, self._images)
        figures = f"loss {loss:.4f}  lr {learning_rate:.2e}  {self.images_per_second:.0f} images/s"
        if self._bar is not None:
            self._move_bar(step, figures)
            return
        if now - self._shown < self.interval and step < self.steps:
            return
        self._shown = now
        left = (self.steps - step) * (now - self._began) / self.done
        log.info(f"step {step}/{self.steps}  {figures}  {duration(left)} left")

    def _move_bar(self, step: int, figures: str) -> None:
        if self.done == 1:
            self._bar.initial = self._bar.n = step - 1  # steps before a resumption took no time
        self._bar.set_postfix_str(figures, refresh=False)
        self._bar.update(1)
        if step >= self.steps:
            self.close()

    def close(self) -> None:
        """Leave the bar as it stands, so that what follows has a line of its own."""
        if self._bar is not None:
            self._bar.close()


class Meter:
    """Shows a bar on a terminal, else a line at most every ten seconds. Used in a `with` block.

    Args:
        what: is under way, for example ``sun397.tar.gz: downloading``.
        total: bytes of the whole, or other things by name of `unit`; None where nobody knows.
        done: bytes that were there before.
        interval: seconds between two lines; None: ten.
        delay: seconds before a bar appears.
    """

    def __init__(
        self,
        what: str,
        total: int | None,
        done: int = 0,
        *,
        interval: float | None = None,
        delay: float = 1.0,
        unit: str = "B",
    ):
        self.what = what
        self.unit = unit
        self.total = total
        self.interval = INTERVAL if interval is None else interval
        self.done = self._before = done
        self._began = self._shown = time.monotonic()
        self._bar = _new_bar(
            desc=what, total=total, initial=done, unit=unit, unit_scale=True, delay=delay
        )

    def add(self, n: int) -> None:
        """Count `n` more."""
        self.done += n
        if self._bar is not None:
            self._bar.update(n)
            return
        now = time.monotonic()
        if now - self._shown >= self.interval:
            self._shown = now
            log.info(self.line(now - self._began))

    def line(self, elapsed: float) -> str:
        """Return what is done, of how much, how fast and the time left, after `elapsed` seconds."""
        speed = (self.done - self._before) / max(elapsed, 1e-9)
        if self.total is None:
            return f"{self.what}, {self.done / 1e6:.0f} MB, {speed / 1e6:.1f} MB/s"
        left = f"{(self.total - self.done) / speed:.0f} s left" if speed else "no end in sight"
        if self.unit != "B":
            return f"{self.what}, {self.done:,} of {self.total:,} {self.unit.strip()}, {left}"
        return (
            f"{self.what}, {self.done / 1e6:.0f} of {self.total / 1e6:.0f} MB, "
            f"{speed / 1e6:.1f} MB/s, {left}"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def duration(seconds: float) -> str:
    """Return a time as `12 s`, `3 min 20 s` or `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
