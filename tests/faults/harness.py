"""One attack in a process of its own, forked from one that has imported everything: quick, alone,
and to be killed, starved and watched without harm to the others.
"""

from __future__ import annotations

import errno
import io
import os
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wiseft.study.data.layouts.metadata import READ

SECONDS = 20.0
"""Of the processor, after which a command hangs: each of these takes one or two."""
PATIENCE = 15
"""How many times longer it may take by the clock, on a machine that is busy with other things."""
MEMORY = 1_500 * 2**20
"""Bytes that a command may use above what it starts with."""
LONGEST = 2_500
"""Characters of what may be said before it is no sentence any more."""
UNCLEAR = {
    "Traceback (most recent call last)": "a traceback",
    "error: unexpected ": "an unexpected error",
    "allow_pickle": "advice to allow pickles",
    "pydantic.dev": "pydantic's own text",
}
PROCESSES = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn")


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: its exit code, negative for a signal.
        output: what it said, errors included.
        seen: what it did that no command of ours does: processes, files outside its folder.
        exceeded: "time" or "memory" if it was ended for using too much of it.
    """

    code: int
    output: str
    seen: list[str]
    exceeded: str

    @property
    def unclear(self) -> str:
        """What is wrong with what it said; empty if it is a sentence, or all went well."""
        if self.exceeded:
            return f"it was ended: too much {self.exceeded}"
        if self.code not in (0, 1, 2):
            return f"exit code {self.code}"
        if found := [fault for text, fault in UNCLEAR.items() if text in self.output]:
            return found[0]
        if self.code == 1 and not re.search(r"^error: \S", self.output, re.MULTILINE):
            return "exit code 1 without an error"
        # Wrong usage (2) repeats what was typed, however long that was.
        if self.code == 1 and len(self.output) > LONGEST:
            return f"{len(self.output)} characters are no sentence"
        return ""


def command(*arguments: object) -> Callable[[], None]:
    """Return the work of a command line of ours."""

    def work() -> None:
        from wiseft.cli import main

        main([str(argument) for argument in arguments])

    return work


def as_command(function: Callable[[], Any]) -> Callable[[], None]:
    """Return work whose errors are told as a command tells them."""

    def work() -> None:
        from wiseft import cli

        try:
            function()
        except Exception as error:
            print(f"error: {cli._message(error)}", file=sys.stderr)
            sys.exit(1)

    return work


def run(
    work: Callable[[], None],
    folder: Path,
    *,
    before: Callable[[], None] | None = None,
    seconds: float = SECONDS,
    loopback: bool = False,
) -> Ended:
    """Run work in a folder, in a process of its own, and wait for it.

    Args:
        before: done in the process first: limits, a kill that waits for its time.
        loopback: whether servers on this machine may be asked; no other ever is.
    """
    with (
        tempfile.TemporaryFile("w+", errors="replace") as output,
        tempfile.TemporaryFile("w+", errors="replace") as seen,
    ):
        sys.stdout.flush()
        sys.stderr.flush()
        process = os.fork()
        if process == 0:
            _child(work, folder, before, output.fileno(), seen.fileno(), loopback)
        code, exceeded = _wait(process, seconds)
        with suppress(ProcessLookupError):  # whatever it left running
            os.killpg(process, signal.SIGKILL)
        output.seek(0)
        seen.seek(0)
        return Ended(code, output.read(), seen.read().splitlines(), exceeded)


def _child(
    work: Callable[[], None],
    folder: Path,
    before: Callable[[], None] | None,
    output: int,
    seen: int,
    loopback: bool,
) -> None:
    code = 99
    try:
        os.setsid()
        for standard in (1, 2):
            os.dup2(output, standard)
        for name in ("stdout", "stderr"):
            setattr(sys, name, io.TextIOWrapper(open(1, "wb", closefd=False), "utf-8", "replace"))  # noqa: SIM115
        os.chdir(folder)
        sys.dont_write_bytecode = True  # a module that is imported here first would be compiled
        _guard(folder.resolve(), seen, loopback)
        if before is not None:
            before()
        work()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1 if left.code else 0
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 98
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _guard(folder: Path, seen: int, loopback: bool) -> None:
    """Note what no command of ours does; let nothing leave this machine or be written elsewhere."""
    allowed = (str(folder), tempfile.gettempdir(), "/dev/", "/proc/self/")
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in PROCESSES:
            # The commit that stands in headers, and what tries a MATLAB file.
            if "git" not in str(arguments[0]) and repr(READ) not in str(arguments):
                os.write(seen, f"{event} {arguments!r}\n"[:300].encode())
        elif event in ("socket.connect", "socket.getaddrinfo"):
            if not (loopback and "127.0.0.1" in str(arguments)):
                raise OSError(errno.ENETUNREACH, "Network is unreachable")
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & writing:
            path = arguments[0]
            if isinstance(path, str | bytes):
                whole = os.path.realpath(os.fsdecode(path))
                if not whole.startswith(allowed):
                    os.write(seen, f"writes {whole}\n".encode())
                    raise PermissionError(errno.EACCES, "Permission denied", whole)

    sys.addaudithook(hook)


def _wait(process: int, seconds: float) -> tuple[int, str]:
    """Return the exit code, and what was exceeded."""
    end, most = time.monotonic() + PATIENCE * seconds, _resident(os.getpid()) + MEMORY
    exceeded, pause = "", 0.002
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), exceeded
        late = time.monotonic() > end or _busy(process) > seconds
        large = _resident(process) > most
        if not exceeded and (late or large):
            exceeded = "time" if late else "memory"
            os.kill(process, signal.SIGKILL)
        time.sleep(pause)
        pause = min(0.05, 1.5 * pause)


def _busy(process: int) -> float:
    """Return the seconds of the processor that a process has used."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return 0.0
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _resident(process: int) -> int:
    try:
        text = Path(f"/proc/{process}/statm").read_text()
    except OSError:
        return 0
    return int(text.split()[1]) * resource.getpagesize()


# ---------------------------------------------------------------------------------------- kills


EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.chmod")
"""Between any two of these the files are in another state."""


def count_events(counter: Any) -> Callable[[], None]:
    """Return what counts the events of a process in a number that processes share."""

    def before() -> None:
        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            counter.value += event in EVENTS

        sys.addaudithook(hook)

    return before


def kill_at_event(number: int) -> Callable[[], None]:
    """Return what kills the process before its event of that number, from 1."""

    def before() -> None:
        left = number

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            if event in EVENTS:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)

    return before


def end_after(seconds: float) -> Callable[[], None]:
    """Return what ends the process after some time, wherever it is: no handler is asked."""
    return lambda: signal.setitimer(signal.ITIMER_REAL, seconds)
