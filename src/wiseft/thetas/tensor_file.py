"""Safetensors files that are read and written piece by piece, so that a file may be larger than
memory.

Every file of ours has a JSON header, one string under the metadata key `wiseft`, and two sums
beside it: that of the header and that of the tensors (`tensors_sha256`). No pickle is involved.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from wiseft.base.io import atomic_path, require_file, sha256_json
from wiseft.errors import DamagedFile, StaleArtifact, WiseftError

FORMAT = 2
KEY, HEADER_SUM, TENSORS_SUM = "wiseft", "wiseft_sha256", "tensors_sha256"

# Of equal width the order is that of the safetensors library, which puts them so into a file.
_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint8: "U8",
}

_FOREIGN = {
    dtype: name
    for name, dtype in safetensors.torch._TYPES.items()
    if isinstance(dtype, torch.dtype)
}
"""What files of others hold, ours too."""

# The sum of the tensors is known when they are written, and they may be computed only then. It has
# a fixed length and place, first in the file's own header, where it is put last.
_BEFORE_SUM = f'{{"__metadata__":{{"{TENSORS_SUM}":"'.encode()
_NO_SUM = "0" * 64
AFTER_SUM = 8 + len(_BEFORE_SUM) + len(_NO_SUM)


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors: of their names, dtypes, shapes and bytes.

    It is that of the JSON `{name: [dtype, shape, SHA-256 of the bytes]}`, with sorted names, so
    that tensors can be computed, written and read in any order. Of `LazyTensors` one is held.
    """
    sums = {name: hashlib.sha256(_bytes(tensor)).hexdigest() for name, tensor in tensors.items()}
    return _sum_of_sums(examples(tensors), sums)


def _sum_of_sums(shapes: Mapping[str, Tensor], sums: Mapping[str, str]) -> str:
    # A file of somebody else may hold other types.
    types = {name: _NAMES.get(like.dtype, str(like.dtype)) for name, like in shapes.items()}
    return sha256_json({n: [types[n], list(like.shape), sums[n]] for n, like in shapes.items()})


def _bytes(tensor: Tensor) -> memoryview:
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    return plain.reshape(-1).view(torch.uint8).numpy().data


def read_file_header(path: Path | str, what: str) -> dict[str, Any]:
    """Return the header of a file of ours, with `tensors_sha256`, without its tensors.

    Args:
        what: names the file in messages.

    Raises:
        WiseftError: if the file is missing or not ours; DamagedFile, if it is broken or damaged.
        StaleArtifact: if it is of another format.
    """
    metadata, _ = _open(path, what)
    if KEY not in metadata:
        raise WiseftError(f"{path} is a safetensors file, but was not written by wiseft")
    actual = hashlib.sha256(metadata[KEY].encode()).hexdigest()
    _check_sum(path, "header", actual, metadata.get(HEADER_SUM, actual))
    if (HEADER_SUM in metadata) != (TENSORS_SUM in metadata):
        raise DamagedFile(f"{path} is damaged: it has one of its two sums only", path)
    # Files of format 1 had no sums.
    header: dict[str, Any] = (
        _header(path, metadata[KEY]) if HEADER_SUM in metadata else {"format": 1}
    )
    if header.get("format") != FORMAT:
        raise StaleArtifact(
            f"{path} has format {header.get('format')}, expected {FORMAT}; delete it and make it "
            "again, or check out the older code"
        )
    return header | {TENSORS_SUM: metadata.get(TENSORS_SUM)}


def _header(path: Path | str, text: str) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WiseftError(f"the header of {path} is not valid JSON ({error})") from None
    if not isinstance(header, dict):
        raise WiseftError(f"the header of {path} is {type(header).__name__}, not a JSON object")
    return header


def read_tensors(path: Path | str, what: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return all tensors of a file of ours, and its header.

    Raises:
        WiseftError: as `read_file_header` does, or if the tensors are not those that were written.
        StaleArtifact: if it is of another format.
    """
    header = read_file_header(path, what)
    with safe_open(str(path), framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    check_tensors(path, tensors, header)
    return tensors, header


def check_tensors(
    path: Path | str, tensors: Mapping[str, Tensor], header: Mapping[str, Any]
) -> None:
    """Check that the tensors of a file are those that its header has the sum of.

    Raises:
        DamagedFile: if they are not, naming both sums.
    """
    _check_sum(path, "tensors", tensors_sha256(tensors), header[TENSORS_SUM])


def _check_sum(path: Path | str, what: str, actual: str, expected: str | None) -> None:
    if actual != expected:
        raise DamagedFile(
            f"{path} is damaged: expected {what} with SHA-256 {expected}, found {actual}", path
        )


def _open(path: Path | str, what: str) -> tuple[dict[str, str], list[str]]:
    """Return the metadata and the names of a file's tensors."""
    require_file(path, what)
    try:
        with safe_open(str(path), framework="pt") as file:
            return file.metadata() or {}, list(file.keys())
    except SafetensorError as error:
        raise DamagedFile(f"{path} is not a whole safetensors file ({error})", path) from None
    except OSError as error:
        raise WiseftError(f"{path} cannot be read ({error})") from None


class LazyTensors(Mapping[str, Tensor]):
    """Tensors by name that are read or computed when they are asked for, and not kept.

    Attributes:
        shapes: an example of every tensor: its dtype and shape, without its values.
    """

    shapes: Mapping[str, Tensor]

    def __contains__(self, name: object) -> bool:
        return name in self.shapes

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def pieces(self, name: str) -> Iterator[Tensor]:
        """Yield a tensor's values in their order, in as many tensors as is good for memory."""
        yield self[name]


class StoredTensors(LazyTensors):
    """The tensors of a safetensors file, each mapped from it when asked for and not kept.

    They are not checked; `open_tensors` does that.

    Raises:
        WiseftError: if the file is missing; DamagedFile, if it is not a whole safetensors file.
    """

    def __init__(self, path: Path | str):
        self._path = path
        names = _open(path, "tensor file")[1]
        with safe_open(str(path), framework="pt") as file:
            self.shapes = {
                name: torch.empty_like(file.get_tensor(name), device="meta") for name in names
            }

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.shapes:
            raise KeyError(name)
        # A tensor keeps its mapping of the file alive. With one mapping for all, the pages of
        # every tensor that was ever read would stay in memory.
        with safe_open(str(self._path), framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor


def open_tensors(path: Path | str, what: str) -> tuple[StoredTensors, dict[str, Any]]:
    """Return tensors that stay in a file of ours, and its header; raises as `read_tensors` does."""
    header = read_file_header(path, what)
    tensors = StoredTensors(path)
    check_tensors(path, tensors, header)
    return tensors, header


def examples(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return tensors of the same names, dtypes and shapes, without any work."""
    return tensors.shapes if isinstance(tensors, LazyTensors) else tensors


def _layout(
    shapes: Mapping[str, Tensor], metadata: Mapping[str, str], types: Mapping[torch.dtype, str]
) -> tuple[bytes, dict[str, int]]:
    """Return what a file begins with, and where behind that each tensor begins, in that order."""
    for name, like in shapes.items():
        if like.dtype not in types:
            raise WiseftError(
                f"tensor {name} is {like.dtype}, not one of {', '.join(map(str, types))}"
            )
    ranks = {dtype: (-dtype.itemsize, place) for place, dtype in enumerate(types)}
    entries: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    begin, offset = {}, 0
    for name in sorted(shapes, key=lambda name: (ranks[shapes[name].dtype], name.encode())):
        like = shapes[name]
        begin[name], end = offset, offset + like.nbytes
        entries[name] = {
            "dtype": types[like.dtype],
            "shape": list(like.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the data begins at a multiple of eight bytes
    return struct.pack("<Q", len(text)) + text, begin


def write_safetensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a file as the safetensors library does, of `LazyTensors` one in memory at a time.

    Raises:
        WiseftError: if a dtype is none that such files hold.
    """
    text, begin = _layout(examples(tensors), metadata, _FOREIGN)
    with path.open("wb") as file:
        file.write(text)
        for name in begin:
            file.writelines(pieces(tensors, name))


def pieces(tensors: Mapping[str, Tensor], name: str) -> Iterator[memoryview]:
    """Yield the bytes of a tensor, of `LazyTensors` piece by piece."""
    return map(_bytes, pieces_of(tensors, name))


def pieces_of(tensors: Mapping[str, Tensor], name: str) -> Iterator[Tensor]:
    """Yield a tensor, of `LazyTensors` piece by piece."""
    return tensors.pieces(name) if isinstance(tensors, LazyTensors) else iter([tensors[name]])


class TensorWriter:
    """Writes tensors of known shapes into a file, in any order, each from its first row on.

    Args:
        shapes: by name an example of each tensor (on any device, `meta` too): dtype and shape.
        header: what the file says of itself, as plain data.

    Attributes:
        tensors_sha256: the sum of the tensors, once the file is whole.

    Raises:
        WiseftError: if a dtype is none of those that files of ours hold.
    """

    tensors_sha256: str

    def __init__(self, file: BinaryIO, shapes: Mapping[str, Tensor], header: Mapping[str, Any]):
        self._file = file
        self._shapes = shapes
        self._written = dict.fromkeys(shapes, 0)
        self._sums = {name: hashlib.sha256() for name in shapes}
        self._front, self._begin = _layout(shapes, self._describe(header), _NAMES)
        self._base = len(self._front)
        self._start()

    def _start(self) -> None:
        self._file.write(self._front)
        self._file.truncate(self._base + sum(tensor.nbytes for tensor in self._shapes.values()))

    def _describe(self, header: Mapping[str, Any]) -> dict[str, str]:
        own = json.dumps({"format": FORMAT, **header}, sort_keys=True)
        own_sum = hashlib.sha256(own.encode()).hexdigest()
        return {TENSORS_SUM: _NO_SUM, KEY: own, HEADER_SUM: own_sum}

    def write(self, name: str, values: Tensor, start: int = 0) -> None:
        """Write a tensor, or its next rows, which are those from `start` on.

        Raises:
            WiseftError: if the values are of another dtype or shape, do not fit there, or are not
                the next ones.
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
        at, written = start * (whole.nbytes // rows[0]), self._written[name]
        if at != written:
            raise WiseftError(
                f"tensor {name} is written up to byte {written}, but the rows from {start} on "
                f"begin at byte {at}"
            )
        content = _bytes(values)
        self._file.seek(self._base + self._begin[name] + at)
        self._file.write(content)
        self._sums[name].update(content)
        self._written[name] += values.nbytes

    def finish(self) -> None:
        """Write the sum of the tensors; raise WiseftError if rows of one were not written."""
        for name, written in self._written.items():
            if missing := self._shapes[name].nbytes - written:
                raise WiseftError(f"tensor {name} is not whole: {missing} bytes are missing")
        self.tensors_sha256 = self._sum()
        self._file.seek(8 + len(_BEFORE_SUM))
        self._file.write(self.tensors_sha256.encode())

    def _sum(self) -> str:
        """Return the sum of what was written so far."""
        return _sum_of_sums(self._shapes, {n: each.hexdigest() for n, each in self._sums.items()})


@contextlib.contextmanager
def tensor_writer(
    path: Path | str, shapes: Mapping[str, Tensor], header: Mapping[str, Any]
) -> Iterator[TensorWriter]:
    """Yield a writer; the file is there when all went well, and not at all otherwise.

    The file is as the safetensors library writes it.

    Raises:
        WiseftError: as `TensorWriter` does, or if not all was written.
    """
    size = sum(tensor.nbytes for tensor in shapes.values())
    with atomic_path(path, size) as temporary, temporary.open("wb") as file:
        writer = TensorWriter(file, shapes, header)
        yield writer
        writer.finish()
