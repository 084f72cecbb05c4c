"""Whole runs of the workflow that are killed: the same command goes on, without a hand."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

from tests.faults.harness import LONGEST
from tests.faults.verdicts import Found, Ground, Verdict
from tests.faults.world import leftovers
from tests.workflow.conftest import copy_project

TARGETS = ("data/tables/paper.csv", "results/paper/index.html")
"""Of an experiment that needs neither data nor a model."""
COMMAND = [sys.executable, "-m", "snakemake", "--cores", "1", *TARGETS]
COMMAND += ["--config", "experiment=paper"]
LONG = 300.0


def _start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        COMMAND,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _whole(ground: Ground) -> Path:
    """Return a folder in which the run ended, the same for all workers."""
    folder, done = ground.base / "whole-run", ground.base / "whole-run.done"
    with (ground.base / "whole-run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            process = _start(copy_project(folder))
            said, _ = process.communicate(timeout=LONG)
            assert process.returncode == 0, said[-3000:]
            done.touch()
    return folder


def _locked(folder: Path, process: subprocess.Popen[str], rng: Random) -> None:
    """Wait until the run holds its locks, and somewhat longer."""
    end = time.monotonic() + LONG
    while not any((folder / ".snakemake" / "locks").glob("*")) and process.poll() is None:
        assert time.monotonic() < end, "the run never held a lock"
        time.sleep(0.02)
    time.sleep(rng.choice([0.0, rng.uniform(0, 2), rng.uniform(0, 8)]))


def attack(ground: Ground, rng: Random, number: int) -> Found:
    """Kill a run, by itself or with all that it started, and give the same command again."""
    whole = _whole(ground)
    folder = copy_project(ground.base / "bench" / f"runs-{number}")
    everything = number % 2 == 0  # tests/workflow/test_killed.py kills the run alone
    what = f"a run killed, {'with' if everything else 'without'} what it started"
    try:
        process = _start(folder)
        _locked(folder, process, rng)
        if everything:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        again = _start(folder)
        try:
            said, _ = again.communicate(timeout=LONG)
        except subprocess.TimeoutExpired:
            os.killpg(again.pid, signal.SIGKILL)
            return Found(what, Verdict.HAND, "the run after it never ends")
        finally:
            for left in (process, again):  # an orphan of the first, if the second left it alive
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(left.pid, signal.SIGKILL)
        return _judge(what, again.returncode, said, folder, whole)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _judge(what: str, code: int, said: str, folder: Path, whole: Path) -> Found:
    if code:
        return Found(what, Verdict.HAND, said[-LONGEST:])
    for target in TARGETS:
        if (folder / target).read_bytes() != (whole / target).read_bytes():
            return Found(what, Verdict.SILENT, f"{target} is another than without the kill")
    if rubbish := [*leftovers(folder / "data"), *leftovers(folder / "results")]:
        return Found(what, Verdict.UNCLEAR, f"left {rubbish}")
    return Found(what)
