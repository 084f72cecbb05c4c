"""Copies of images on a node's own disk, in the folder that `WISEFT_NODE` names.

A file is copied when it is first read. Later passes and jobs on that node read the copy. Its name
holds path, size and times of the file, so a changed file has another copy. Stored arrays are
checked by their sum. Image files are checked by their size, and hashed whenever they are decoded.
Nothing is removed: clusters clear such folders themselves.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from wiseft.base.io import require_space, sha256_file, sha256_json
from wiseft.base.locks import exclusive
from wiseft.base.temporary import temporary_file
from wiseft.errors import WiseftError

log = logging.getLogger(__name__)
_said: set[str] = set()


def near(path: Path, sha256: str = "") -> tuple[Path, os.stat_result | None]:
    """Return a copy of a file on the node's own disk, and the status of the file itself.

    Without a folder or room there: the file, and no status. The log says why, once.

    Args:
        sha256: what the copy must have; empty: the right size is enough.
    """
    given = os.environ.get("WISEFT_NODE")  # `$TMPDIR` and the like are filled in here, on the node
    if not given or not path.is_file():
        return path, None
    of = path.stat()
    key = sha256_json([str(path.absolute()), of.st_size, of.st_mtime_ns, of.st_ctime_ns])
    copy = Path(os.path.expandvars(given)) / key[:3] / f"{key}{path.suffix}"
    try:
        if "$" in str(copy):
            raise WiseftError("the environment has no such variable")
        if not _whole(copy, of.st_size, sha256):
            _copy(path, copy, of.st_size, sha256)
    except (OSError, WiseftError) as error:
        if given not in _said:
            log.warning("images are read where they lie, not from %s: %s", given, error)
        _said.add(given)
        return path, None
    return copy, of


def _copy(path: Path, copy: Path, size: int, sha256: str) -> None:
    with exclusive(copy.with_suffix(".lock")):
        if not _whole(copy, size, sha256):  # no other job was first
            require_space(copy.parent, size, f"a copy of {path}")
            with temporary_file(copy.parent, "copy") as part:  # without fsync, which takes 10 ms
                Path(shutil.copyfile(path, part)).replace(copy)
        if not _whole(copy, size, sha256):
            raise WiseftError(f"{path} has not the SHA-256 {sha256}, or changes just now.")


def _whole(copy: Path, size: int, want: str) -> bool:
    same = os.access(copy, os.R_OK) and copy.stat().st_size == size
    return same and want in ("", want and sha256_file(copy))
