"""Names of members of an archive: where they may lead."""

from __future__ import annotations

import re
from pathlib import Path

from wiseft.data.unpacking.members import Member
from wiseft.errors import WiseftError


def safe_parts(archive: Path, member: Member) -> list[str]:
    """Return a member's folders and name; ``.`` and doubled slashes are left out.

    Raises:
        WiseftError: the name is absolute, holds ``..``, a backslash or NUL.
    """
    _require_relative(archive, member, member.name)
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise refusal(archive, member, "leads out of the archive by '..'")
    return parts


def link_parts(archive: Path, member: Member) -> list[str]:
    """Return folders and name of what a link leads to, from the archive's top.

    A symlink is relative to its own folder, a hard link to the archive.

    Raises:
        WiseftError: it leads out of the archive.
    """
    _require_relative(archive, member, member.link)
    parts = safe_parts(archive, member)[:-1] if member.kind == "symlink" else []
    for part in member.link.split("/"):
        if part == "..":
            if not parts:
                raise refusal(archive, member, f"is a link out of the archive, to {member.link!r}")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return parts


def _require_relative(archive: Path, member: Member, name: str) -> None:
    if name.startswith("/") or re.match(r"[A-Za-z]:[\\/]", name):
        raise refusal(archive, member, f"names an absolute path, {name!r}")
    if "\\" in name or "\0" in name:
        raise refusal(archive, member, "has a backslash or NUL in a name")


def refusal(archive: Path, member: Member, fault: str) -> WiseftError:
    """Return the error that says why an archive is not unpacked."""
    return WiseftError(f"{archive}: {member.name!r} {fault}. Nothing was unpacked.")
