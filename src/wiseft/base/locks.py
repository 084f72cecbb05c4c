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


def _acquire(path: Path) -> int:
    waited = False
    while True:
        with contextlib.ExitStack() as unless_kept:
            handle = _open(path)
            unless_kept.callback(os.close, handle)
            if not _lock(path, handle, wait=waited):
                subject = path.with_name(path.name.removeprefix(".").removesuffix(".lock"))
                log.info(f"another process works on {subject}; waiting for it")
                waited = True
                _lock(path, handle, wait=True)
            # The one before may have removed the file between our opening and our locking of it.
            if _same_file(path, handle):
                unless_kept.pop_all()
                return handle


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise WiseftError(
            f"{path.parent} cannot be written ({error.strerror}). Name a folder that can be, or "
            "change its permissions."
        ) from error


def _lock(path: Path, handle: int, wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise NoLocks(
            f"{path.parent} lies on a file system without file locks ({error.strerror}), so two "
            "runs could write the same file. Use a folder on another file system."
        ) from error
    return True


def _same_file(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
