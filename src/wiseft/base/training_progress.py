"""How far a training is: a bar on a terminal, else a message now and then; and a file of it."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from wiseft.base.io import write_text
from wiseft.base.progress import INTERVAL

log = logging.getLogger(__name__)

Report = Callable[[int, float, float, int], None]
"""Is told of every step: steps made, loss, learning rate, samples of the step."""


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


@contextlib.contextmanager
def steps_told(progress: Progress, json_lines: Path | None) -> Iterator[Report]:
    """Yield what is told of every step: the progress and, where wanted, a line of a JSON file.

    The first line replaces what an earlier process, which was killed or whose training was another,
    wrote from that step on.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(progress.close)
        file: TextIO | None = None

        def report(step: int, loss: float, learning_rate: float, images: int) -> None:
            nonlocal file
            progress(step, loss, learning_rate, images)
            if json_lines and file is None:
                _keep_before(step, json_lines)
                file = stack.enter_context(json_lines.open("a", encoding="utf-8"))
            if file:
                values = {"step": step, "loss": loss, "learning_rate": learning_rate}
                values["images_per_second"] = round(progress.images_per_second, 2)
                print(json.dumps(values), file=file, flush=True)

        yield report


def _keep_before(step: int, path: Path) -> None:
    there = path.read_text(errors="replace") if path.is_file() else ""
    found = [re.match(r'{"step": (\d+),.*}\n', line) for line in there.splitlines(True)]
    write_text(path, "".join(one[0] for one in found if one and int(one[1]) < step))


def duration(seconds: float) -> str:
    """Return a time as `12 s`, `3 min 20 s` or `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
