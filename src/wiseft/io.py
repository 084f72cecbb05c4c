"""Reading and writing of files: atomic, checked, with errors that name the file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wiseft.errors import WiseftError

MARGIN = 256 * 1024**2
"""Bytes that stay free besides what is written."""


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename on success, remove on failure.

    The temporary file keeps the suffix of `path`, because writers such as matplotlib choose
    their format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.stem[:80]}.tmp-", suffix=path.suffix
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner may read; artifacts are shared.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path | str, text: str) -> None:
    """Write a text file atomically, as UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, obj: Any) -> None:
    """Write JSON atomically: two spaces, keys in the given order, no NaN."""
    write_text(path, json.dumps(obj, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path | str, what: str = "file") -> Any:
    """Read JSON.

    Raises:
        WiseftError: if the file is missing or is not valid JSON.
    """
    path = require_file(path, what)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of text, numbers and nesting
        raise WiseftError(f"{path} is not valid JSON ({error}); delete it and rerun") from None


def require_file(path: Path | str, what: str = "file") -> Path:
    """Return the path of an existing file.

    Raises:
        WiseftError: if there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise WiseftError(f"{what} {path} does not exist")
    return path


def sha256_file(path: Path | str) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(obj: Any) -> str:
    """Return the SHA-256 of an object's canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def require_space(folder: Path, needed: int, what: str) -> None:
    """Check that `needed` bytes and a margin of 256 MiB are free.

    Args:
        folder: where it will be written; it exists.
        needed: bytes still to be written.
        what: what is to be written, as the message names it.

    Raises:
        WiseftError: there is less; the message names folder, needed and free gigabytes.
    """
    free = shutil.disk_usage(folder).free
    if needed > 0 and free < needed + MARGIN:
        raise WiseftError(
            f"{what} needs {gigabytes(needed + MARGIN)} in {folder}, of which "
            f"{gigabytes(MARGIN)} are a margin; {gigabytes(free)} are free. Free some space, or "
            "name a folder on a larger disk."
        )


def gigabytes(n: int) -> str:
    """Return a number of bytes in GB (10^9 bytes), with two decimals."""
    return f"{n / 1e9:.2f} GB"
