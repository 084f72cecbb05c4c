"""Encrypted zip members, many at once.

The cipher of zip archives (PKWARE's, APPNOTE 6.1) works byte by byte, each from the one before, so
the standard library's pure Python reads about 2 MB/s: a day for ObjectNet. Here a group of members
is decrypted in step, one byte of every member at a time, as arrays over the members.
"""

from __future__ import annotations

import copy
import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import IO

import numpy as np
from numpy.typing import NDArray

HEADER = 12
"""Random bytes before the data of an encrypted member; the last one tells a wrong password."""

SMALLEST = 16
"""Members below which the standard library is as fast."""

LARGEST = 64 * 1024**2
"""Members over this many bytes are left to the standard library, which streams them."""

GROUP = 1024**3
"""Bytes of a group at most, all held in memory."""

MOST = 4096
"""Members of a group at most."""

BLOCK = 8192
"""Bytes of each member that are handled between two rearrangements."""

Words = NDArray[np.uint32]
WORD, HALF = np.dtype("<u4"), np.dtype("<u2")
"""The cipher's words and their halves, the lowest byte first on every machine."""


CRC = np.array([zlib.crc32(bytes([byte ^ 255])) ^ 0xFF000000 for byte in range(256)], WORD)
"""Table of CRC-32: what a byte does to it."""

_HALVES = np.arange(1 << 16, dtype=np.uint32) | 2
STREAM = ((_HALVES * (_HALVES ^ 1)) >> 8).astype(np.uint8)
"""The byte that the low half of the third key gives."""


def _keys(password: bytes) -> tuple[int, int, int]:
    a, b, c = 0x12345678, 0x23456789, 0x34567890
    for byte in password:
        a = (a >> 8) ^ int(CRC[(a ^ byte) & 255])
        b = ((b + (a & 255)) * 134775813 + 1) & 0xFFFFFFFF
        c = (c >> 8) ^ int(CRC[(c ^ (b >> 24)) & 255])
    return a, b, c


def decrypt(streams: Sequence[NDArray[np.uint8]], password: bytes) -> None:
    """Decrypt streams of bytes in place, each as one member with its own start of the cipher.

    Args:
        streams: writable uint8 arrays of one axis, of any lengths.
    """
    order = sorted(streams, key=len, reverse=True)
    n = len(order)
    a, b, c = (np.full(n, key, WORD) for key in _keys(password))
    lengths = np.array([len(stream) for stream in order])
    for start in range(0, int(lengths.max(initial=0)), BLOCK):
        active = int((lengths > start).sum())
        steps = min(BLOCK, int(lengths[0]) - start)
        block = np.zeros((active, steps), np.uint8)
        for row, stream in zip(block, order, strict=False):
            row[: len(stream) - start] = stream[start : start + steps]
        columns = np.ascontiguousarray(block.T)
        a, b, c = a[:active].copy(), b[:active].copy(), c[:active].copy()
        _steps(a, b, c, columns)
        for row, stream in zip(columns.T, order, strict=False):
            stream[start : start + steps] = row[: len(stream) - start]


def _steps(a: Words, b: Words, c: Words, columns: NDArray[np.uint8]) -> None:
    """Decrypt one row after the other (a byte of every member), in place; the keys move on."""
    n = len(a)
    index, stream = np.empty(n, np.uint8), np.empty(n, np.uint8)
    looked_up = np.empty(n, WORD)
    a_low, b_high = a.view(np.uint8)[0::4], b.view(np.uint8)[3::4]
    c_low, c_half = c.view(np.uint8)[0::4], c.view(HALF)[0::2]
    factor, one, eight = np.uint32(134775813), np.uint32(1), np.uint32(8)
    for row in columns:
        STREAM.take(c_half, out=stream, mode="clip")
        np.bitwise_xor(row, stream, out=row)
        np.bitwise_xor(a_low, row, out=index)
        np.right_shift(a, eight, out=a)
        CRC.take(index, out=looked_up, mode="clip")
        np.bitwise_xor(a, looked_up, out=a)
        np.add(b, a_low, out=b)
        np.multiply(b, factor, out=b)
        np.add(b, one, out=b)
        np.bitwise_xor(c_low, b_high, out=index)
        np.right_shift(c, eight, out=c)
        CRC.take(index, out=looked_up, mode="clip")
        np.bitwise_xor(c, looked_up, out=c)


class Decrypter:
    """Opens encrypted members of an archive, each group of them decrypted when its first is opened.

    Args:
        file: the open archive.
        raw: the same file's bytes.
        password: of all members.
    """

    def __init__(self, file: zipfile.ZipFile, raw: IO[bytes], password: bytes):
        self._file = file
        self._raw = raw
        self._password = password
        self._ready: dict[int, NDArray[np.uint8]] = {}
        self._groups: dict[int, list[zipfile.ZipInfo]] = {}
        group: list[zipfile.ZipInfo] = []
        held = 0
        for info in file.infolist():
            if not info.flag_bits & 1 or info.is_dir() or info.compress_size > LARGEST:
                continue
            if held + info.compress_size > GROUP or len(group) == MOST:
                group, held = [], 0
            group.append(info)
            held += info.compress_size
            self._groups[id(info)] = group

    def open(self, info: zipfile.ZipInfo) -> IO[bytes]:
        """Return a member's content as a stream; its CRC is checked at the end.

        Raises:
            RuntimeError: the password is wrong.
            zipfile.BadZipFile: the member is not where the list says.
        """
        group = self._groups.get(id(info), [])
        if len(group) < SMALLEST:
            return self._file.open(info, pwd=self._password)
        if id(info) not in self._ready:
            self._ready = {id(one): self._read(one) for one in group}
            decrypt(list(self._ready.values()), self._password)
        data = self._ready.pop(id(info))
        if len(data) < HEADER or data[HEADER - 1] != _check_byte(info):
            raise RuntimeError(f"Bad password for file {info.filename!r}")
        plain = copy.copy(info)
        plain.flag_bits &= ~1
        plain.compress_size -= HEADER
        return zipfile.ZipExtFile(io.BytesIO(data[HEADER:].data), "r", plain)  # type: ignore

    def _read(self, info: zipfile.ZipInfo) -> NDArray[np.uint8]:
        self._raw.seek(info.header_offset)
        header = self._raw.read(30)
        if len(header) < 30 or header[:4] != b"PK\3\4":
            raise zipfile.BadZipFile(f"no member begins where {info.filename!r} should")
        name, extra = struct.unpack("<HH", header[26:])
        self._raw.seek(name + extra, io.SEEK_CUR)
        return np.frombuffer(bytearray(self._raw.read(info.compress_size)), np.uint8)


def _check_byte(info: zipfile.ZipInfo) -> int:
    """The last byte of the header: of the time where the CRC comes after the data, else of it."""
    if info.flag_bits & 8:
        _, _, _, hour, minute, _ = info.date_time
        return (hour << 3) | (minute >> 3)
    return info.CRC >> 24
