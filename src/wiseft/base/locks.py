"""Exclusive locks between processes: who brings or unpacks a file does it alone."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from wiseft.errors import WiseftError

log = logging.getLogger(__name__)


class NoLocks(WiseftError):
    """A file system has none."""


NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_PERMIT = ". Name a folder that can be, or change its permissions."
_ADVICE = ", so two runs could write the same file. Use a folder on another file system."


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; wait for it where another process has it.

    The operating system drops the lock of a killed process; the empty file that such a process
    leaves behind is used again.

    Args:
        path: of the lock file; its folder is made.

    Raises:
        WiseftError: the folder cannot be written, or its file system has no locks (NoLocks).
    """
    handle = _acquire(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep every other process out of a state folder while the block runs; wait for it first.

    Two jobs in one folder would remove each other's states, and start each from the other's.

    Raises:
        WiseftError: the folder cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = folder.absolute()
            stack.enter_context(exclusive(folder.with_name(f".{folder.name}.lock")))
        except NoLocks as error:
            log.info(f"{error} It is for you to run no two jobs with the state {folder}.")
        yield


def _acquire(path: Path) -> int:
    waited = False
    while True:
        with contextlib.ExitStack() as unless_kept:
            handle = open_lock(path)
            unless_kept.callback(os.close, handle)
            if not lock(handle, path.parent, wait=waited):
                subject = path.with_name(path.name.removeprefix(".").removesuffix(".lock"))
                log.info(f"another process works on {subject}; waiting for it")
                waited = True
                lock(handle, path.parent, wait=True)
            # The one before may have removed the file between our opening and our locking of it.
            if _same_file(path, handle):
                unless_kept.pop_all()
                return handle


def open_lock(path: Path, advice: str = _PERMIT, mode: int = 0o666) -> int:
    """Open a lock file, which is made with its folder. Raises WiseftError if it cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, mode)
    except OSError as error:
        raise WiseftError(f"{path.parent} cannot be written ({error.strerror}){advice}") from error


def lock(handle: int, folder: Path, wait: bool, advice: str = _ADVICE) -> bool:
    """Lock an open file for this process; return whether it has the lock.

    Args:
        folder: that the file lies in, for messages.
        wait: for the process that has the lock.
        advice: end of the sentence that says that there are no locks.

    Raises:
        NoLocks: the file system has none.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise NoLocks(
            f"{folder} lies on a file system without file locks ({error.strerror}){advice}"
        ) from error
    return True


def _same_file(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
