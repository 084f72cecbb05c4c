"""Condense Snakemake's output: a line for each job that starts, what runs now, errors in full.

    snakemake ... 2>&1 | python -u tools/progress.py [EXPERIMENT]

shows `0:42  [ 3/57] finetune ...` and, on a terminal as a line that is written over, else every
half minute, how long the jobs that run now have been running, how far their logs say that they are,
or how long such a job takes. Times go by what jobs took here before, else by the plan of the
experiment. Both are corrected by the jobs of this run. A line that is not known to be noise passes
unchanged.
"""

from __future__ import annotations

import contextlib
import csv
import math
import queue
import re
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from wiseft.errors import WiseftError
from wiseft.study.plan.needs import JOB_SECONDS, job_seconds, needs_of
from wiseft.study.targets import Targets
from wiseft.study.targets.jobs import DATA_RULES

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
COUNT = re.compile(r"^(\S+) +(\d+)$")
SPLIT_RULES = (*DATA_RULES, "evaluate", "diversity")  # a rule for each dataset or suite
FILES = re.compile(r"^ {4}(input|output): .{200}")
UP_TO_DATE = re.compile(r"^Nothing to be done")
FAR = re.compile(r"(step \d+/\d+|\S+ of \d\S*(?: [a-z ]+)?)\b.*?(\d[\w: ]*?) left$")
UNITS = {"h": 3600, "min": 60, "s": 1}
BAR = 20  # characters
LATE = 0.25  # of the time that a job has taken longer than expected, still to come
SILENCE, REFRESH = 30.0, 1.0  # seconds between two lines of what runs now; on a terminal


class Job(NamedTuple):
    """A job that runs: its message, and when it began, in seconds after the start and as a date;
    how many seconds such a job is expected to take, not corrected by this run.
    """

    message: str
    since: float
    began: float
    expected: float | None

    @property
    def rule(self) -> str:
        """The rule, as messages and folders of logs have it."""
        return self.message.partition(":")[0]


class Took(NamedTuple):
    """The seconds that a job took, or is going to take in all, and those that were expected."""

    rule: str
    seconds: float
    expected: float | None


class Pace:
    """How long jobs take on this machine, from earlier runs or a plan, corrected by this run.

    Args:
        logs: the folder of the jobs' logs; `benchmarks` in it has the times of earlier ones.
        planned: seconds of one job, by rule and by the first words of its message, where there is
            no earlier one.
    """

    def __init__(self, logs: Path, planned: Mapping[str, float]) -> None:
        self.logs, self.planned = logs, planned
        self.ended: list[Took] = []
        self._means: dict[str, float | None] = {}

    def expected(self, message: str) -> float | None:
        """Return how many seconds a job is expected to take, not corrected."""
        rule, words = message.partition(":")[0], message.split(", ")
        before = likest((self.logs / "benchmarks" / rule).rglob("*.tsv"), message)
        if before and (seconds := benchmark(before)):
            return seconds
        # The plan names jobs by the words of their messages, but for the last ones.
        names = [*(", ".join(words[:n]) for n in range(len(words), 0, -1)), rule]
        return next((self.planned[name] for name in names if name in self.planned), None)

    def factor(self, rule: str, running: Sequence[Took]) -> float | None:
        """Return how many times longer than expected the rule's jobs of this run take, or else all
        do; None if there is none to go by.

        Args:
            rule: as in messages.
            running: jobs that say how long they are going to take.
        """
        known = [(took, took.expected) for took in (*self.ended, *running) if took.expected]
        known = [each for each in known if each[0].rule == rule] or known
        expected = sum(seconds for _, seconds in known)
        return sum(took.seconds for took, _ in known) / expected if known else None

    def mean(self, rule: str) -> float | None:
        """Return the seconds of an average job of a rule before this run, or in the plan."""
        if rule not in self._means:
            files = (self.logs / "benchmarks" / rule).rglob("*.tsv")
            before = [seconds for file in files if (seconds := benchmark(file))]
            self._means[rule] = fmean(before) if before else self.planned.get(rule)
        return self._means[rule]

    def waiting(self, rule: str, running: Sequence[Took]) -> float:
        """Return the seconds of a job of a rule that has not begun."""
        if mean := self.mean(rule):
            return mean * (self.factor(rule, running) or 1)
        here = [took.seconds for took in self.ended if took.rule == rule]
        return fmean(here) if here else JOB_SECONDS


class Condenser:
    """Takes Snakemake's lines and says which are worth reading, and what runs.

    Args:
        logs: the folder of the jobs' logs.
        planned: as for `Pace`.
    """

    def __init__(
        self, logs: Path = Path("logs"), planned: Mapping[str, float] | None = None
    ) -> None:
        self.logs = logs
        self.pace = Pace(logs, planned or {})
        self.waiting: Counter[str] = Counter()
        self.started: set[str] = set()
        self.finished: set[str] = set()
        self.total = 0
        self.running: dict[str, Job] = {}
        self._busy = 0.0
        self._in_table = self._in_command = False

    @property
    def done(self) -> int:
        """Jobs that are finished; never more than there are."""
        return min(len(self.finished), self.total)

    def line(self, text: str, seconds: float) -> list[str]:
        """Return what is shown of a line, read so many seconds after the start."""
        text = text.rstrip("\n")
        if self._in_table:
            self._in_table = text != ""
            self._count(text)
        elif self._in_command or COMMAND.match(text):
            self._in_command = not COMMAND_END.search(text)
        elif text == "Job stats:":
            self._in_table = True
        elif found := JOB.match(text):
            self._start(found[1], found[2], seconds)
            of = max(self.total, len(self.started))
            number = f"[{len(self.started):>{len(str(of))}}/{of}]"
            return [f"{clock(seconds):>5}  {number} {found[2]}"]
        elif UP_TO_DATE.match(text):
            return ["Nothing to do: everything is up to date."]
        elif found := ENDED.match(text):
            self._end(found[1], seconds, finished=text.startswith("Finished"))
            return [] if text.startswith("Finished") else [text]
        elif long := FILES.match(text):
            return [f"{long[0]} ..."]
        elif text and not NOISE.match(text):
            return [text]
        return []

    def _count(self, text: str) -> None:
        if found := COUNT.match(text):
            starts = (rule for rule in SPLIT_RULES if found[1].startswith(f"{rule}_"))
            if found[1] == "total":
                self.total = int(found[2])
            elif found[1] != "all":  # makes nothing
                self.waiting[next(starts, found[1])] += int(found[2])

    def _start(self, number: str, message: str, seconds: float) -> None:
        job = Job(message, seconds, time.time(), self.pace.expected(message))
        if number not in self.started and self.waiting[job.rule]:
            self.waiting[job.rule] -= 1
        self.started.add(number)
        self.running[number] = job

    def _end(self, number: str, seconds: float, *, finished: bool) -> None:
        if job := self.running.pop(number, None):
            self._busy += seconds - job.since
            if finished:
                self.pace.ended.append(Took(job.rule, seconds - job.since, job.expected))
        if finished:
            self.finished.add(number)

    def now(self, seconds: float) -> str:
        """Return what runs now, for how long and for how long it will; nothing of nothing."""
        if not self.running:
            return ""
        far = {job: self._said(job) for job in self.running.values()}
        so_far = {job: seconds - job.since for job in far}
        sure = [Took(j.rule, so_far[j] + said[1], j.expected) for j, said in far.items() if said]
        jobs, remaining = [], [0.0]
        for job, said in far.items():
            usual = (job.expected or 0) * (self.pace.factor(job.rule, sure) or 1)
            how_far, left = "", max((usual or JOB_SECONDS) - so_far[job], 0)
            if said:
                how_far, left = f", {said[0]}", said[1]
            elif 0 < usual < so_far[job]:  # is not about to end
                how_far, left = f", longer than the expected {clock(usual)}", LATE * so_far[job]
            elif usual:
                how_far = f" of about {clock(usual)}"
            remaining.append(left)
            jobs.append(f"{job.message} ({clock(so_far[job])}{how_far})")
        full = BAR * self.done // max(self.total, 1)
        bar = f"[{'#' * full}{'.' * (BAR - full)}] {self.done}/{self.total}"
        left_over = self._left(seconds, sure, remaining) if self.pace.factor("", sure) else ""
        return f"{clock(seconds):>5}  {bar}{left_over}  {'; '.join(jobs)}"

    def _left(self, seconds: float, sure: Sequence[Took], remaining: list[float]) -> str:
        """Return how long all the rest takes, with as many jobs side by side as there were."""
        busy = self._busy + sum(seconds - job.since for job in self.running.values())
        rest = sum(remaining)
        for rule, number in self.waiting.items():
            rest += number * self.pace.waiting(rule, sure)
        left = max(*remaining, rest / max(busy / max(seconds, 1), 1))
        minutes = math.ceil(left / 60)
        if minutes < 120:
            return f", about {minutes} min left" if minutes > 1 else ", about a minute left"
        return f", about {left / 3600:.1f} h left"

    def _said(self, job: Job) -> tuple[str, float] | None:
        """Return what the log of a job says of how far it is, and how many seconds are left."""
        logs = [
            p for p in (self.logs / job.rule).rglob("*.log") if p.stat().st_mtime >= job.began - 1
        ]
        text = last_line(log) if (log := likest(logs, job.message)) else ""
        found = FAR.search(text)
        return (f"{found[1]}, {found[2]} left", seconds_of(found[2])) if found else None


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


def seconds_of(text: str) -> float:
    """Return the seconds of `1 min 20 s`, `2 h 05 min`, `01:20` or `2:05:00`."""
    if ":" in text:
        return sum(int(n) * 60**place for place, n in enumerate(reversed(text.split(":"))))
    return sum(int(n) * UNITS[unit] for n, unit in re.findall(r"(\d+) (h|min|s)\b", text))


def clock(seconds: float) -> str:
    """Return minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def estimate(experiment: str) -> tuple[str, dict[str, float]]:
    """Return what a whole experiment takes, and seconds of its jobs; nothing if not known."""
    with contextlib.suppress(WiseftError):  # Snakemake says what is wrong
        targets = Targets.read(overrides={"experiment": experiment})
        return f"About {needs_of(targets)} where nothing is there yet.", job_seconds(targets)
    return "", {}


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
    planned: dict[str, float] = {}
    for name in sys.argv[1:]:
        text, seconds = estimate(name)
        planned |= seconds
        if text:
            print(text, flush=True)
    show(sys.stdin, Condenser(planned=planned))


if __name__ == "__main__":
    main()
