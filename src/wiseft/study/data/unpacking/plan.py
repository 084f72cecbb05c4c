"""What an archive will unpack to, and whether that is safe: checked before anything is written."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from wiseft.base.io import gigabytes
from wiseft.base.tar import Member, Members, shortened
from wiseft.errors import WiseftError

RATIO = 200
"""An archive that grows more than this many times, and to more than `GRACE` bytes, is a bomb."""

GRACE = 1024**3

MOST_MEMBERS = 10_000_000

DEEPEST = 64
"""Folders in folders, and links that lead to links; more are made to exhaust what walks them."""

BLOCK = 4096
"""Bytes that the smallest file takes up on a disk."""

MARKER = ".unpacked.json"
"""In an unpacked folder: which archive it is a whole copy of."""


@dataclass
class Plan:
    """Files, links and folders by name.

    Args:
        archive: as messages name it.
        files: bytes of each file.
        links: for each link the name of what it leads to, itself perhaps a link.
        folders: named in the archive; those that only files imply are not here.
        total: bytes of all files, one that a link leads to counted again.
        on_disk: the same in whole blocks.
    """

    archive: Path
    files: dict[str, int] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    total: int = 0
    on_disk: int = 0

    def read(self, members: Members) -> None:
        """Add all members.

        Raises:
            WiseftError: one of them is not safe, the archive is a bomb or holds no files.
        """
        size = self.archive.stat().st_size
        n = 0
        with closing(members):
            for n, member in enumerate(members, 1):
                if n > MOST_MEMBERS:
                    raise WiseftError(f"{self.archive} has more than {MOST_MEMBERS} members.")
                self._add(member)
                self._require_small(size)
        if not self.files:
            raise WiseftError(f"{self.archive} holds no files ({n} members).")
        self._require_tree()
        for name in self.links:
            self._count(self.files[self.resolve(name)])
            self._require_small(size)

    def name(self, member: Member) -> str:
        """Return the name that a member is unpacked to; empty for the top folder.

        Raises:
            WiseftError: the name is not safe.
        """
        return "/".join(safe_parts(self.archive, member))

    def resolve(self, name: str) -> str:
        """Return the file that a link leads to, over other links if need be.

        Raises:
            WiseftError: there is none.
        """
        seen = [name]
        while seen[-1] in self.links:
            following = self.links[seen[-1]]
            if following in seen or len(seen) > DEEPEST:
                where = "itself" if following in seen else f"more than {DEEPEST} other links"
                raise refusal(self.archive, name, f"leads to {where}", "the link ")
            seen.append(following)
        if seen[-1] not in self.files:
            end = f"{shortened(seen[-1])!r}, which is no file of the archive"
            raise refusal(self.archive, name, f"leads to {end}", "the link ")
        return seen[-1]

    def _add(self, member: Member) -> None:
        name = self.name(member)
        if member.kind == "folder":
            self.folders.add(name)
            return
        if not name:
            raise refusal(self.archive, member.name, "has no name")
        if name in self.files or name in self.links or name == MARKER:
            raise refusal(self.archive, member.name, "would overwrite another file of that name")
        if member.kind == "file":
            self.files[name] = member.size
            self._count(member.size)
        elif member.kind in ("symlink", "hardlink"):
            self.links[name] = "/".join(link_parts(self.archive, member))
        else:
            raise refusal(self.archive, member.name, f"is a {member.kind}")

    def _count(self, size: int) -> None:
        self.total += size
        self.on_disk += -(-size // BLOCK) * BLOCK

    def _require_small(self, size: int) -> None:
        if self.total > max(GRACE, RATIO * size):
            raise WiseftError(
                f"{self.archive} ({gigabytes(size)}) unpacks to {gigabytes(self.total)} or more, "
                f"over {RATIO} times its size: it is taken for an archive bomb. Nothing was "
                "unpacked."
            )

    def _require_tree(self) -> None:
        """Refuse files that are folders of others too."""
        inner = set(self.folders)
        for name in (*self.folders, *self.files, *self.links):
            above = name.rpartition("/")[0]
            while above and above not in inner:
                inner.add(above)
                above = above.rpartition("/")[0]
        for name in (*self.files, *self.links):
            if name in inner:
                raise refusal(self.archive, name, "is both a file and a folder")


def safe_parts(archive: Path, member: Member) -> list[str]:
    """Return a member's folders and name; ``.`` and doubled slashes are left out.

    Raises:
        WiseftError: the name is absolute, holds ``..``, a backslash or NUL, or is too deep.
    """
    _require_relative(archive, member, member.name)
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise refusal(archive, member.name, "leads out of the archive by '..'")
    if len(parts) > DEEPEST:
        raise refusal(archive, member.name, f"lies {len(parts)} folders deep, over {DEEPEST}")
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
                link = shortened(member.link)
                raise refusal(archive, member.name, f"is a link out of the archive, to {link!r}")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return parts


def _require_relative(archive: Path, member: Member, name: str) -> None:
    if name.startswith("/") or re.match(r"[A-Za-z]:[\\/]", name):
        raise refusal(archive, member.name, f"names an absolute path, {shortened(name)!r}")
    if "\\" in name or "\0" in name:
        raise refusal(archive, member.name, "has a backslash or NUL in a name")


def refusal(archive: Path, name: str, fault: str, kind: str = "") -> WiseftError:
    """Return the error that says why an archive with a member of that name is not unpacked."""
    return WiseftError(f"{archive}: {kind}{shortened(name)!r} {fault}. Nothing was unpacked.")
