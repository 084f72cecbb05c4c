"""Who runs the workflow in a folder: only what a dead run of this machine left is cleared away."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.processes import environment

from wiseft.base.io import write_json
from wiseft.base.messages import shown
from wiseft.study.plan import owner
from wiseft.study.plan.owner import LOCKS, RECORDS, VARIABLE, Owner

RUN = """
import subprocess, sys, time
from pathlib import Path
from wiseft.study.plan import owner

mine = owner.begin()
locks = [owner.LOCKS / name for name in sys.argv[2:]]
owner.LOCKS.mkdir(parents=True, exist_ok=True)
for lock in locks:
    lock.write_text("data/x")
if sys.argv[1] == "claims":
    owner.claim(mine, map(str, locks))
command = "import time; print(flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE)
child.stdout.readline()  # before a program has begun, /proc may not show its environment
print(mine.name, child.pid, flush=True)
sys.stdin.readline()  # an orderly end, when it is told so
child.kill()
child.wait()
for lock in locks:
    lock.unlink()
"""


@dataclasses.dataclass
class Process:
    """A process that has begun a run, with one command of its own."""

    popen: subprocess.Popen[str]
    name: str
    child: int

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    def child_runs(self) -> bool:
        return owner.started(self.child) is not None


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "")  # what `begin` sets goes with the test
    monkeypatch.setattr("wiseft.study.plan.owner.atexit.register", lambda *_: None)
    return tmp_path


@pytest.fixture
def run() -> Iterator[Callable[..., Process]]:
    """Start a run that makes lock files, and claims them or is still on the way to that."""
    processes = []

    def start(*locks: str, claims: bool = True) -> Process:
        told = ["claims" if claims else "keeps", *locks]
        popen = subprocess.Popen(
            [sys.executable, "-c", RUN, *told],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        assert popen.stdout is not None
        name, child = popen.stdout.readline().split()
        processes.append(Process(popen, name, int(child)))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        if process.child_runs():
            os.kill(process.child, signal.SIGKILL)
        for stream in (process.popen.stdin, process.popen.stdout):
            assert stream is not None
            stream.close()


def begin() -> list[str]:
    """Begin a run in this process; return what is said. Its record goes again."""
    said: list[str] = []
    with shown(said.append):
        mine = owner.begin()
    assert mine is not None
    assert os.environ[VARIABLE] == mine.name
    owner.end(mine)
    return said


def locks() -> set[str]:
    return {lock.name for lock in LOCKS.glob("*.lock")}


def records() -> set[str]:
    return {record.stem for record in RECORDS.glob("*.json")}


def make(names: tuple[str, ...], locks: tuple[str, ...] | None = None, **changes: object) -> Owner:
    """Make lock files and the record of a run that is this process, but for what is changed."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    mine = owner.begin()
    assert mine is not None
    owner.end(mine)
    other = dataclasses.replace(mine, locks=locks, **changes)
    write_json(other.record, dataclasses.asdict(other))
    for name in names:
        (LOCKS / name).touch()
    return other


def test_a_dead_run_is_cleared_away_beside_a_live_one(run):
    dead, live = run("0.input.lock", "0.output.lock"), run("1.input.lock", "1.output.lock")
    dead.kill()
    assert dead.child_runs(), "killed alone, it leaves its command running"
    said = begin()
    assert locks() == {"1.input.lock", "1.output.lock"}
    assert records() == {live.name}
    assert not dead.child_runs()
    assert live.child_runs()
    assert len(said) == 3
    assert f"process {dead.popen.pid} on" in said[0]
    assert f"left running are ended (processes {dead.child})" in said[0]
    assert "its locks are removed (0.input.lock, 0.output.lock)" in said[1]
    assert f"process {live.popen.pid} on" in said[2]
    assert "goes on: its locks are respected" in said[2]


def test_a_run_that_ends_leaves_nothing_to_say(run):
    process = run("0.input.lock")
    process.popen.communicate("\n")
    assert records() == set()
    assert begin() == []


def test_a_run_that_is_killed_before_it_has_claimed_its_locks(run):
    """Whoever has made them since it began, and nobody else can have."""
    LOCKS.mkdir(parents=True)
    (LOCKS / "7.input.lock").touch()  # before any run on record
    os.utime(LOCKS / "7.input.lock", (time.time() - 100,) * 2)
    run("0.input.lock", claims=False).kill()
    said = begin()
    assert locks() == {"7.input.lock"}
    assert any("no run on record has made (7.input.lock)" in line for line in said)
    assert "run `snakemake --unlock`" in said[-1]


@pytest.mark.parametrize("claimed", [None, ("0.input.lock",)])
def test_a_run_that_is_killed_while_it_writes_its_record(claimed):
    other = make(("0.input.lock",), claimed, started="another boot 1")
    half = other.record.with_name(f".{other.name}.tmp-abcdefgh.json")
    half.write_bytes(other.record.read_bytes())
    if claimed is None:
        other.record.unlink()
    begin()
    assert [path.name for path in RECORDS.glob("*.json")] == []
    assert locks() == ({"0.input.lock"} if claimed is None else set())


def test_where_another_run_may_have_made_them_unclaimed_locks_stay(run):
    dead, begins = run("0.input.lock", claims=False), run(claims=False)
    dead.kill()
    assert "Unless another run begins just now, run" in begin()[-1]
    assert locks() == {"0.input.lock"}
    begins.kill()
    begin()
    assert locks() == set()


def test_a_process_that_got_the_number_of_a_dead_run_is_left_alone():
    boot_and_tick = owner.started(os.getpid())
    assert boot_and_tick is not None
    make(("0.input.lock",), ("0.input.lock",), started=boot_and_tick + "1")
    said = begin()
    assert locks() == set()
    assert f"process {os.getpid()} on" in said[0]
    assert "was killed" in said[0]


@pytest.mark.parametrize("elsewhere", [{"host": "elsewhere"}, {"space": 1}])
def test_a_run_on_another_machine_or_in_another_container_is_respected(elsewhere):
    """Nothing can be known of its process from here."""
    make(("0.input.lock",), ("0.input.lock",), started="another boot", **elsewhere)
    (said,) = begin()
    assert locks() == {"0.input.lock"}
    assert "only there can be seen whether it still runs" in said
    assert "snakemake --unlock" in said
    (LOCKS / "0.input.lock").unlink()  # as --unlock does
    assert begin() == []
    assert records() == set()


def test_a_damaged_record_makes_its_locks_those_of_nobody():
    other = make(("0.input.lock",), ("0.input.lock",), started="another boot")
    other.record.write_text('{"name": "half')
    (said,) = begin()
    assert "no run on record has made (0.input.lock)" in said
    assert locks() == {"0.input.lock"}


@pytest.mark.parametrize("state", ["suspended", "deaf"])
def test_commands_end_in_every_state(run, monkeypatch, state):
    process = run("0.input.lock")
    if state == "suspended":
        os.kill(process.child, signal.SIGSTOP)
    else:
        # As one that does not end when told: no signal but SIGKILL arrives.
        monkeypatch.setattr("wiseft.study.plan.owner.PATIENCE", 0.2)
        monkeypatch.setattr("wiseft.study.plan.owner.signal.SIGTERM", 0)
    process.kill()
    begin()
    assert not process.child_runs()


def test_where_nothing_can_be_recorded_it_is_said(tmp_path, monkeypatch):
    (tmp_path / ".wiseft").touch()
    said: list[str] = []
    with shown(said.append):
        assert owner.begin() is None
    assert "snakemake --unlock" in said[0]
    monkeypatch.setattr("wiseft.study.plan.owner.started", lambda pid: None)  # no /proc
    with shown(said.append):
        assert owner.begin() is None
    assert len(said) == 1


def test_a_fork_does_not_end_its_parents_run():
    mine = owner.begin()
    assert mine is not None
    if (child := os.fork()) == 0:
        owner.end(mine)
        os._exit(0)
    os.waitpid(child, 0)
    assert mine.record.exists()
