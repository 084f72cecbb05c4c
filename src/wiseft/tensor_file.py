"""Safetensors files that are read and written piece by piece, so that a file may be larger than
memory.

Every file of ours has a JSON header, one string under the metadata key `wiseft`. No pickle is
involved.
"""

from __future__ import annotations

import contextlib
import json
import struct
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from wiseft.errors import StaleArtifact, WiseftError
from wiseft.io import atomic_path, require_file

FORMAT = 1
KEY = "wiseft"

# Of equal width the order is that of the safetensors library, which puts them so into a file.
_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
}


def read_file_header(path: Path | str, what: str) -> dict[str, Any]:
    """Return the header of a file of ours, without its tensors.

    Args:
        what: names the file in messages.

    Raises:
        WiseftError: if the file is missing, broken or not ours.
        StaleArtifact: if it is of another format.
    """
    metadata, _ = _open(path, what)
    if KEY not in metadata:
        raise WiseftError(f"{path} is a safetensors file, but was not written by wiseft")
    header: dict[str, Any] = json.loads(metadata[KEY])
    if header.get("format") != FORMAT:
        raise StaleArtifact(f"{path} has format {header.get('format')}, expected {FORMAT}")
    return header


def _open(path: Path | str, what: str) -> tuple[dict[str, str], list[str]]:
    """Return the metadata and the names of a file's tensors."""
    require_file(path, what)
    try:
        with safe_open(str(path), framework="pt") as file:
            return file.metadata() or {}, list(file.keys())
    except (SafetensorError, OSError) as error:
        raise WiseftError(f"{path} is not a whole safetensors file ({error})") from None


class LazyTensors(Mapping[str, Tensor]):
    """Tensors by name that are read or computed when they are asked for, and not kept."""

    @property
    @abstractmethod
    def shapes(self) -> Mapping[str, Tensor]:
        """An example of every tensor: its dtype and shape, without its values."""

    def __contains__(self, name: object) -> bool:
        return name in self.shapes

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


class StoredTensors(LazyTensors):
    """The tensors of a safetensors file, each mapped from it when asked for and not kept.

    Raises:
        WiseftError: if the file is missing or is not a whole safetensors file.
    """

    def __init__(self, path: Path | str):
        self._path = path
        names = _open(path, "tensor file")[1]
        with safe_open(str(path), framework="pt") as file:
            self._shapes = {
                name: torch.empty_like(file.get_tensor(name), device="meta") for name in names
            }

    @property
    def shapes(self) -> Mapping[str, Tensor]:
        """An example of every tensor, on the device `meta`."""
        return self._shapes

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._shapes:
            raise KeyError(name)
        # A tensor keeps its mapping of the file alive. With one mapping for all, the pages of
        # every tensor that was ever read would stay in memory.
        with safe_open(str(self._path), framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor


def examples(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return tensors of the same names, dtypes and shapes, without any work."""
    return tensors.shapes if isinstance(tensors, LazyTensors) else tensors


class TensorWriter:
    """Writes tensors of known shapes into a file, in any order and in any number of pieces.

    Args:
        shapes: by name an example of each tensor (on any device, `meta` too): dtype and shape.
        header: what the file says of itself, as plain data.

    Raises:
        WiseftError: if a dtype is not a floating one.
    """

    def __init__(self, file: BinaryIO, shapes: Mapping[str, Tensor], header: Mapping[str, Any]):
        self._file = file
        self._shapes = shapes
        self._missing = {name: tensor.nbytes for name, tensor in shapes.items()}
        self._begin: dict[str, int] = {}
        text = self._describe(header)
        file.write(struct.pack("<Q", len(text)) + text)
        self._base = 8 + len(text)
        file.truncate(self._base + sum(self._missing.values()))

    def _describe(self, header: Mapping[str, Any]) -> bytes:
        metadata = {KEY: json.dumps({"format": FORMAT, **header}, sort_keys=True)}
        entries: dict[str, Any] = {"__metadata__": metadata}
        offset = 0
        for name in sorted(self._shapes, key=self._order):
            tensor = self._shapes[name]
            self._begin[name], end = offset, offset + tensor.nbytes
            entries[name] = {
                "dtype": _NAMES[tensor.dtype],
                "shape": list(tensor.shape),
                "data_offsets": [offset, end],
            }
            offset = end
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
        return text + b" " * (-len(text) % 8)  # the data begins at a multiple of eight bytes

    def _order(self, name: str) -> tuple[int, bytes]:
        dtype = self._shapes[name].dtype
        if dtype not in _NAMES:
            raise WiseftError(f"tensor {name} is {dtype}, not floating")
        return list(_NAMES).index(dtype), name.encode()

    def write(self, name: str, values: Tensor, start: int = 0) -> None:
        """Write a tensor, or its rows from `start` on; every row once.

        Raises:
            WiseftError: if the values are of another dtype or shape, or do not fit there.
        """
        whole = self._shapes[name]
        rows = (len(whole), start + len(values)) if whole.ndim else (1, 1)
        if values.dtype != whole.dtype or values.shape[1:] != whole.shape[1:] or rows[1] > rows[0]:
            raise WiseftError(
                f"tensor {name} is {whole.dtype} {tuple(whole.shape)}, but {values.dtype} "
                f"{tuple(values.shape)} was to be written from row {start} on"
            )
        if not values.nbytes:
            return
        row = whole.nbytes // rows[0]
        self._file.seek(self._base + self._begin[name] + start * row)
        self._file.write(values.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
        self._missing[name] -= values.nbytes

    def check_whole(self) -> None:
        """Raise WiseftError if rows of a tensor were not written, or written twice."""
        for name, missing in self._missing.items():
            if missing:
                raise WiseftError(f"tensor {name} is not whole: {missing} bytes are missing")


@contextlib.contextmanager
def tensor_writer(
    path: Path | str, shapes: Mapping[str, Tensor], header: Mapping[str, Any]
) -> Iterator[TensorWriter]:
    """Yield a writer; the file is there when all went well, and not at all otherwise.

    The bytes are those that the safetensors library writes.

    Raises:
        WiseftError: as `TensorWriter` does, or if not all was written.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        writer = TensorWriter(file, shapes, header)
        yield writer
        writer.check_whole()
