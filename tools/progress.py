"""Condense Snakemake's output: a line for each job that starts, what runs now, errors in full.

    snakemake ... 2>&1 | python -u tools/progress.py [EXPERIMENT]

shows `0:42  [ 3/57] finetune ...` and, on a terminal as a line that is written over, else every
half minute, how long the jobs that run now have been running, how far their logs say that they are,
or how long such a job took before. A line that is not known to be noise passes unchanged.
"""

from __future__ import annotations

import contextlib
import csv
import queue
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from wiseft.errors import WiseftError
from wiseft.study.plan.needs import needs_of
from wiseft.study.targets import Targets

NOISE = re.compile(
    r"^(Using workflow specific profile|Assuming unrestricted shared|Building DAG of jobs"
    r"|Using shell:|Provided (cores|resources):|Rules claiming more threads|Select jobs to execute"
    r"|Execute \d+ jobs|\d+ of \d+ steps|\[\w{3} \w{3} +\d+ [\d:]+ \d{4}\]$"
    r"|Elapsed time:|Conda environments: ignored|Cannot restore .*: no backup found"
    r"|RuleException:$|CalledProcessError in file | {4}message: None$)"
)
# The command of a failed job stands below it as `shell:` too, without the prefix of all commands.
COMMAND, COMMAND_END = (
    re.compile(r"^Command '"),
    re.compile(r"returned non-zero exit status \d+\.$"),
)
JOB = re.compile(r"^Job (\d+): (.*)$")
ENDED = re.compile(r"^(?:Finished jobid: | {4}jobid: )(\d+)")
TOTAL = re.compile(r"^total +(\d+)")
FILES = re.compile(r"^ {4}(input|output): .{200}")
UP_TO_DATE = re.compile(r"^Nothing to be done")
STEP = re.compile(r"(step \d+/\d+)\b.*?(\d[\w ]* left)$")
BYTES = re.compile(r"\d+ of \d+ MB, .*")
BAR = 20  # characters
SILENCE, REFRESH = 30.0, 1.0  # seconds between two lines of what runs now; on a terminal


class Condenser:
    """Takes Snakemake's lines and says which are worth reading, and what runs.

    Args:
        logs: the folder of the jobs' logs.
    """

    def __init__(self, logs: Path = Path("logs")) -> None:
        self.logs = logs
        self.started = self.done = self.total = 0
        self.running: dict[str, tuple[str, float, float]] = {}
        self._in_table = self._in_command = False

    def line(self, text: str, seconds: float) -> list[str]:
        """Return what is shown of a line, read so many seconds after the start."""
        text = text.rstrip("\n")
        if self._in_table:
            if found := TOTAL.match(text):
                self.total = int(found[1])
            self._in_table = text != ""
        elif self._in_command or COMMAND.match(text):
            self._in_command = not COMMAND_END.search(text)
        elif text == "Job stats:":
            self._in_table = True
        elif found := JOB.match(text):
            self.started += 1
            self.running[found[1]] = found[2], seconds, time.time()
            number = f"[{self.started:>{len(str(self.total))}}/{self.total}]"
            return [f"{clock(seconds):>5}  {number} {found[2]}"]
        elif UP_TO_DATE.match(text):
            return ["Nothing to do: everything is up to date."]
        elif found := ENDED.match(text):
            self.running.pop(found[1], None)
            self.done += text.startswith("Finished")
            return [] if text.startswith("Finished") else [text]
        elif long := FILES.match(text):
            return [f"{long[0]} ..."]
        elif text and not NOISE.match(text):
            return [text]
        return []

    def now(self, seconds: float) -> str:
        """Return what runs now, for how long and for how long it will; nothing of nothing."""
        if not self.running:
            return ""
        jobs = [
            f"{message} ({clock(seconds - since)}{self._how_far(message, began)})"
            for message, since, began in self.running.values()
        ]
        full = BAR * self.done // max(self.total, 1)
        bar = f"[{'#' * full}{'.' * (BAR - full)}] {self.done}/{self.total}"
        return f"{clock(seconds):>5}  {bar}  {'; '.join(jobs)}"

    def _how_far(self, message: str, began: float) -> str:
        """Return what the log of a job says, or how long one like it took."""
        rule = message.partition(":")[0]
        logs = [p for p in (self.logs / rule).rglob("*.log") if p.stat().st_mtime >= began - 1]
        text = last_line(log) if (log := likest(logs, message)) else ""
        if found := STEP.search(text):
            return f", {found[1]}, {found[2]}"
        if found := BYTES.search(text):
            return f", {found[0]}"
        before = likest((self.logs / "benchmarks" / rule).rglob("*.tsv"), message)
        seconds = benchmark(before) if before else None
        return f" of about {clock(seconds)}" if seconds else ""


def likest(paths: Iterable[Path], message: str) -> Path | None:
    """Return the path with the most words of a job's message, if it has any but its rule."""
    words = set(re.split(r"[:,\s]+", message)[1:])
    ranked = [(len(words & set(re.split(r"/|__|\.log|\.tsv", str(p)))), str(p)) for p in paths]
    shared, path = max(ranked, default=(0, ""))
    return Path(path) if shared or len(ranked) == 1 else None


def last_line(path: Path) -> str:
    """Return the last line of a log that is not empty."""
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, 4096), 2)
        lines = file.read().decode(errors="replace").splitlines()
    return next((line for line in reversed(lines) if line.strip()), "")


def benchmark(path: Path) -> float | None:
    """Return the seconds of one of Snakemake's benchmarks."""
    with path.open() as file:
        row = next(csv.DictReader(file, delimiter="\t"), {})
    return float(row["s"]) if row.get("s") else None


def clock(seconds: float) -> str:
    """Return minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def estimate(experiment: str) -> str:
    """Return what a whole experiment takes; nothing where that is not known."""
    with contextlib.suppress(WiseftError):  # Snakemake says what is wrong
        needs = needs_of(Targets.read(overrides={"experiment": experiment}))
        return f"About {needs} where nothing is there yet."
    return ""


def show(source: Iterable[str], condenser: Condenser) -> None:
    """Print what is worth reading as it comes, and in between what runs now."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in source:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    start, terminal = time.monotonic(), sys.stdout.isatty()
    clear = "\r\x1b[K" if terminal else ""
    while True:
        try:
            line = lines.get(timeout=REFRESH if terminal else SILENCE)
        except queue.Empty:
            text = condenser.now(time.monotonic() - start)
            if terminal:
                print(clear + text[: shutil.get_terminal_size().columns - 1], end="", flush=True)
            elif text:
                print(text, flush=True)
            continue
        if line is None:
            print(clear, end="", flush=True)
            return
        for shown in condenser.line(line, time.monotonic() - start):
            print(clear + shown, flush=True)


def main() -> None:
    """Filter standard input, line by line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Snakemake ends, and says so through this
    if said := [text for name in sys.argv[1:] if (text := estimate(name))]:
        print(*said, sep="\n", flush=True)
    show(sys.stdin, Condenser())


if __name__ == "__main__":
    main()
