"""Is there room for what is about to be written?"""

from __future__ import annotations

import shutil
from pathlib import Path

from wiseft.errors import WiseftError

MARGIN = 256 * 1024**2
"""Bytes that stay free besides what is written."""


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
