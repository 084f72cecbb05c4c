"""Zip archives as torch writes them, in which every byte has one meaning.

Programs read an ambiguous archive differently: one takes the first directory, one the last. Such an
archive is refused, so that nobody can show one content to a check and another to a reader.
"""

from __future__ import annotations

import mmap
import struct
import sys
import zipfile
from typing import BinaryIO

import torch

_LOCAL = struct.Struct("<4s5H3L2H")
_DESCRIPTOR = 24
"""Bytes at most behind a member that repeat its sum and sizes."""
_ALIGNMENT = 16
_GROWTH, _GRACE = 20, 2**20
"""How much larger than in the file a pickle or code may be: its objects are larger still."""
_LARGE = 2**32 - 1
"""Stands for a number that is written elsewhere, with 64 bits."""


class Archive:
    """The members of an archive, read through one parse of its directory.

    Args:
        file: open for reading; storages stay mapped when it is closed.

    Attributes:
        members: what the directory says of each, by its name in the folder of `data.pkl`.

    Raises:
        ValueError: if the archive is ambiguous or none of torch.
        zipfile.BadZipFile: if it is damaged.
    """

    def __init__(self, file: BinaryIO):
        self._file, self._zip = file, zipfile.ZipFile(file)
        infos = self._zip.infolist()
        roots = [i.filename[:-8] for i in infos if i.filename.endswith("/data.pkl")]
        if len({info.filename.casefold() for info in infos}) < len(infos) or len(roots) != 1:
            raise ValueError("two members have one name, or it has not one data.pkl")
        self.members = {info.filename.removeprefix(roots[0]): info for info in infos}
        self._require_one_directory()
        self._begin = self._places(infos)
        if "byteorder" in self.members and self.read("byteorder") != sys.byteorder.encode():
            raise ValueError("its numbers have the byte order of another kind of processor")
        self._map: mmap.mmap | None = None
        self._storages: dict[str, torch.UntypedStorage] = {}

    def damaged(self) -> str | None:
        """Return the name of a member whose checksum is wrong, if there is one."""
        return self._zip.testzip()

    def read(self, name: str) -> bytes:
        """Return a member, whose checksum is compared; one that unpacks to very much is refused."""
        info = self.members[name]
        if info.file_size > _GROWTH * info.compress_size + _GRACE:
            raise ValueError(f"{name} in it was made to fill the memory")
        return self._zip.read(info)

    def storage(self, name: str) -> torch.UntypedStorage:
        """Return a member that lies in the mapped file; a copy where it cannot be mapped."""
        if name not in self._storages:
            self._storages[name] = self._flat(self.members[name]).untyped_storage()
        return self._storages[name]

    def _flat(self, info: zipfile.ZipInfo) -> torch.Tensor:
        begin, size = self._begin[info.filename], info.file_size
        if not size:
            return torch.empty(0, dtype=torch.uint8)
        if info.compress_type != zipfile.ZIP_STORED or begin % _ALIGNMENT:
            return torch.frombuffer(bytearray(self._zip.read(info)), dtype=torch.uint8)
        self._map = self._map or mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)
        return torch.frombuffer(self._map, dtype=torch.uint8, count=size, offset=begin)

    def _require_one_directory(self) -> None:
        """Raise ValueError unless the file ends with one directory, and all say where it is."""
        size = self._file.seek(0, 2)
        self._file.seek(max(0, size - 42))
        locator, end = (tail := self._file.read().rjust(42, b"\0"))[:20], tail[20:]
        begin = int.from_bytes(end[16:20], "little")
        known = end[:4] == b"PK\5\6" and begin in (self._zip.start_dir, _LARGE)
        large = int.from_bytes(locator[8:16], "little") if locator[:4] == b"PK\6\7" else size - 98
        if not known or end[20:] != b"\0\0" or large != size - 98:
            raise ValueError("its directory is ambiguous")

    def _places(self, infos: list[zipfile.ZipInfo]) -> dict[str, int]:
        """Return where the content of each member begins; all follow each other without gaps."""
        places: dict[str, int] = {}
        end = 0
        for info in sorted(infos, key=lambda info: info.header_offset):
            self._file.seek(info.header_offset)
            head = self._file.read(_LOCAL.size)
            sign, _, flags, method, _, _, *sizes, length, extra = _LOCAL.unpack(head)
            name = self._file.read(length)
            coding = "utf-8" if info.flag_bits & 0x800 else "cp437"
            later = [0] if flags & 8 else []
            told = (info.CRC, info.compress_size, info.file_size)
            heads = (b"PK\3\4", info.flag_bits, info.compress_type, name)
            same = (sign, flags, method, info.orig_filename.encode(coding)) == heads
            pairs = zip(sizes, told, strict=True)
            if not same or any(own not in (its, _LARGE, *later) for own, its in pairs):
                raise ValueError(f"{info.filename} and the directory disagree")
            if not 0 <= info.header_offset - end <= (_DESCRIPTOR if places else 0):
                raise ValueError(f"{info.filename} does not follow the member before it")
            places[info.filename] = info.header_offset + len(head) + length + extra
            end = places[info.filename] + info.compress_size
        if not 0 <= self._zip.start_dir - end <= _DESCRIPTOR:
            raise ValueError("its directory does not follow its members")
        return places
