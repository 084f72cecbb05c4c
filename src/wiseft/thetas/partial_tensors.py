"""Tensor files in the making that outlive their process: whoever makes one again goes on with it.

All tensors of such a file have a row a sample. Every few minutes the number of rows that are there
is noted beside it, with their sum. The file's own header says what is made: a file with another
one, or whose rows are not those that were noted, is begun anew. It is disposable.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from wiseft.base.io import read_json, told_when_full, write_json
from wiseft.errors import WiseftError
from wiseft.thetas.tensor_file import AFTER_SUM, TensorWriter

log = logging.getLogger(__name__)

SAVE_SECONDS = 120.0
"""Between two notes; the environment's WISEFT_SAVE_SECONDS takes its place."""
_BLOCK = 2**20


class PartialTensors(TensorWriter):
    """Writes as a `TensorWriter` does, after the rows that are there.

    Attributes:
        rows: that were there already, of every tensor.
    """

    rows = 0

    def __init__(
        self, path: Path, file: BinaryIO, shapes: Mapping[str, Tensor], header: Mapping[str, Any]
    ):
        self._path = path
        self._every = _save_seconds()
        self._saved = time.monotonic()
        super().__init__(file, shapes, header)

    def _start(self) -> None:
        try:
            self.rows = self._resume()
        except (WiseftError, KeyError, TypeError, ValueError) as error:
            log.info(f"the state {self._path} cannot be gone on from ({error}): it is begun anew")
        if not self.rows:
            self._written = dict.fromkeys(self._shapes, 0)
            self._sums = {name: hashlib.sha256() for name in self._shapes}
            self._file.truncate(0)
        self._file.seek(0)
        super()._start()

    def __contains__(self, name: object) -> bool:
        return name in self._shapes

    def save(self, rows: int) -> None:
        """Note, if it is time, that all tensors are there up to this row."""
        if time.monotonic() - self._saved < self._every:
            return
        self._flush()
        write_json(_note(self._path), {"rows": rows, "sha256": self._sum()})
        self._saved = time.monotonic()

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Return rows of a tensor; all of them without limits."""
        like = self._shapes[name]
        stop = len(like) if stop is None else min(stop, len(like))
        self._file.seek(self._base + self._begin[name] + start * _row_bytes(like))
        content = bytearray(self._file.read((stop - start) * _row_bytes(like)))
        return torch.frombuffer(content, dtype=like.dtype).reshape(-1, *like.shape[1:])

    def become(self, path: Path) -> None:
        """Make it the whole file that it was to be, with its sum, under another name."""
        self.finish()
        self._flush()
        self._path.replace(path)
        discard(self._path)

    def _flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def _resume(self) -> int:
        """Return how many rows are noted and there; read them, because sums go on from them."""
        if not _note(self._path).is_file():
            return 0
        note = read_json(_note(self._path), "resume state")
        if self._file.read(self._base)[AFTER_SUM:] != self._front[AFTER_SUM:]:
            raise WiseftError("it is of other weights, data or settings")
        for name, like in self._shapes.items():
            self._file.seek(self._base + self._begin[name])
            self._written[name] = left = note["rows"] * _row_bytes(like)
            while left and (content := self._file.read(min(left, _BLOCK))):
                self._sums[name].update(content)
                left -= len(content)
        if self._sum() != note["sha256"]:
            raise WiseftError("its content is not what was written")
        log.info(f"resuming after {note['rows']:,} samples")
        return int(note["rows"])


def _save_seconds() -> float:
    text = os.environ.get("WISEFT_SAVE_SECONDS", str(SAVE_SECONDS))
    try:
        return float(text)
    except ValueError:
        raise WiseftError(
            f"WISEFT_SAVE_SECONDS is {text!r}; it must be a number of seconds"
        ) from None


def _row_bytes(like: Tensor) -> int:
    return like.nbytes // max(len(like), 1)


def _note(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def discard(path: Path) -> None:
    """Remove a file in the making, and its note."""
    _note(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def partial_tensors(
    path: Path, shapes: Mapping[str, Tensor], header: Mapping[str, Any]
) -> Iterator[PartialTensors]:
    """Open a file in the making, or begin it. It stays until `become` or `discard`.

    One process at a time may do so (`wiseft.base.locks.alone`).

    Args:
        shapes: as of a `TensorWriter`; all tensors have as many rows.
        header: what is made, and how, so far as a continuation must be of the same.

    Raises:
        WiseftError: as `TensorWriter` does, or if the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    size = sum(tensor.nbytes for tensor in shapes.values())
    with told_when_full(path, path, size), path.open("r+b" if path.exists() else "w+b") as file:
        yield PartialTensors(path, file, shapes, header)
