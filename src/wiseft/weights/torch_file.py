"""Files of torch (`.pt`): read without running anything that they name, written tensor by tensor.

torch's own writer takes all tensors at once, so that a merge would hold a whole model.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import pickle
import pickletools
import re
import sys
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from wiseft.errors import WiseftError
from wiseft.tensor_file import examples, pieces
from wiseft.weights import inert_numpy

_SAFE = [argparse.Namespace, *inert_numpy.SAFE]
"""What else stands beside tensors: numbers and arrays of NumPy, the arguments of a program. torch
allows containers and an optimiser's state itself, and calls nothing that is not on a list."""
_CALLED = re.compile(
    r"torch\._utils _rebuild_(tensor(_v[23])?|parameter(_with_state)?|qtensor|nested_tensor"
    r"|sparse_tensor|meta_tensor_no_storage)|torch\.serialization _get_layout"
    r"|torch (Size|device)|torch\.nn\.parameter Parameter"
    r"|collections (OrderedDict|Counter)|(builtins|__builtin__) (set|complex)"
    r"|argparse Namespace|numpy (dtype|ndarray)|numpy\._?core\.multiarray (scalar|_reconstruct)"
)
"""What is called. torch would also call what makes memory of a number, which it does not clear: the
types of tensors and storages, and `bytearray`."""
_MARK = object()
_OLD_PICKLES = 5
"""That a file begins with which is no archive; storages follow them."""
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
    with torch.serialization.safe_globals(_SAFE):
        try:
            _check_calls(path)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except pickle.UnpicklingError:
            raise _pickled(path) from None
        except Exception as error:  # a damaged file may raise almost anything
            reason = str(error) or type(error).__name__
            raise WiseftError(
                f"{path} is neither safetensors nor a whole file of torch ({reason}); copy or "
                "download it again"
            ) from None


@dataclass(frozen=True)
class _Name:
    """A name in a pickle, module and class with a space between; only a name."""

    text: str

    @property
    def called(self) -> bool:
        """Whether it may be."""
        return _CALLED.fullmatch(self.text) is not None


def _check_calls(path: Path) -> None:
    """Raise UnpicklingError if a pickle of the file wants anything else called. Nothing is."""
    with path.open("rb") as file:
        begin = file.read(4)
        if begin != b"PK\x03\x04":  # as torch tells them apart
            if begin[:1] != pickle.PROTO:
                raise pickle.UnpicklingError("it begins as no pickle does")
            file.seek(0)
            for _ in range(_OLD_PICKLES):
                _check_pickle(file)
            return
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():  # of one name there may be several
                if info.filename.lower().endswith("data.pkl"):
                    _check_pickle(io.BytesIO(archive.read(info)))


def _check_pickle(file: IO[bytes]) -> None:
    """Go through a pickle with a stack of names, texts and tuples; of all else there is None."""
    stack: list[Any] = []
    memo: dict[Any, Any] = {}
    for code, argument, _ in pickletools.genops(file):
        begin = len(stack) - len(code.stack_before)
        if pickletools.stackslice in code.stack_before:
            mark = len(stack) - 1 - stack[::-1].index(_MARK)
            begin = mark - code.stack_before.index(pickletools.markobject)
        taken = stack[begin:]
        del stack[begin:]
        made: Any = None
        match code.name:
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                made = memo[argument]
            case "GLOBAL":
                made = _Name(str(argument))
            case "BINUNICODE":
                made = argument
            case "MARK":
                made = _MARK
            case "TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                made = tuple(taken[code.name == "TUPLE" :])
            case "REDUCE" | "NEWOBJ":
                _check_call(*taken)
        stack += [made] * len(code.stack_after)


def _check_call(name: Any, arguments: Any) -> None:
    match name, arguments:
        case _Name(called=True), _:
            return
        case _Name(text="_codecs encode"), (str(), "latin1"):  # bytes; other codes make them grow
            return
        case _Name(text="torch._tensor _rebuild_from_type_v2"), (_Name(called=True), *_):
            return
    raise pickle.UnpicklingError(f"{name} is not called")


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
