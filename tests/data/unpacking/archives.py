"""Archives of every kind and what is expected of their unpacking."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from wiseft.errors import WiseftError
from wiseft.study.data.unpacking.plan import MARKER
from wiseft.study.data.unpacking.unpack import unpack


def tar_bytes(members, mode: str = "w") -> bytes:
    """Return an archive of (TarInfo or name, bytes) pairs."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:
        for info, data in members:
            if isinstance(info, str):
                info = tarfile.TarInfo(info)
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def tar_of(path: Path, members, mode: str = "w") -> Path:
    path.write_bytes(tar_bytes(members, mode))
    return path


def archive_of(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path
    modes = {".tar": "w", ".gz": "w:gz", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}
    return tar_of(path, files.items(), modes[path.suffix])


def special(name: str, kind: bytes, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


def content(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name != MARKER
    }


def assert_refused(archive: Path, message: str, **options) -> None:
    """The archive is refused by a sentence that names it, and nothing is written anywhere."""
    target = archive.parent / "out" / "target"
    with pytest.raises(WiseftError, match=message) as error:
        unpack(archive, target, **options)
    assert str(archive) in str(error.value) or archive.name in str(error.value)
    assert list(target.parent.iterdir()) == []
    assert sorted(p.name for p in archive.parent.iterdir()) == sorted([archive.name, "out"])
