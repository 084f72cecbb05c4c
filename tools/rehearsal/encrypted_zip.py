"""A writer of encrypted zip archives, which the standard library only reads."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path


def write_encrypted_zip(
    path: Path, members: Mapping[str, bytes], password: bytes, *, time_check: bool = False
) -> Path:
    """Write deflated members under the classic zip cipher, as ObjectNet's archive is.

    Args:
        time_check: let the header's last byte be of the time, as writers that stream do, instead of
            the CRC.
    """
    body, directory = b"", b""
    for name, content in members.items():
        coder = zlib.compressobj(6, zlib.DEFLATED, -15)
        data = coder.compress(content) + coder.flush()
        crc = zlib.crc32(content)
        flags, clock = (9, 0x7BCD) if time_check else (1, 0)
        check = clock >> 8 if time_check else crc >> 24
        data = _encrypt(bytes(range(11)) + bytes([check]) + data, password)
        known = (20, flags, 8, clock, 0x21, crc, len(data), len(content), len(name.encode()), 0)
        fields = struct.pack("<5H3I2H", *known)
        directory += b"PK\1\2" + struct.pack("<H", 20) + fields
        directory += struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + name.encode()
        body += b"PK\3\4" + fields + name.encode() + data
    end = struct.pack("<4H2IH", 0, 0, len(members), len(members), len(directory), len(body), 0)
    path.write_bytes(body + directory + b"PK\5\6" + end)
    return path


def _encrypt(data: bytes, password: bytes) -> bytes:
    keys = [0x12345678, 0x23456789, 0x34567890]
    for byte in password:
        _update(keys, byte)
    out = bytearray()
    for byte in data:
        half = keys[2] | 2
        out.append(byte ^ (((half * (half ^ 1)) >> 8) & 255))
        _update(keys, byte)
    return bytes(out)


def _update(keys: list[int], byte: int) -> None:
    keys[0] = _crc(keys[0], byte)
    keys[1] = ((keys[1] + (keys[0] & 255)) * 134775813 + 1) & 0xFFFFFFFF
    keys[2] = _crc(keys[2], keys[1] >> 24)


def _crc(crc: int, byte: int) -> int:
    """One step of the CRC without its first and last inversion."""
    return zlib.crc32(bytes([byte]), crc ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
