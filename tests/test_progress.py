"""`make run` shows one line for each job, and errors in full."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "tools" / "progress.py"
SPEC = importlib.util.spec_from_file_location("progress", SCRIPT)
progress = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(progress)

OUTPUT = """\
Using workflow specific profile profiles/default for setting default command line arguments.
Assuming unrestricted shared filesystem usage.
Building DAG of jobs...
Using shell: /usr/bin/bash
Provided cores: 2
Rules claiming more threads will be scaled down.
Job stats:
job      count
-----  -------
all          1
finetune     9
total       10

Select jobs to execute...
Execute 1 jobs...
[Wed Nov 25 00:37:47 2026]
Job 3: finetune: end-to-end, seed 0
[Wed Nov 25 00:37:49 2026]
Finished jobid: 3 (Rule: finetune)
1 of 10 steps (10%) done
"""

ERROR = """\
[Wed Nov 25 00:37:49 2026]
Error in rule finetune:
    message: finetune: end-to-end, seed 0
    jobid: 3
    log: logs/finetune/0.log (check log file(s) for error details)
Logfile logs/finetune/0.log:
error: loss is not finite
"""


def condense(text: str, seconds: float = 75.0) -> list[str]:
    return list(progress.condense(text.splitlines(keepends=True), itertools.repeat(seconds)))


def test_one_line_for_each_job():
    assert condense(OUTPUT) == [" 1:15  [ 1/10] finetune: end-to-end, seed 0"]


def test_errors_pass_in_full():
    assert condense(ERROR) == ERROR.splitlines()[1:]


def test_up_to_date_is_said():
    line = "Nothing to be done (all requested files are present and up to date)."
    assert condense(line) == ["Nothing to do: everything is up to date."]
