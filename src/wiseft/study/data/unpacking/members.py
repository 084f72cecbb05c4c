"""Members of tar and zip archives. Fetched packages, wheels (.zip) and npm's (.tgz), are read so,
too, and never imported."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

from wiseft.base.tar import PIECE, Member, Members, first_bytes, reading, shortened, tar_members
from wiseft.errors import WiseftError

LONGEST_LINK = 4096
"""Most bytes of what a symlink in a zip archive names: they are read before the plan is made."""


def members(archive: Path, password: str | None = None) -> Members:
    """Yield the members of a zip archive, or of a tar archive as `tar_members` does.

    The format is told by the content, not by the name.

    Args:
        password: of a zip archive's encrypted members, which Python reads at about 2 MB/s.

    Raises:
        WiseftError: the file is of no known format, damaged, cut short, encrypted with another
            password, or compressed in a way that is not read here.
    """
    if first_bytes(archive)[:4] in (b"PK\3\4", b"PK\5\6"):
        return _zip_members(archive, password)
    return tar_members(archive, "tar or zip archive")


def _zip_members(archive: Path, password: str | None) -> Members:
    with reading(archive, zipfile.BadZipFile), zipfile.ZipFile(archive) as file:
        file.setpassword((password or "").encode())
        for info in file.infolist():
            kind = _zip_kind(info)
            name = shortened(info.filename)
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise WiseftError(
                    f"{archive}: {name!r} is stored by method {info.compress_type}; expected a "
                    "zip archive whose members are stored plainly (0) or deflated (8)."
                )
            if info.flag_bits & 1 and password is None:
                raise WiseftError(f"{archive}: {name!r} is encrypted, and no password is given.")

            if kind == "symlink" and info.file_size > LONGEST_LINK:
                raise WiseftError(
                    f"{archive}: {name!r} is a link of {info.file_size} bytes, over {LONGEST_LINK}."
                )

            def pieces(info: zipfile.ZipInfo = info) -> Iterator[bytes]:
                return _zip_pieces(archive, info, file)

            link = b"".join(pieces()).decode() if kind == "symlink" else ""
            size = info.file_size if kind == "file" else 0
            yield Member(info.filename, kind, size, link, pieces)


def _zip_kind(info: zipfile.ZipInfo) -> str:
    if info.is_dir():
        return "folder"
    mode = info.external_attr >> 16 if info.create_system == 3 else 0
    kinds = {
        0: "file",
        stat.S_IFREG: "file",
        stat.S_IFDIR: "folder",
        stat.S_IFLNK: "symlink",
        stat.S_IFIFO: "named pipe",
    }
    return kinds.get(stat.S_IFMT(mode), "device file")


def _zip_pieces(archive: Path, info: zipfile.ZipInfo, file: zipfile.ZipFile) -> Iterator[bytes]:
    with reading(archive, zipfile.BadZipFile):
        try:
            opened = file.open(info)
        except (RuntimeError, NotImplementedError) as error:
            fault = f"{shortened(info.filename)!r} cannot be read: {shortened(str(error), 500)}"
            raise WiseftError(f"{archive}: {fault}.") from error
        size = 0
        with opened as member:
            while data := member.read(PIECE):
                size += len(data)
                yield data
        if size != info.file_size:
            name = shortened(info.filename)
            raise EOFError(f"{name!r} has {size} bytes, declared {info.file_size}")
