"""Reading and writing of files: atomic, checked, with errors that name the file."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wiseft.base.temporary import remove_leftovers, temporary_file, temporary_folder
from wiseft.errors import DamagedFile, WiseftError

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of disk space is used up",
    errno.EFBIG: "files may not be larger here (ulimit -f)",
}
_NOTHING = 2**16
"""Fewer free bytes than these are none."""
MARGIN = 256 * 1024**2
"""Bytes that stay free besides what is written."""


@contextlib.contextmanager
def atomic_path(path: Path | str, size: int | None = None) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename on success, remove on failure.

    The temporary file keeps the suffix of `path`, because writers such as matplotlib choose
    their format by it. What killed processes left of earlier ones is removed.

    Args:
        size: bytes that will be written, where they are known: for the message of a full disk.

    Raises:
        WiseftError: if the path is a folder or a device, or the disk is full, whatever error the
            writer makes of that.
    """
    path = Path(path)
    _check_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_file(path.parent, *_stem_and_suffix(path)) as temporary:
        with told_when_full(path, temporary, size):
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        # mkstemp makes files that only their owner may read; artifacts are shared.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)


@contextlib.contextmanager
def atomic_folder(path: Path, size: int | None = None) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, which does not exist, as `atomic_path` a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(f".{path.name[:80]}", path.parent) as temporary:
        with told_when_full(path, temporary, size):
            yield temporary
        # mkdtemp's, too, are their owner's alone.
        temporary.chmod(0o777 & ~_umask())
        temporary.rename(path)


def remove_leftovers_of(path: Path) -> None:
    """Remove the temporary files that killed processes left when they wrote `path`."""
    remove_leftovers(path.parent, *_stem_and_suffix(path))


def _check_file(path: Path) -> None:
    # A rename replaces whatever has the name: for root even /dev/null, for the whole machine.
    if path.is_dir():
        raise WiseftError(f"cannot write {path}: it is a folder; give the name of a file")
    if (path.exists() and not path.is_file()) or path.absolute().parent == Path("/dev"):
        raise WiseftError(f"cannot write {path}: it is a device; give the name of a file")


def check_writable(path: Path) -> None:
    """Check that a file can be written, before the work whose result it is.

    What killed processes left of earlier attempts is removed.

    Raises:
        WiseftError: if the folder can't be made or written to, or the path is a folder or a device.
    """
    _check_file(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers_of(path)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise WiseftError(
            f"cannot write {path}: {error.strerror}; choose another place or mend its permissions"
        ) from None


def _stem_and_suffix(path: Path) -> tuple[str, str]:
    return f".{path.stem[:80]}", path.suffix


@contextlib.contextmanager
def told_when_full(path: Path, temporary: Path, size: int | None) -> Iterator[None]:
    """Turn a full disk into a sentence: writers say it in many ways, and some not at all.

    Args:
        path: as the sentence names it.
        temporary: the file or folder that is written; a file may grow by what the disk is asked.
        size: bytes that will be written, where they are known.
    """
    try:
        yield
    except WiseftError:
        raise
    except Exception as error:
        files = [temporary, *temporary.rglob("*")]
        written = sum(512 * file.stat().st_blocks for file in files if file.exists())
        if (reason := _why_full(error, temporary)) is None:
            raise
        raise WiseftError(
            f"{path} cannot be written: {reason}. {amount(written)} of it were written, "
            f"{room(path.parent, size and size - written)}. Make room there and run the same "
            "command again; it resumes where it stopped."
        ) from error


def room(folder: Path, needed: int | None = None) -> str:
    """Say how many bytes are free in a folder, and how many are missing of those needed."""
    free = shutil.disk_usage(folder).free
    missing = f", {amount(max(needed - free, 1))} are missing" if needed else ""
    return f"{amount(free)} are free in {folder}{missing}"


def is_full(folder: Path) -> bool:
    """Whether a folder lies on a disk without room."""
    return shutil.disk_usage(folder).free < _NOTHING


def _why_full(error: Exception, temporary: Path) -> str | None:
    """Return the want of space that an error comes from; None where it has another cause."""
    text = f"{error} {os.strerror(getattr(error, 'errno', None) or 0)}"
    for number, reason in _FULL.items():
        if os.strerror(number) in text:
            return reason
    # numpy and torch say neither a number nor the system's words: ask the system itself.
    try:
        with (temporary / "more" if temporary.is_dir() else temporary).open("ab") as file:
            file.write(bytes(_NOTHING))
            file.flush()
            os.fsync(file.fileno())
    except OSError as answer:
        return _FULL.get(answer.errno or 0)
    return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path | str, text: str) -> None:
    """Write a text file atomically, as UTF-8."""
    content = text.encode()
    with atomic_path(path, len(content)) as temporary:
        temporary.write_bytes(content)


def json_text(obj: Any) -> str:
    """Return JSON as files have it: two spaces, keys in the given order, no NaN."""
    return json.dumps(obj, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def write_json(path: Path | str, obj: Any) -> None:
    """Write JSON atomically, as `json_text` gives it."""
    write_text(path, json_text(obj))


def read_json(path: Path | str, what: str = "file") -> Any:
    """Read JSON.

    Raises:
        WiseftError: if the file is missing; DamagedFile, if it is not valid JSON.
    """
    path = require_file(path, what)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of text, numbers and nesting
        raise DamagedFile(f"{path} is not valid JSON ({error})", path) from None


def read_object(path: Path | str, what: str = "file") -> dict[str, Any]:
    """Read JSON that is an object.

    Raises:
        WiseftError: as `read_json`, or if it is something else.
    """
    content = read_json(path, what)
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise DamagedFile(f"{path}, the {what}, is no JSON object but a {kind}", Path(path))
    return content


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


def amount(n: int) -> str:
    """Return a number of bytes in MB (10^6 bytes), rounded up to one decimal, or in GB."""
    return gigabytes(n) if n >= 1e9 else f"{math.ceil(n / 1e5) / 10:.1f} MB"


def gigabytes(n: int) -> str:
    """Return a number of bytes in GB (10^9 bytes), with two decimals."""
    return f"{n / 1e9:.2f} GB"
