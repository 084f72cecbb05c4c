"""Progress: a bar on a terminal, else a message now and then."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from tqdm import tqdm

log = logging.getLogger(__name__)

INTERVAL = 10.0
"""Seconds between two lines."""

DELAY = 1.0
"""Seconds before a `Meter` shows anything."""


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
        self._first: tuple[float, int] | None = None  # when the first step ended, images by then
        self._images = self.done = 0
        self._bar: Any = None
        if log.isEnabledFor(logging.INFO) and sys.stderr.isatty():
            self._bar = tqdm(total=steps, unit="step", dynamic_ncols=True, mininterval=0.5)

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
        began, done = (self._first[0], self.done - 1) if self.done > 1 else (self._began, 1)
        left = max(self.steps - step, 0) * (now - began) / done
        log.info(f"step {step}/{self.steps}  {figures}  {duration(left)} left")

    def _move_bar(self, step: int, figures: str) -> None:
        if self.done == 1:
            self._bar.initial = self._bar.n = step - 1  # steps before a resumption took no time
        self._bar.set_postfix_str(figures, refresh=False)
        self._bar.update(min(step, self.steps) - self._bar.n)
        if step >= self.steps:
            self.close()

    def close(self) -> None:
        """Leave the bar as it stands, so that what follows has a line of its own."""
        if self._bar is not None:
            self._bar.close()


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


def duration(seconds: float) -> str:
    """Return a time as `12 s`, `3 min 20 s` or `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
