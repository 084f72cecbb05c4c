"""A run that is killed needs no hand: the same command goes on. One that lives is respected."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.processes import environment
from tests.workflow.conftest import SMOKE, Run

from wiseft.study.plan.owner import LOCKS, RECORDS, VARIABLE

pytestmark = pytest.mark.slow

TARGET = "datasets/optdigits/manifest.json"
RUN = ("snakemake", "--cores", "1", TARGET, "--config", f"experiment={SMOKE}")


@pytest.fixture
def running(project: Path) -> Iterator[subprocess.Popen[str]]:
    """A run whose only command has begun, with `snakemake --cores` as a user gives it."""
    process = subprocess.Popen(
        [sys.executable, "-m", *RUN],
        cwd=project,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    until(lambda: commands(project), process)
    for command in commands(project):
        os.kill(command, signal.SIGSTOP)  # it waits for its end
    yield process
    process.kill()
    process.wait()
    for command in commands(project):
        os.kill(command, signal.SIGKILL)


def until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < end
        time.sleep(0.02)


def commands(folder: Path) -> list[int]:
    """Return the processes of commands of runs in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (
                VARIABLE.encode() in (process / "environ").read_bytes()
                and b"data\0prepare" in (process / "cmdline").read_bytes()
                and (process / "cwd").readlink() == folder
            ):
                found.append(int(process.name))
        except OSError:  # over by now
            continue
    return found


def files(folder: Path, below: Path) -> set[str]:
    return {path.name for path in (folder / below).glob("*.*")}


def recorded_pids(folder: Path) -> set[int]:
    return {json.loads(path.read_text())["pid"] for path in (folder / RECORDS).glob("*.json")}


def test_after_a_kill_the_same_command_goes_on(project: Path, running, snakemake: Run):
    running.kill()
    running.wait()
    assert commands(project), "killed alone, it leaves its command running"
    held, recorded = files(project, LOCKS), files(project, RECORDS)
    assert held
    assert len(recorded) == 1
    dry = snakemake(project, "-n", TARGET)
    assert dry.returncode == 0
    assert "was killed" not in dry.stdout
    assert (files(project, LOCKS), files(project, RECORDS)) == (held, recorded)
    assert commands(project)
    done = snakemake(project, TARGET, "--cores", "1")
    assert done.returncode == 0, done.stdout[-3000:]
    assert f"process {running.pid} on" in done.stdout
    assert "the commands that it left running are ended" in done.stdout
    assert f"its locks are removed ({', '.join(sorted(held))})" in done.stdout
    assert (project / TARGET).is_file()
    assert not commands(project)
    assert not files(project, LOCKS)
    assert not [path for path in project.rglob("*") if ".tmp-" in path.name]


def test_a_live_run_is_respected(project: Path, running, snakemake: Run):
    held = files(project, LOCKS)
    second = snakemake(project, TARGET, "--cores", "1")
    assert second.returncode == 1
    assert f"process {running.pid} on" in second.stdout
    assert "goes on: its locks are respected" in second.stdout
    assert "Directory cannot be locked" in second.stdout
    assert files(project, LOCKS) == held
    assert len(commands(project)) == 1
    os.kill(commands(project)[0], signal.SIGCONT)
    assert running.wait(240) == 0
    assert (project / TARGET).is_file()
    assert running.pid not in recorded_pids(project)
