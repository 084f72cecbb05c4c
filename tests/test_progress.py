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
BENCHMARK = "s\th:m:s\n{}\t0:00:00\n"
SEVERAL = """\
Job stats:
job                count
-----------------  -----
all                    1
evaluate_digits        4
finetune               3
pretrain               1
total                  9

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
    log.write_text("a.tar: downloading: 200M of 300MB, 2.22MB/s, 01:45 left\n")
    assert condenser.now(200).endswith(f"{job} (2:05, 200M of 300MB, 01:45 left)")
    log.write_text("features: 1.20k of 5.00k images, 301 images/s, 00:12 left\n")
    assert condenser.now(200).endswith(f"{job} (2:05, 1.20k of 5.00k images, 00:12 left)")
    condense(condenser, FINISHED)
    assert condenser.now(210) == ""
    assert condenser.done == 1


def test_how_long_a_job_like_it_took_is_said_where_its_log_says_nothing(condenser):
    before = condenser.logs / "benchmarks" / RUN / "seed-1.tsv"
    before.parent.mkdir(parents=True)
    before.write_text(BENCHMARK.format(135.89))
    condense(condenser, OUTPUT)
    old = condenser.logs / RUN / "seed-0.log"
    old.parent.mkdir(parents=True)
    old.write_text("step 700/700  loss 1  0 s left\n")
    os.utime(old, (time.time() - 60,) * 2)  # of the run before
    assert condenser.now(80).endswith("seed 0 (0:05 of about 2:15)")


def test_a_job_that_takes_longer_than_expected_says_so(condenser):
    before = condenser.logs / "benchmarks" / RUN / "seed-1.tsv"
    before.parent.mkdir(parents=True)
    before.write_text(BENCHMARK.format(12))
    condense(condenser, OUTPUT)
    assert condenser.now(87).endswith("(0:12 of about 0:12)")
    assert condenser.now(130).endswith("(0:55, longer than the expected 0:12)")
    assert "left" not in condenser.now(130), "no job of this run shows how fast the machine is"


def start(condenser, number, message, seconds):
    return condense(condenser, f"Job {number}: {message}", seconds)


def finish(condenser, number, seconds):
    assert condense(condenser, f"Finished jobid: {number} (Rule: any)", seconds) == []


def test_the_time_left_is_the_plans_corrected_by_this_machine(tmp_path):
    planned = {"pretrain": 100.0, "finetune": 10.0, "evaluate": 30.0}
    condenser = progress.Condenser(tmp_path, planned)
    condense(condenser, SEVERAL, 0)
    start(condenser, 1, "pretrain: digits-rn-s20", 0)
    assert condenser.now(60).endswith("0/9  pretrain: digits-rn-s20 (1:00 of about 1:40)")
    log = tmp_path / "pretrain" / "digits-rn-s20.log"
    log.parent.mkdir()
    log.write_text("step 200/1000  loss 1.0  lr 1e-3  90 images/s  4 min 00 s left\n")
    # 300 s in all, 3 times what was planned: 240 + 3 * (3 * 10 + 4 * 30) = 690 s
    shown = condenser.now(60)
    assert ", about 12 min left  " in shown
    assert shown.endswith("(1:00, step 200/1000, 4 min 00 s left)")
    finish(condenser, 1, 200)  # twice what was planned
    start(condenser, 2, "finetune: digits-rn-s20, linear, seed 0", 200)
    start(condenser, 3, "finetune: digits-rn-s20, linear, seed 1", 200)
    assert condenser.now(210).endswith("seed 1 (0:10 of about 0:20)")
    for number, end in ((2, 240), (3, 240)):
        finish(condenser, number, end)
    start(condenser, 4, "evaluate: digits-rn-s20, linear, seed 0", 240)
    # 280 s instead of 120: an evaluation takes 70 s; a fine-tuning took 40; 280 of 240 s were busy
    left = 70 + 40 + 3 * 70
    assert f", about {-(-left * 240 // 280 // 60)} min left" in condenser.now(240)


def test_a_job_that_is_late_is_not_about_to_end(tmp_path):
    condenser = progress.Condenser(tmp_path, {"evaluate": 40.0})
    condense(condenser, "Job stats:\nevaluate_digits  3\ntotal  3\n\n", 0)
    start(condenser, 0, "evaluate: a, seed 0", 0)
    finish(condenser, 0, 40)
    start(condenser, 1, "evaluate: a, seed 1", 40)
    assert "about a minute left" in condenser.now(60)  # 20 + 40 s
    shown = condenser.now(440)
    assert shown.endswith("(6:40, longer than the expected 0:40)")
    # a quarter of 400 s is still to come, and another evaluation
    assert f", about {-(-(100 + 40) // 60)} min left" in shown


def test_a_bar_ends_where_all_jobs_have_ended_and_tries_count_once(condenser):
    condense(condenser, SEVERAL, 0)
    lines = []
    for number in range(1, 9):
        for _ in range(2):  # Snakemake tries it again, under the same number
            lines += start(condenser, number, f"finetune: model, seed {number}", 1)
            condense(condenser, f"    jobid: {number}", 2)
        lines += start(condenser, number, f"finetune: model, seed {number}", 3)
        if number < 8:
            finish(condenser, number, 4)
    assert lines[-1].split()[1:3] == ["[8/9]", "finetune:"]
    assert "] 7/9" in condenser.now(5)
    for number in (0, 8, 8, 9, 10):  # more than there are
        finish(condenser, number, 6)
    assert condenser.done == 9
    start(condenser, 11, "figure: one more", 7)
    assert f"[{'#' * 20}] 9/9" in condenser.now(8)


def test_earlier_times_are_corrected_by_the_jobs_of_this_run(condenser):
    folder = condenser.logs / "benchmarks" / "figure"
    folder.mkdir(parents=True)
    for name in ("curve", "seeds"):
        (folder / f"{name}.tsv").write_text(BENCHMARK.format(20))
    condense(condenser, "Job stats:\nfigure  2\ntotal  2\n\n", 0)
    start(condenser, 1, "figure: curve", 0)
    (folder / "curve.tsv").write_text(BENCHMARK.format(60))  # Snakemake writes the new time first
    finish(condenser, 1, 60)
    start(condenser, 2, "figure: seeds", 60)
    bar = "[##########..........] 1/2, about a minute left"
    assert condenser.now(70) == f" 1:10  {bar}  figure: seeds (0:10 of about 1:00)"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("12 s", 12), ("3 min 20 s", 200), ("2 h 05 min", 7500), ("00:45", 45), ("2:05:01", 7501)],
)
def test_times_left_are_read(text, seconds):
    assert progress.seconds_of(text) == seconds


def test_the_expected_time_of_an_experiment_is_said():
    said, jobs = progress.estimate("photos")
    assert re.fullmatch(r"About \d+ min on two CPU cores where nothing is there yet\.", said)
    assert {"finetune", "evaluate"} <= jobs.keys()
    assert all(seconds > 0 for seconds in jobs.values())
    assert progress.estimate("there-is-none") == ("", {})


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
