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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
_INTERVAL = 0.02


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
        # A word may be a program, and too long for a path.
        files = [Path(word) for word in self.words if os.access(word, os.R_OK)]
        scripts = [file for file in files if file.is_file() and file.stat().st_size <= _SCRIPT]
        return {"words": list(self.words), "scripts": {str(f): sha256_file(f) for f in scripts}}

    def filled(self, values: Mapping[str, str]) -> list[str]:
        """Return its words with the placeholders' values, each of which stays within its word."""
        return [_PLACEHOLDER.sub(lambda m: values[m[1]], word) for word in self.words]


def run(words: Sequence[str], printed: Path, stop: threading.Event) -> None:
    """Run a command in a session of its own, of which nothing is left afterwards.

    Lines of its standard error become messages; a progress bar is one line, as it stands last.

    Args:
        printed: file that gets its standard output.
        stop: ends the command as soon as it is set.

    Raises:
        WiseftError: if the command cannot be started, is stopped, or ends with another status
            than 0: then with its last lines.
    """
    tail: deque[str] = deque(maxlen=_TAIL)
    with printed.open("wb") as file:
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": file}
        try:
            process = subprocess.Popen(
                words, stderr=subprocess.PIPE, start_new_session=True, **pipes
            )
        except OSError as error:
            raise WiseftError(
                f"the evaluation {words[0]} cannot be run: {error.strerror}"
            ) from None

    def listen() -> None:
        for line in process.stderr or ():
            tail.append(line.decode(errors="replace").rstrip().split("\r")[-1])
            with contextlib.suppress(OSError):  # else the command waits for a reader
                log.info(tail[-1])

    listener = threading.Thread(target=listen, daemon=True)
    try:
        listener.start()
        while not stop.wait(_INTERVAL) and not _has_ended(process.pid):
            pass
    finally:
        _end(process)
        listener.join(PATIENCE)
    if stop.is_set():
        raise WiseftError(f"the evaluation {shlex.join(words)} was stopped")
    if (status := process.returncode) != 0:
        how = f"exit status {status}" if status > 0 else f"signal {signal.Signals(-status).name}"
        last = tail or printed.read_text(errors="replace").splitlines()[-_TAIL:]
        lines = "".join(f"\n  {line}" for line in last)
        raise WiseftError(f"the evaluation {shlex.join(words)} ended with {how}:{lines}")


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind the main thread within this context, as SIGINT does."""

    def leave(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a process and its group; it keeps its id until nothing is left."""
    try:
        _signal(process.pid, signal.SIGTERM)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and not _has_ended(process.pid):
            time.sleep(_INTERVAL)
    finally:
        _signal(process.pid, signal.SIGKILL)
        process.wait()


def _has_ended(process: int) -> bool:
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
