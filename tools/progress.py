"""Condense Snakemake's output: one line for each job that starts, errors in full.

Reads standard input and writes standard output, so that `snakemake ... 2>&1 | progress.py`
shows `0:42  [ 3/57] finetune ...`. A line that is not known to be noise passes unchanged.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Iterator

NOISE = re.compile(
    r"^(Using workflow specific profile|Assuming unrestricted shared|Building DAG of jobs"
    r"|Using shell:|Provided (cores|resources):|Rules claiming more threads|Select jobs to execute"
    r"|Execute \d+ jobs|Finished jobid:|\d+ of \d+ steps|\[\w{3} \w{3} +\d+ [\d:]+ \d{4}\]$"
    r"|Elapsed time:|Conda environments: ignored|Cannot restore .*: no backup found)"
)
JOB = re.compile(r"^Job \d+: (.*)$")
TOTAL = re.compile(r"^total +(\d+)")
FILES = re.compile(r"^ {4}(input|output): .{200}")
UP_TO_DATE = re.compile(r"^Nothing to be done")


def condense(lines: Iterable[str], clock: Iterable[float]) -> Iterator[str]:
    """Yield the lines worth reading; `clock` gives the seconds since the start of each line."""
    started, total, in_table = 0, 0, False
    for line, seconds in zip(lines, clock, strict=False):
        text = line.rstrip("\n")
        if in_table:
            if found := TOTAL.match(text):
                total = int(found[1])
            in_table = text != ""
        elif text == "Job stats:":
            in_table = True
        elif found := JOB.match(text):
            started += 1
            width = len(str(total))
            clock_face = f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
            yield f"{clock_face:>5}  [{started:>{width}}/{total}] {found[1]}"
        elif UP_TO_DATE.match(text):
            yield "Nothing to do: everything is up to date."
        elif long := FILES.match(text):
            yield f"{long[0]} ..."
        elif text and not NOISE.match(text):
            yield text


def since_start() -> Iterator[float]:
    """Yield the seconds since the first call, without end."""
    start = time.monotonic()
    while True:
        yield time.monotonic() - start


def main() -> None:
    """Filter standard input, line by line."""
    for line in condense(sys.stdin, since_start()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
