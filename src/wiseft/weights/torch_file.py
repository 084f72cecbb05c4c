"""Files of torch (`.pt`): read without running anything that they name, written tensor by tensor.

torch's own writer takes all tensors at once, so that a merge would hold a whole model.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import pickle
import sys
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wiseft.errors import WiseftError
from wiseft.tensor_file import examples, pieces

_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    np.ndarray,
    *{type(np.dtype(code)) for code in "?SU" + np.typecodes["AllInteger"] + np.typecodes["Float"]},
    *(
        (example.__reduce__()[0], f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for example, name in ((np.float64(), "scalar"), (np.zeros(0), "_reconstruct"))
    ),
]
"""What else stands beside tensors: numbers and arrays of NumPy, the arguments of a program. torch
allows containers and an optimiser's state itself, and calls nothing that is not on a list."""
_ALIGNMENT = 64
"""Of a storage in a file, as torch aligns it; 0x4246 marks what fills the gap."""


def load_torch(path: Path, mapped: bool) -> Any:
    """Return what a file of torch holds.

    Args:
        mapped: tensors stay in the file, of which they are a mapping; only of a zip archive.

    Raises:
        WiseftError: if it is damaged, or names anything that is not on the list of what is
            harmless.
    """
    with torch.serialization.safe_globals(_HARMLESS):
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except pickle.UnpicklingError:
            raise _pickled(path) from None
        except Exception as error:  # a damaged file may raise almost anything
            reason = str(error) or type(error).__name__
            raise WiseftError(
                f"{path} is neither safetensors nor a whole file of torch ({reason}); copy or "
                "download it again"
            ) from None


def _pickled(path: Path) -> WiseftError:
    """Return why a file of Python objects is not loaded, and what to do instead."""
    names: list[str] = []
    with contextlib.suppress(Exception):  # of a damaged pickle
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    if not names:
        # torch's own message would send the user to weights_only=False, which runs the file's code.
        return WiseftError(
            f"{path} is not a file of weights, or an old pickle of more than tensors, which is not "
            "loaded because that could run code. A state dict saved by torch.save, safetensors or "
            "a folder of transformers is expected"
        )
    return WiseftError(
        f"{path} holds pickled objects of {', '.join(names[:3])}: loading it would run code that "
        "the file chooses, so it is refused. Where that code is installed and trusted, save the "
        "weights alone:\n"
        "  torch.save(torch.load(FILE, weights_only=False).state_dict(), 'weights.pt')\n"
        "and give that file."
    )


class _Pickler(pickle.Pickler):
    """Attributes: `storages` are those that the pickle speaks of; their places are their keys."""

    def __init__(self, file: io.BytesIO):
        super().__init__(file, protocol=2)
        self.storages: dict[int, torch.UntypedStorage] = {}

    def persistent_id(self, obj: Any) -> Any:
        kind: Any = torch.UntypedStorage
        if isinstance(obj, torch.storage.TypedStorage):
            kind, count = getattr(torch, obj._pickle_storage_type()), obj._size()
            obj = obj._untyped_storage
        elif isinstance(obj, torch.UntypedStorage):
            count = obj.nbytes()
        else:
            return None
        self.storages.setdefault(obj._cdata, obj)
        return "storage", kind, str(list(self.storages).index(obj._cdata)), "cpu", count


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
    pickler.dump(content)
    with zipfile.ZipFile(path, "w") as archive:
        _put(archive, "data.pkl", pickled.tell(), [pickled.getbuffer()])
        _put(archive, "byteorder", len(sys.byteorder), [sys.byteorder.encode()])
        for place, (address, storage) in enumerate(pickler.storages.items()):
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
