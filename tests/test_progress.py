"""`make run` shows one line for each job, what runs now, and errors in full."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tools import progress

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
Job 3: finetune: digits-rn-s20, end-to-end__digits, seed 0
"""
FINISHED = """\
[Wed Nov 25 00:37:49 2026]
Finished jobid: 3 (Rule: finetune)
1 of 10 steps (10%) done
"""
ERROR = """\
RuleException:
CalledProcessError in file "/tmp/workflow/rules/finetune.smk", line 16:
Command 'export WISEFT_HOW='{}';  wiseft finetune --settings '{"a":
1}' > logs/finetune/0.log' returned non-zero exit status 1.
[Wed Nov 25 00:37:49 2026]
Error in rule finetune:
    message: finetune: end-to-end, seed 0
    jobid: 3
    log: logs/finetune/0.log (check log file(s) for error details)
    shell:
        wiseft finetune --settings '{"a": 1}' > logs/finetune/0.log
        (command exited with non-zero exit code)
Logfile logs/finetune/0.log:
error: loss is not finite
"""
RUN = Path("finetune", "digits-rn-s20__mnist__end-to-end__digits")


@pytest.fixture
def condenser(tmp_path: Path) -> progress.Condenser:
    return progress.Condenser(tmp_path)


def condense(condenser: progress.Condenser, text: str, seconds: float = 75.0) -> list[str]:
    return [shown for line in text.splitlines(True) for shown in condenser.line(line, seconds)]


def test_one_line_for_each_job(condenser):
    said = [" 1:15  [ 1/10] finetune: digits-rn-s20, end-to-end__digits, seed 0"]
    assert condense(condenser, OUTPUT + FINISHED) == said


def test_errors_pass_in_full_and_the_command_once(condenser):
    said = condense(condenser, OUTPUT + ERROR)[1:]
    assert said == ERROR.splitlines()[5:]
    assert "\n".join(said).count("wiseft finetune") == 1
    assert condenser.now(80) == "", "a failed job does not run"


def test_up_to_date_is_said(condenser):
    line = "Nothing to be done (all requested files are present and up to date)."
    assert condense(condenser, line) == ["Nothing to do: everything is up to date."]


def test_what_runs_now_is_said_with_what_its_log_says(condenser):
    condense(condenser, OUTPUT)
    job = "finetune: digits-rn-s20, end-to-end__digits, seed 0"
    assert condenser.now(80) == f" 1:20  [{'.' * 20}] 0/10  {job} (0:05)"
    others = condenser.logs / "finetune" / "another__mnist__linear" / "seed-0.log"
    log = condenser.logs / RUN / "seed-0.log"
    for path, step in ((log, 581), (others, 3)):
        path.parent.mkdir(parents=True)
        path.write_text(
            f"began\nstep {step}/700  loss 0.9804  lr 1.7e-04  396 images/s  14 s left\n\n"
        )
    assert condenser.now(200).endswith(f"{job} (2:05, step 581/700, 14 s left)")
    condense(condenser, FINISHED)
    assert condenser.now(210) == ""
    assert condenser.done == 1


def test_how_long_a_job_like_it_took_is_said_where_its_log_says_nothing(condenser):
    condense(condenser, OUTPUT)
    before = condenser.logs / "benchmarks" / RUN / "seed-1.tsv"
    before.parent.mkdir(parents=True)
    before.write_text("s\th:m:s\n135.89\t0:02:15\n")
    old = condenser.logs / RUN / "seed-0.log"
    old.parent.mkdir(parents=True)
    old.write_text("step 700/700  loss 1  0 s left\n")
    os.utime(old, (time.time() - 60,) * 2)  # of the run before
    assert condenser.now(80).endswith("seed 0 (0:05 of about 2:15)")


def test_the_expected_time_of_an_experiment_is_said():
    said = progress.estimate("photos")
    assert re.fullmatch(r"About \d+ min on two CPU cores where nothing is there yet\.", said)
    assert progress.estimate("there-is-none") == ""


def test_a_terminal_has_one_line_that_is_written_over(tmp_path: Path):
    """A job that says nothing for two seconds."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-u", progress.__file__],
        stdin=subprocess.PIPE,
        stdout=theirs,
        cwd=tmp_path,
        text=True,
    ) as process:
        os.close(theirs)
        assert process.stdin
        process.stdin.write(OUTPUT)
        process.stdin.flush()
        shown = b""
        while b"0/10  finetune" not in shown:
            shown += os.read(ours, 65536)
        process.stdin.write(FINISHED)
        process.stdin.close()
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:
                break
    os.close(ours)
    text = shown.decode()
    assert "[....................] 0/10  finetune" in text
    assert text.count("\n") == 1 and text.endswith("\r\x1b[K")
