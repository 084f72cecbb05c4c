"""Who runs the workflow in a folder, so that a run that was killed leaves nothing to do by hand.

The workflow engine marks the files of a run by lock files, which stay when it is killed and say
nothing of who made them. So every run writes a record of itself before it locks anything. The next
one removes the locks of the dead, one by one, and ends the commands that they left running. What
belongs to a live run, to another machine, or to nobody known is respected, with a sentence.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import socket
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from wiseft.base.io import read_json, write_json
from wiseft.base.locks import exclusive
from wiseft.base.temporary import remove_leftovers
from wiseft.errors import WiseftError, some

log = logging.getLogger(__name__)

RECORDS = Path(".wiseft/owners")
LOCKS = Path(".snakemake/locks")
VARIABLE = "WISEFT_OWNER"
"""In the environment of all commands of a run: which one it is."""
PATIENCE = 60.0
"""Seconds that a command which was told to end has for that: trainings save their state."""


@dataclass(frozen=True)
class Owner:
    """A run.

    Attributes:
        name: unique.
        host: its machine.
        space: of process numbers on it, which a container has of its own.
        pid: of its process.
        started: what no other process of that number has; see `started`.
        since: when it began, for messages.
        locks: names of its lock files; None: not known, for it has not told or makes none.
    """

    name: str
    host: str
    space: int
    pid: int
    started: str
    since: str
    locks: tuple[str, ...] | None = None

    @property
    def record(self) -> Path:
        """The file that says so."""
        return RECORDS / f"{self.name}.json"

    @property
    def here(self) -> bool:
        """Whether it ran on this machine, so that its process can be looked for."""
        return (self.host, self.space) == _place()

    def __str__(self) -> str:
        return f"the run of process {self.pid} on {self.host}, begun {self.since},"


def begin() -> Owner | None:
    """Clear away what dead runs left in the current folder and record this process as a run.

    The record goes when the process ends, unless it is killed.

    Returns:
        the record; None where there can be none: without /proc, or in a folder without file locks.
    """
    if (start := started(os.getpid())) is None:
        return None
    try:
        with exclusive(RECORDS / ".lock"):  # two that begin at once would judge each other
            _clear()
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            owner = Owner(uuid.uuid4().hex, *_place(), os.getpid(), start, since)
            write_json(owner.record, asdict(owner))
    except WiseftError as error:
        log.info(f"{error} If this run is killed, `snakemake --unlock` must come before the next.")
        return None
    os.environ[VARIABLE] = owner.name
    atexit.register(end, owner)
    return owner


def claim(owner: Owner | None, locks: Iterable[str]) -> None:
    """Record which lock files are the run's own, by their paths."""
    if owner is not None:
        names = tuple(sorted(Path(lock).name for lock in locks))
        write_json(owner.record, asdict(replace(owner, locks=names)))


def end(owner: Owner) -> None:
    """Remove the record, if this is the process that it is of (and no fork of it)."""
    if owner.pid == os.getpid():
        owner.record.unlink(missing_ok=True)


def started(pid: int) -> str | None:
    """Return the boot and the tick at which a process began; None if none of that number runs."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{boot} {fields[19]}"


def _place() -> tuple[str, int]:
    return socket.gethostname(), Path("/proc/self/ns/pid").stat().st_ino


def _clear() -> None:
    owners = _read()
    dead = [owner for owner in owners if owner.here and started(owner.pid) != owner.started]
    others = [owner for owner in owners if owner not in dead]
    known = {name for owner in owners for name in owner.locks or ()}
    unclaimed = [lock for lock in _locks() if lock.name not in known]
    for owner in dead:
        if owner.locks is not None:
            own = [LOCKS / name for name in owner.locks if (LOCKS / name).exists()]
        elif all(other.locks is not None for other in others):
            # Killed between locking and telling which locks are its own: those that nobody else
            # can have made since it wrote its record.
            try:
                began = owner.record.stat().st_mtime
            except FileNotFoundError:
                continue  # it was ending when it was looked for: its record went with it
            own = [lock for lock in unclaimed if lock.exists() and lock.stat().st_mtime >= began]
        else:
            continue  # another run that begins may have made them: next time
        _settle(owner, own)
    _respect(others)


def _read() -> list[Owner]:
    owners = []
    for path in RECORDS.glob(".*.json"):  # killed while it wrote its record: it had no locks yet
        remove_leftovers(RECORDS, path.name[: 1 + len(uuid.uuid4().hex)], ".json")
    for path in sorted(RECORDS.glob("[!.]*.json")):
        try:
            record = read_json(path)
            locks = record.pop("locks")
            owners.append(Owner(**record, locks=None if locks is None else tuple(locks)))
        except (WiseftError, TypeError, KeyError, AttributeError):
            path.unlink(missing_ok=True)  # damaged: its locks are those of nobody known
    return owners


def _locks() -> list[Path]:
    return sorted(LOCKS.glob("*.lock"))


def _settle(owner: Owner, locks: Sequence[Path]) -> None:
    """End what a dead run left running, remove its locks, then its record."""
    if orphans := _orphans(owner):
        pids = some([str(pid) for pid in orphans])
        log.info(
            f"{owner} was killed; the commands that it left running are ended (processes {pids})"
        )
        _end_processes(orphans)
    for lock in locks:
        lock.unlink(missing_ok=True)
    if locks:
        names = some([lock.name for lock in locks])
        log.info(
            f"{owner} was killed; its locks are removed ({names}), and this run goes on from there"
        )
    owner.record.unlink(missing_ok=True)


def _orphans(owner: Owner) -> dict[int, str | None]:
    """Return the processes that a run's commands are, and when each began."""
    mark, found = f"{VARIABLE}={owner.name}".encode(), {}
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # somebody else's, or over by now
            if mark in environment.read_bytes().split(b"\0"):
                pid = int(environment.parent.name)
                found[pid] = started(pid)
    return found


def _end_processes(processes: dict[int, str | None]) -> None:
    for number, patience in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, 5.0)):
        limit = time.monotonic() + patience
        told: set[int] = set()
        while time.monotonic() < limit:
            running = {pid for pid, start in processes.items() if start and started(pid) == start}
            if not running:
                return
            for pid in running - told:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                    os.kill(pid, signal.SIGCONT)  # one that was suspended hears nothing before
            told |= running
            time.sleep(0.1)


def _respect(others: Sequence[Owner]) -> None:
    """Say whose locks stay."""
    known: set[str] = set()
    for owner in others:
        held = {name for name in owner.locks or () if (LOCKS / name).exists()}
        known |= held
        if held and owner.here:
            log.info(
                f"{owner} goes on: its locks are respected, and what both would make is refused"
            )
        elif held:
            log.info(
                f"{owner} has locks here, and only there can be seen whether it still runs. If it "
                "does not, run `snakemake --unlock`."
            )
        elif owner.locks and not owner.here:
            owner.record.unlink(missing_ok=True)  # unlocked by hand
    if strange := [lock.name for lock in _locks() if lock.name not in known]:
        log.info(
            f"{LOCKS} holds locks that no run on record has made ({some(strange)}); they are "
            "respected. Unless another run begins just now, run `snakemake --unlock`."
        )
