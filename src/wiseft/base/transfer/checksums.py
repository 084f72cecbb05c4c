"""What is known of a file before it is fetched, and the comparison of a file with it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from wiseft.base.progress import Meter
from wiseft.errors import WiseftError

CHUNK = 1 << 20
"""Most bytes of one read."""


@dataclass(frozen=True)
class Checksums:
    """What is known of a file; None where it is not.

    Args:
        sha256: 64 hex digits.
        md5: 32 hex digits.
        git_blob: SHA-1 of ``blob <size>\\0`` and the content, as ``git hash-object`` prints it.
        size: in bytes.
    """

    sha256: str | None = None
    md5: str | None = None
    git_blob: str | None = None
    size: int | None = None

    @property
    def by_name(self) -> dict[str, str]:
        """The checksums that are known; where there is one, a wrong file is found out."""
        known = {"sha256": self.sha256, "md5": self.md5, "git blob": self.git_blob}
        return {name: value for name, value in known.items() if value}


def already_there(path: Path, expected: Checksums) -> bool:
    """Tell whether a file is there and right.

    Raises:
        WiseftError: something else has its name; it is not touched.
    """
    if not os.path.lexists(path):
        return False
    if not path.is_file():
        raise WiseftError(
            f"{path}: expected a file, found a folder or a link that leads nowhere. It was not "
            "touched: move it away, and fetch the file again."
        )
    _, fault = compare_file(path, expected)
    if fault:
        raise WiseftError(
            f"{path}: {fault}. It was not touched: delete it or move it away, and fetch it again."
        )
    return True


def compare_file(path: Path, expected: Checksums) -> tuple[str, str | None]:
    """Return a file's SHA-256 and, if it is another file, what was expected and found."""
    size = path.stat().st_size
    if expected.size is not None and size != expected.size:
        return "", f"expected {expected.size} bytes, found {size}"
    hashes = {
        "sha256": hashlib.sha256(),
        "md5": hashlib.md5(usedforsecurity=False),
        "git blob": hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False),
    }
    wanted = expected.by_name
    used = [hashes[key] for key in hashes if key == "sha256" or key in wanted]
    name = path.name.removeprefix(".").removesuffix(".part")
    with path.open("rb") as file, Meter(desc=f"{name}: checking", total=size) as meter:
        while data := file.read(CHUNK):
            for one in used:
                one.update(data)
            meter.update(len(data))
    sha256 = hashes["sha256"].hexdigest()
    for key, value in wanted.items():
        if (actual := hashes[key].hexdigest()) != value.lower():
            return sha256, f"expected {key} {value}, found {actual}"
    return sha256, None
