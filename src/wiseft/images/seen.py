"""What was read of the image files of a split: size, times and SHA-256 of each.

It is kept beside the index as local state, part of no identity, and may be removed at any time.
While size and times of a file are the same, its hash is taken from there; else it is read again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wiseft.base.io import atomic_path
from wiseft.errors import WiseftError
from wiseft.images.manifest import Manifest

ROW = np.dtype([("stamp", "<i8", (3,)), ("sha256", "u1", (32,))])
"""Size, time of modification, time of change (which no program sets), and the hash."""


class Seen:
    """The files of one split, in the order of its index.

    Attributes:
        names: of the files, relative to their folder.
        path: where it is kept, after a sum of it and of the index.
        rows: what is known of each file, of `ROW`; zeros for what was not read yet.
        cached: digest of the files that a cache was decoded from, empty where it does not say;
            None where files are decoded.
    """

    def __init__(self, manifest: Manifest, split: str, names: Sequence[str]) -> None:
        self._root, self.names = manifest.root or Path(), names
        self._index = manifest.split_files(split).sha256["index"].encode()
        self.path = manifest.path.parent / split / "seen"
        self.rows: NDArray[np.void] = np.zeros(len(names), ROW)
        self.cached: str | None = None

    def note(self, index: int, file: BufferedReader, of: os.stat_result | None = None) -> None:
        """Take the hash of an open file and go back to its start; threads do so side by side.

        Args:
            of: status of the file that the open one is a copy of; None: it is no copy.
        """
        stamp = _stamp(of or os.fstat(file.fileno()))
        sha256 = hashlib.file_digest(file, "sha256").digest()
        self.rows[index] = stamp, np.frombuffer(sha256, np.uint8)
        file.seek(0)

    def stored(self) -> NDArray[np.void]:
        """Return the rows that an earlier process kept; zeros where there are none."""
        kept = self.path.read_bytes() if self.path.is_file() else b""
        whole = kept[:32] == hashlib.sha256(self._index + kept[32:]).digest()
        return np.frombuffer(bytearray(kept[32:]), ROW) if whole else np.zeros_like(self.rows)

    def stamps(self) -> NDArray[np.int64]:
        """Return the size and times of each file as it is now; zeros where there is none."""
        stamps = np.zeros((len(self.names), 3), np.int64)
        for index, name in enumerate(self.names):
            with suppress(FileNotFoundError):
                stamps[index] = _stamp((self._root / name).stat())
        return stamps

    def look(self) -> str | None:
        """Return the digest of the files as they are; None where their folder is not there.

        Only those are read whose size or times are others than before. A file that is missing is
        taken to be what it was. Where a cache is used its digest is returned.
        """
        if self.cached is not None or not self._root.is_dir():
            return self.cached
        if not self.rows["stamp"].any():
            self.rows = self.stored()
        now = self.stamps()
        changed = (now != self.rows["stamp"]).any(axis=1) & now.any(axis=1)
        self.rows["stamp"][changed] = 0
        return self.finish(keep=bool(changed.any()))

    def finish(self, keep: bool = True) -> str:
        """Read the files that were not read, and return the SHA-256 of all hashes in order.

        Where a cache is used its digest is returned.

        Args:
            keep: for the next process; where nothing can be written, that one reads again.
        """
        if self.cached is not None:
            return self.cached
        for index in np.flatnonzero(~self.rows["stamp"].any(axis=1)).tolist():
            path = self._root / self.names[index]
            with suppress(FileNotFoundError), path.open("rb") as file:
                self.note(index, file)
        if keep:
            content = self.rows.tobytes()
            with suppress(OSError, WiseftError), atomic_path(self.path) as part:
                part.write_bytes(hashlib.sha256(self._index + content).digest() + content)
        return hashlib.sha256(self.rows["sha256"].tobytes()).hexdigest()


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
