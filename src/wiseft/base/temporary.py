"""Temporary files and folders, of which the next process that writes there removes what is left.

Whoever works on one holds a lock of the kernel on it, which ends with the process: what nobody
holds is a leftover of one that was killed, however young. Where a file system has no locks, nothing
is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from wiseft.errors import WiseftError

MARK = ".tmp-"
"""In every name, so that nothing else is ever removed; tempfile adds eight letters."""


@contextlib.contextmanager
def temporary_file(folder: Path, stem: str, suffix: str = "") -> Iterator[Path]:
    """Yield a new empty file; remove leftovers of that name before, and the file at the end."""
    remove_leftovers(folder, stem, suffix)

    def make() -> Path:
        handle, name = tempfile.mkstemp(dir=folder, prefix=stem + MARK, suffix=suffix)
        os.close(handle)
        return Path(name)

    path, lock = _held(make)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


@contextlib.contextmanager
def temporary_folder(stem: str, folder: Path | None = None) -> Iterator[Path]:
    """Yield a new folder; remove leftovers of that name before, and the folder at the end.

    Args:
        folder: that it lies in; None: the system's for temporary files.

    Raises:
        WiseftError: the system's cannot be written, as on a full disk.
    """
    try:
        folder = Path(tempfile.gettempdir()) if folder is None else folder
    except FileNotFoundError as error:
        raise WiseftError(
            f"{error.strerror}: make room there, or name a folder by TMPDIR"
        ) from None
    remove_leftovers(folder, stem)
    path, lock = _held(lambda: Path(tempfile.mkdtemp(dir=folder, prefix=stem + MARK)))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def remove_leftovers(folder: Path, stem: str, suffix: str = "") -> None:
    """Remove the temporary files and folders of that name which no process works on."""
    for path in folder.glob(glob.escape(stem + MARK) + "?" * 8 + glob.escape(suffix)):
        with contextlib.suppress(OSError):  # gone by now, or not ours
            handle = _open(path)
            try:
                if os.fstat(handle).st_uid == os.geteuid() and _lock(handle):
                    _remove(path)
            finally:
                os.close(handle)


def _held(make: Callable[[], Path]) -> tuple[Path, int]:
    """Make something and hold its lock; once more where another process took it for a leftover."""
    while True:
        path = make()
        try:
            handle = _open(path)
        except FileNotFoundError:
            continue
        if _lock(handle) is not False and path.exists():
            return path, handle
        os.close(handle)


def _open(path: Path) -> int:
    # NFS locks exclusively only what is open for writing, which a folder cannot be.
    mode = os.O_RDONLY if path.is_dir() else os.O_RDWR
    return os.open(path, mode | os.O_NOFOLLOW)


def _lock(handle: int) -> bool | None:
    """Whether we have the lock now; None where there are no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
