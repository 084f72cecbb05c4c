"""Members of tar archives, one after the other and in pieces: a reader for archives that nobody
vouches for, shards of images among them."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import struct
import tarfile
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from wiseft.errors import WiseftError

PIECE = 1 << 20
"""Most bytes read at once, of a member or of a header."""

LARGEST = 256 << 20
"""Most bytes of a member that is read into memory."""

PADDING = 64 * 1024**2
"""Most bytes between the last member of a tar archive and its end."""

COMPRESSIONS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
"""First bytes of a compressed tar archive, and what opens it."""

FAULTS: tuple[type[Exception], ...] = (
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
)
"""What the libraries raise on an archive that is damaged or cut short."""


@dataclass(frozen=True)
class Member:
    """One member of an archive.

    Args:
        name: as it stands in the archive.
        kind: ``file``, ``folder``, ``symlink``, ``hardlink``, or in words what else it is.
        size: declared bytes of a file; 0 for the others.
        link: what a link names, as it stands in the archive.
        pieces: gives a file's content, at most 1 MiB at once and never more than `size` bytes in
            all. Works until the next member is asked for.
    """

    name: str
    kind: str
    size: int
    link: str
    pieces: Callable[[], Iterator[bytes]]


Members = Generator[Member, None, None]
"""Members of an archive that is open until the last one was given, or until it is closed."""


def tar_members(archive: Path, expected: str = "tar archive") -> Members:
    """Yield the members of a .tar, .tar.gz, .tar.bz2 or .tar.xz file in their order.

    The format is told by the content, not by the name. At the end the rest of the file is read too,
    so that a compressed archive's own checksum is compared.

    Args:
        expected: what the file is called where it is no tar archive.

    Raises:
        WiseftError: the file is of no known format, damaged or cut short.
    """
    start = first_bytes(archive)
    for magic, opener in COMPRESSIONS.items():
        if start.startswith(magic):
            return _tar_members(archive, opener)
    if start[257:262] == b"ustar":
        return _tar_members(archive, None)
    with contextlib.suppress(tarfile.HeaderError):  # the form before it has no magic
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
        return _tar_members(archive, None)
    raise WiseftError(f"{archive} is no {expected}: it begins with {start[:16]!r}. Fetch it again.")


def first_bytes(archive: Path) -> bytes:
    """Return the first 512 bytes of a file, which tell its format."""
    with reading(archive), archive.open("rb") as file:
        return file.read(512)


def nested_members(archive: Path, outer: Member) -> Members:
    """Yield the members of a plain tar archive that is itself a member of `archive`.

    Raises:
        WiseftError: it is no tar archive, or is damaged.
    """
    label = f"{archive}: {shortened(outer.name)}"
    stream = _ForwardStream(_PieceStream(outer.pieces()))
    with reading(label):
        yield from _walk(stream, label)


def shortened(text: str, most: int = 100) -> str:
    """Return a name, or other text of an archive, as messages have it: a long one by its beginning
    and its end."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"


@contextlib.contextmanager
def reading(archive: Path | str, *more: type[Exception]) -> Iterator[None]:
    """Turn what the libraries raise, `FAULTS` and `more`, into a sentence."""
    try:
        yield
    except FAULTS + more as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise WiseftError(f"{archive} cannot be read ({error.strerror}).") from error
        reason = shortened(str(error), 500) or type(error).__name__
        raise WiseftError(
            f"{archive} is damaged or cut short ({reason}). Delete it and fetch it again."
        ) from error


class _ForwardStream:
    """A stream as `tarfile` wants it, that never goes back: a compressed one would have to be
    decompressed from its start. Refuses large reads, which only a forged header causes."""

    def __init__(self, raw: IO[bytes] | _PieceStream, jump: Callable[[int], object] | None = None):
        self._raw = raw
        self._jump = jump
        self._at = 0
        self.last = b""

    def tell(self) -> int:
        return self._at

    def read(self, n: int) -> bytes:
        if n > PIECE:
            raise tarfile.ReadError(f"a header declares {n} bytes")
        self.last = self._raw.read(n)
        self._at += len(self.last)
        return self.last

    def seek(self, position: int, whence: int = 0) -> None:
        if whence != 0 or position < self._at:
            raise tarfile.ReadError("a header leads backwards")
        if self._jump is not None:
            self._jump(position)
            self._at = position
        while self._at < position:
            if not self.read(min(PIECE, position - self._at)):
                raise EOFError("it ends inside a member")


class _PieceStream:
    """Pieces of bytes as a stream."""

    def __init__(self, pieces: Iterator[bytes]):
        self._pieces = pieces
        self._rest = bytearray()

    def read(self, n: int) -> bytes:
        while len(self._rest) < n and (piece := next(self._pieces, b"")):
            self._rest += piece
        data = bytes(self._rest[:n])
        del self._rest[:n]
        return data


def _tar_members(archive: Path, opener: Callable[..., Any] | None) -> Members:
    with reading(archive):
        file: IO[bytes] = archive.open("rb") if opener is None else opener(archive, "rb")
        with file:
            yield from _walk(_ForwardStream(file, file.seek if opener is None else None), archive)


def _walk(stream: _ForwardStream, archive: Path | str) -> Members:
    tar = tarfile.TarFile(fileobj=stream)  # type: ignore[arg-type]
    while (info := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # or it would keep all of them
        if info.size < 0 or info.issparse():
            raise tarfile.ReadError(f"{shortened(info.name)!r} has a forged size or holes")
        yield Member(
            info.name,
            _tar_kind(info),
            info.size if info.isreg() else 0,
            info.linkname if info.issym() or info.islnk() else "",
            lambda info=info: _tar_pieces(stream, info, archive),  # type: ignore[misc]
        )
    # tarfile takes any block that is no header for the end.
    if stream.last.strip(b"\0"):
        raise tarfile.ReadError(f"no header where one is due, at byte {tar.offset}")
    left = PADDING
    while data := stream.read(PIECE):
        left -= len(data)
        if left < 0:
            raise tarfile.ReadError(f"more than {PADDING} bytes after the last member")


def _tar_kind(info: tarfile.TarInfo) -> str:
    kinds = [
        (info.isreg(), "file"),
        (info.isdir(), "folder"),
        (info.issym(), "symlink"),
        (info.islnk(), "hardlink"),
        (info.isfifo(), "named pipe"),
        (info.isdev(), "device file"),
    ]
    return next((kind for is_kind, kind in kinds if is_kind), f"member of type {info.type!r}")


def _tar_pieces(
    stream: _ForwardStream, info: tarfile.TarInfo, archive: Path | str
) -> Iterator[bytes]:
    with reading(archive):
        stream.seek(info.offset_data)
        left = info.size
        while left:
            data = stream.read(min(PIECE, left))
            if not data:
                raise EOFError(f"it ends inside {shortened(info.name)!r}")
            left -= len(data)
            yield data
