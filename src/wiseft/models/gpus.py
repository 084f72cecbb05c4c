"""Which GPUs a job gets: locks between the jobs of a machine, so that no two share one.

A workflow engine counts GPUs and does not say which; so every command takes free ones by itself.
The library does not: a program that calls it has its own devices.
Locks are files that the operating system lets go of when the process ends, however it ends.
Inside a job of a cluster the GPUs are those of the allocation, and so are the locks.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from wiseft.base.locks import lock, open_lock
from wiseft.errors import WiseftError

log = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
LOCKS = "WISEFT_GPU_LOCKS"
"""Environment variable: folder of the lock files (default: one of yours in the system's temporary
folder), or `off`: jobs share GPUs.
"""
ALLOCATIONS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")
"""Variables of clusters: in two allocations the same number may mean two GPUs."""

_ADVICE = f"; name a folder on a local disk in {LOCKS}, or set it to off"


def devices() -> list[str]:
    """Return the GPUs that this process may use, as they stand in CUDA_VISIBLE_DEVICES.

    Without that variable: those that nvidia-smi lists; none where it is not installed.
    """
    given = os.environ.get(VISIBLE)
    if given is None:
        return list(_listed())
    names = (name.strip() for name in given.split(","))
    # CUDA reads up to the first that is no device; a job that asks Slurm for none is told so.
    none = ("", "-1", "NoDevFiles")
    return list(itertools.takewhile(lambda name: name not in none, names))


@functools.cache
def _listed() -> tuple[str, ...]:
    count = sum(line.startswith("GPU ") for line in _nvidia_smi("-L"))
    return tuple(map(str, range(count)))


@functools.cache
def memory_bytes() -> int:
    """Return the memory of the smallest GPU of this machine, in bytes; 0 without one."""
    query = ("--query-gpu=memory.total", "--format=csv,noheader,nounits")
    try:
        return min(map(int, _nvidia_smi(*query) if devices() else []), default=0) * 2**20
    except ValueError:
        return 0


def _nvidia_smi(*arguments: str) -> list[str]:
    """Return the lines that nvidia-smi prints; none where it is not installed or fails."""
    if (program := shutil.which("nvidia-smi")) is None:  # else the current folder may have one
        return []
    command = [program, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()


_own: list[str] | None = None


def choose(count: int) -> list[str]:
    """Take free GPUs for the rest of this process and show torch no others; wait if need be.

    To be called before anything asks CUDA for its devices. Sets CUDA_VISIBLE_DEVICES, which the
    processes that this one starts inherit.

    Args:
        count: GPUs that the process wants; 0 leaves everything as it is.

    Returns:
        The GPUs; none where this machine has none or locks are off.

    Raises:
        WiseftError: if there are fewer GPUs than that, or no lock can be made.
    """
    global _own
    there = devices()
    if count < 1 or not there or os.environ.get(LOCKS) == "off":
        return []
    if _own is None:
        _own = acquire(count, there, lock_folder())
        os.environ[VISIBLE] = ",".join(_own)
    return list(_own)


def lock_folder() -> Path:
    """Return the folder of the lock files: on this machine, of this user and allocation."""
    base = os.environ.get(LOCKS) or Path(tempfile.gettempdir()) / f"wiseft-gpus-{os.getuid()}"
    allocation = next((os.environ[name] for name in ALLOCATIONS if os.environ.get(name)), "")
    return Path(base) / allocation.replace("/", "_")


def acquire(count: int, names: Sequence[str], folder: Path) -> list[str]:
    """Lock GPUs, all or none, in the order of asking; wait until enough are free.

    Nobody else gets them until this process ends.
    Who waits for several is not overtaken by those who want one, and holds none meanwhile.

    Args:
        count: GPUs that are wanted.
        names: of the GPUs there are.
        folder: of the lock files; it is made.

    Raises:
        WiseftError: if there are fewer GPUs than that, or no lock can be made.
    """
    if count > len(names):
        raise WiseftError(
            f"{count} GPUs are asked for, but there are {len(names)} here ({VISIBLE}: "
            f"{','.join(names)}); set training.how.gpus to {len(names)} at most"
        )

    with _turn(count, names, folder) as waited:
        while (handles := _try(count, names, folder)) is None:
            if not waited:
                log.info(_waiting(count, names, folder))
                waited = True
            time.sleep(1.0)
    return list(handles)


@contextlib.contextmanager
def _turn(count: int, names: Sequence[str], folder: Path) -> Iterator[bool]:
    """Hold the right to ask for GPUs; yield whether it was waited for, and that was said."""
    handle = open_lock(folder / "turn.lock", _ADVICE, 0o600)
    try:
        if waited := not lock(handle, folder, wait=False, advice=_ADVICE):
            log.info(_waiting(count, names, folder))
            lock(handle, folder, wait=True, advice=_ADVICE)
        yield waited
    finally:
        os.close(handle)


def _try(count: int, names: Sequence[str], folder: Path) -> dict[str, int] | None:
    """Return the locks of the first free GPUs by name; None, and no lock, if they are too few."""
    handles: dict[str, int] = {}
    try:
        for name in names:
            handle = open_lock(_file(folder, name), _ADVICE, 0o600)
            if not lock(handle, folder, wait=False, advice=_ADVICE):
                os.close(handle)
                continue
            handles[name] = handle
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
            if len(handles) == count:
                return handles
    except BaseException:
        _close(handles)
        raise
    _close(handles)
    return None


def _close(handles: dict[str, int]) -> None:
    for handle in handles.values():
        os.close(handle)


def _file(folder: Path, name: str) -> Path:
    return folder / f"gpu-{name.replace('/', '_')}.lock"


def _waiting(count: int, names: Sequence[str], folder: Path) -> str:
    holders = []
    for name in names:
        with contextlib.suppress(OSError):
            holders.append(f"{name} (process {_file(folder, name).read_text().strip()})")
    return (
        f"waiting for {count} of {len(names)} GPUs; last taken by: {', '.join(holders) or 'nobody'}"
    )


if __name__ == "__main__":
    print(len(devices()))
