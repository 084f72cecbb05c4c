"""The command of the user's own evaluation: its words, and a run that leaves no process behind."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from wiseft.base.io import sha256_file
from wiseft.errors import WiseftError

log = logging.getLogger(__name__)

_PLACEHOLDER = re.compile(r"\{(model|alpha|output|device)\}")
_SCRIPT = 2**20
"""Bytes of the largest file among the words that counts as a script."""
_TAIL = 20
"""Last lines that a failure shows."""
PATIENCE = 5.0
"""Seconds between asking a process to end and ending it."""
_ENDED = os.WEXITED | os.WNOWAIT | os.WNOHANG
Group = Callable[[], None]


@dataclass(frozen=True)
class Command:
    """A command with placeholders, split as a shell splits words, but run without a shell."""

    words: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Command:
        """Return the command of a line.

        Raises:
            WiseftError: if quotes do not end, or the model is nowhere.
        """
        try:
            words = tuple(shlex.split(text))
        except ValueError as error:
            raise WiseftError(f"--evaluate {text!r} cannot be split into words ({error})") from None
        if not any("{model}" in word for word in words):
            raise WiseftError(
                f"--evaluate {text!r} has no {{model}}, in whose place the path of the model goes, "
                "as in --evaluate 'python my_eval.py {model}'"
            )
        return cls(words)

    @property
    def writes(self) -> bool:
        """Whether it writes results to a path, in place of printing them."""
        return any("{output}" in word for word in self.words)

    def identity(self) -> dict[str, Any]:
        """Return what its results depend on: its words, and the sums of scripts among them."""
        files = [Path(word) for word in self.words if _is_script(Path(word))]
        return {"words": list(self.words), "scripts": {str(f): sha256_file(f) for f in files}}

    def filled(self, values: Mapping[str, str]) -> list[str]:
        """Return its words with the placeholders' values, each of which stays within its word."""
        return [_PLACEHOLDER.sub(lambda m: values[m[1]], word) for word in self.words]


def _is_script(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= _SCRIPT


def run(words: list[str], hear: Callable[[str], None], running: set[Group]) -> None:
    """Run a command in a session of its own, of which nothing is left afterwards.

    Args:
        hear: called with each line of its standard output; those of its standard error, which of
            a progress bar are as it last stood, become messages.
        running: has, while it runs, a function that ends it from another thread.

    Raises:
        WiseftError: if it cannot be started, or ends with another status than 0: then with its
            last lines.
    """
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    try:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, errors="replace", start_new_session=True, **pipes
        )
    except OSError as error:
        raise WiseftError(f"the evaluation {words[0]} cannot be run: {error.strerror}") from None
    tail: deque[str] = deque(maxlen=_TAIL)
    broken: list[BaseException] = []

    def listen(stream: IO[str], to: Callable[[str], None]) -> None:
        for line in stream:
            text = line.rstrip("\n").split("\r")[-1]
            tail.append(text)
            if not broken:
                try:
                    to(text)
                except BaseException as error:  # raised again where the command is waited for
                    broken.append(error)
                    end()

    def end() -> None:
        _signal(process.pid, signal.SIGTERM)

    listeners = [
        threading.Thread(target=listen, args=each, daemon=True)
        for each in ((process.stdout, hear), (process.stderr, log.info))
    ]
    running.add(end)
    try:
        for each in listeners:
            each.start()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it keeps its id until the end
    finally:
        running.discard(end)
        _end(process)
    for each in listeners:
        each.join(PATIENCE)
    if broken:
        raise broken[0]
    if process.returncode != 0:
        status = process.returncode
        how = f"exit status {status}" if status > 0 else f"signal {signal.Signals(-status).name}"
        lines = "".join(f"\n  {line}" for line in tail)
        raise WiseftError(f"the evaluation {shlex.join(words)} ended with {how}:{lines}")


def _end(process: subprocess.Popen[str]) -> None:
    """End what is left of a process and of its group; it keeps its id until nothing is left."""
    try:
        _signal(process.pid, signal.SIGTERM)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and not os.waitid(os.P_PID, process.pid, _ENDED):
            time.sleep(0.02)
    finally:
        _signal(process.pid, signal.SIGKILL)
        process.wait()


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
