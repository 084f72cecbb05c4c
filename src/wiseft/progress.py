"""Progress lines of a training."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


def print_line(text: str) -> None:
    """Print a line to stderr at once, so that a log file shows how far a job is."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """Logs step, loss, learning rate, speed and the time left, every `interval` seconds.

    Args:
        steps: of the whole training.
        interval: seconds between two lines; the last step always has one.
        log: called with a line.
    """

    def __init__(self, steps: int, interval: float = 10.0, log: Callable[[str], None] = print_line):
        self.steps = steps
        self.interval = interval
        self.log = log
        self._began = self._shown = time.monotonic()
        self._images = self._done = 0

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
        self._done += 1
        if now - self._shown < self.interval and step < self.steps:
            return
        self._shown = now
        elapsed = max(now - self._began, 1e-9)
        left = (self.steps - step) * elapsed / self._done
        self.log(
            f"step {step}/{self.steps}  loss {loss:.4f}  lr {learning_rate:.2e}  "
            f"{self._images / elapsed:.0f} images/s  {left:.0f} s left"
        )
