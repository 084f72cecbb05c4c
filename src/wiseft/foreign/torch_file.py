"""Files of torch (`.pt`): read without running anything that they name, written tensor by tensor.

torch's own writer takes all tensors at once, so that a merge would hold a whole model.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from wiseft.errors import WiseftError
from wiseft.foreign.archive import Archive
from wiseft.foreign.pickles import Machine, Name, Refused
from wiseft.thetas.tensor_file import examples, pieces

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""What the first two pickles of a file from before torch 1.6 hold."""
_ALIGNMENT = 64
"""Of a storage in a file, as torch aligns it; 0x4246 marks what fills the gap."""
_LONGEST = 200
"""Characters of a reason: a damaged file may give any."""


def load_torch(path: Path) -> Any:
    """Return what a file of torch holds; tensors of an archive lie in the mapped file.

    Raises:
        WiseftError: if it is damaged or ambiguous, or names anything that is not on the list of
            what is harmless.
    """
    with opened(path) as file:
        if not is_archive(path):
            return _read_old(file)
        archive = Archive(file)
        machine = Machine(lambda key, *_: archive.storage(f"data/{key}"))
        return machine.read(io.BytesIO(archive.read("data.pkl")))


def is_archive(path: Path) -> bool:
    """Whether a file begins as a zip archive does."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\3\4"


@contextlib.contextmanager
def opened(
    path: Path,
    what: str = "neither safetensors nor a whole file of torch",
    kind: str = "",
    trusted: str = "torch.load(FILE, weights_only=False)",
) -> Iterator[BinaryIO]:
    """Open a file to be read in the block; what goes wrong there is a WiseftError.

    Args:
        what: what a damaged file is not.
        kind: what the file is, before the reason why it is refused.
        trusted: code that loads a file that is refused.
    """
    try:
        with path.open("rb") as file:
            yield file
    except WiseftError:
        raise
    except Refused as error:
        raise WiseftError(
            f"{path} {kind}{error}. No code that a file names is run. If you trust it, save its "
            "weights alone, and give that file:\n"
            f"  torch.save({trusted}.state_dict(), 'weights.pt')"
        ) from None
    except Exception as error:  # a damaged file may raise almost anything
        reason = " ".join(str(error).split())[:_LONGEST] or type(error).__name__
        raise WiseftError(f"{path} is {what} ({reason}); copy or download it again") from None


def _read_old(file: BinaryIO) -> Any:
    """Read a file from before torch 1.6: pickles, and behind them the storages that they name."""
    storages: dict[str, torch.UntypedStorage] = {}
    counts: dict[str, int] = {}
    left = file.seek(0, 2)

    def storage(key: str, count: int, dtype: torch.dtype) -> torch.UntypedStorage:
        nonlocal left
        if key not in storages:
            left -= count * dtype.itemsize
            if count < 0 or left < 0:
                raise EOFError(f"storage {key} is longer than the file")
            # Not cleared, but filled below, or the file is refused.
            storages[key], counts[key] = torch.UntypedStorage(count * dtype.itemsize), count
        return storages[key]

    file.seek(0)
    pickled = file.read(1) == pickle.PROTO
    file.seek(0)
    machine = Machine(storage)
    if not pickled or machine.read(file) != _MAGIC or machine.read(file) != _PROTOCOL:
        raise WiseftError(
            f"{file.name} is not a file of weights. Give a state dict saved by torch.save, "
            "safetensors, or a folder of transformers"
        )
    _, content, keys = (machine.read(file) for _ in range(3))
    named = [key for key in keys if isinstance(key, str)]
    if len(named) != len(keys) or sorted(named) != sorted(storages):
        raise ValueError("the storages in it are not those that its tensors lie in")
    for key in named:
        if int.from_bytes(file.read(8), "little") != counts[key]:
            raise ValueError(f"storage {key} has another length than its tensors say")
        flat = torch.tensor([], dtype=torch.uint8).set_(storages[key])
        if file.readinto(flat.numpy().data) != len(flat):  # type: ignore[attr-defined]
            raise EOFError(f"storage {key} is cut short")
    if file.read(1):
        raise ValueError("something follows its last storage")
    return content


class _Pickler(pickle.Pickler):
    """Attributes: `storages` are those that the pickle speaks of, each with its key."""

    def __init__(self, file: io.BytesIO):
        super().__init__(file, protocol=2)
        self.storages: dict[int, tuple[int, torch.UntypedStorage]] = {}

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Name) or (isinstance(obj, Tensor) and obj.is_meta):
            what = f"the type {obj}" if isinstance(obj, Name) else "a tensor that is not dense"
            raise WiseftError(
                f"the file holds {what} beside the weights, which cannot be written back; save the "
                "file again without it"
            )
        return NotImplemented

    def persistent_id(self, obj: Any) -> Any:
        kind: Any = torch.UntypedStorage
        if isinstance(obj, torch.storage.TypedStorage):
            kind, count = getattr(torch, obj._pickle_storage_type()), obj._size()
            obj = obj._untyped_storage
        elif isinstance(obj, torch.UntypedStorage):
            count = obj.nbytes()
        else:
            return None
        key, _ = self.storages.setdefault(obj._cdata, (len(self.storages), obj))
        return "storage", kind, str(key), "cpu", count


def stand_ins(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors that are never filled, so that they take no memory, in place of others."""
    return {name: torch.empty(t.shape, dtype=t.dtype) for name, t in examples(tensors).items()}


def write_torch(
    path: Path, content: Any, standing: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> None:
    """Write a file that `torch.load` reads, of `LazyTensors` one in memory at a time.

    Args:
        content: what the file holds, with stand-ins where tensors belong.
        standing: the stand-ins, by name.
        tensors: what they stand for.
    """
    names = {tensor.untyped_storage()._cdata: name for name, tensor in standing.items()}
    pickler = _Pickler(pickled := io.BytesIO())
    try:
        pickler.dump(content)
    except RecursionError:
        raise WiseftError(
            "the file's content beside the weights is nested too deep to be written; save the file "
            "again without it"
        ) from None
    with zipfile.ZipFile(path, "w") as archive:
        _put(archive, "data.pkl", pickled.tell(), [pickled.getbuffer()])
        _put(archive, "byteorder", len(sys.byteorder), [sys.byteorder.encode()])
        for address, (place, storage) in pickler.storages.items():
            values: Mapping[str, Tensor] = tensors
            if (name := names.get(address)) is None:  # of a tensor beside the weights
                name, values = "", {"": torch.tensor([], dtype=torch.uint8).set_(storage)}
            _put(archive, f"data/{place}", storage.nbytes(), pieces(values, name))
        _put(archive, "version", 2, [b"3\n"])


def _put(archive: zipfile.ZipFile, name: str, size: int, content: Iterable[Any]) -> None:
    info = zipfile.ZipInfo(f"archive/{name}")
    info.file_size = size
    large = size >= 2**31 - 2**20
    begin = archive.start_dir + 30 + len(info.filename) + (20 if large else 0) + 4
    gap = -begin % _ALIGNMENT
    info.extra = b"FB" + gap.to_bytes(2, "little") + bytes(gap)
    with archive.open(info, "w", force_zip64=large) as member:
        for piece in content:
            member.write(piece)
