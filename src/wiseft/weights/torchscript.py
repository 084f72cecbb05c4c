"""TorchScript archives, as OpenAI's CLIPs are: their parameters and buffers, read as data.

`torch.jit.load` builds the module, and a module may have a `__setstate__` of its own, which may
write files. Nothing is built or called here: the pickle is taken apart opcode by opcode, a name in
it stays a name, and of the code only the lists of parameters and buffers are read.
"""

from __future__ import annotations

import pickletools
import re
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from wiseft.errors import WiseftError

_LONGEST, _DEEPEST = 10_000_000, 100
"""Modules may be shared, so that a few of them may stand for names without end: characters of all
names together, and modules within each other."""
_DTYPES = {
    f"torch {name}Storage": dtype
    for name, dtype in {
        "Double": torch.float64,
        "Float": torch.float32,
        "Half": torch.float16,
        "BFloat16": torch.bfloat16,
        "ComplexDouble": torch.complex128,
        "ComplexFloat": torch.complex64,
        "Long": torch.int64,
        "Int": torch.int32,
        "Short": torch.int16,
        "Char": torch.int8,
        "Byte": torch.uint8,
        "Bool": torch.bool,
    }.items()
}
_THEIR_ARGUMENT = {"torch device", "torch.jit._pickle restore_type_tag"} | {
    f"torch.jit._pickle build_{kind}list" for kind in ("int", "double", "bool", "tensor")
}
"""Helpers of torch whose first argument says all that is to be known."""
_VALUES = {"BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_CLASS = re.compile(r"class (\w+)\(Module\):\n")
_DECLARED = re.compile(r"^  __(?:parameters|buffers)__ = \[(.*)\]$", re.MULTILINE)


class _Refused(Exception):
    """An archive holds what is not read; the message is the end of a sentence."""


@dataclass(frozen=True)
class _Name:
    """A name of Python or TorchScript, module and class with a space between; only a name."""

    text: str


@dataclass(eq=False)
class _Record:
    """An object of a class under `__torch__`, with what would have been made its state."""

    of: str
    state: Any = None


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Return the parameters and buffers of an archive's module, on the CPU, by their names.

    They are those of `torch.jit.load(path).state_dict()`. Tensors that share a storage share it
    here too. They lie in the mapped file; whoever opens it compares the checksums of its members.

    Raises:
        WiseftError: if the archive is damaged, a tensor reaches beyond its storage, a module has
            code that would rebuild it, or the pickle wants anything called but what rebuilds
            tensors and containers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _Archive(archive).tensors()
    except _Refused as error:
        raise WiseftError(
            f"{path} is a TorchScript archive that {error}. No code of an archive is run; where it "
            "is trusted, save the weights alone:\n"
            "  torch.save(torch.jit.load(FILE, map_location='cpu').state_dict(), 'weights.pt')\n"
            "and give that file."
        ) from None
    except Exception as error:  # a damaged archive or pickle may raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WiseftError(
            f"{path} is not a whole TorchScript archive ({reason}); copy or download it again"
        ) from None


class _Archive:
    """An archive's members, and its module."""

    def __init__(self, archive: zipfile.ZipFile):
        self._archive = archive
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"it has {len(pickles)} data.pkl, not one")
        self._root = pickles[0].removesuffix("data.pkl")
        self._storages: dict[str, Tensor] = {}
        self._modules: dict[str, frozenset[str] | None] = {}
        self._code: dict[str, dict[str, str]] = {}
        self._whole: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Return the parameters and buffers of all modules."""
        found: dict[str, Tensor] = {}
        root = _Pickle(self._storage).read(self._bytes("data.pkl").numpy().tobytes())
        todo, length = [("", root)], 0
        while todo:
            prefix, value = todo.pop()
            if not isinstance(value, _Record) or (own := self._declared(value.of)) is None:
                continue
            if not isinstance(value.state, dict):
                raise ValueError(f"{prefix or 'the module'} has no attributes by name")
            length += sum(len(f"{prefix}{name}.") for name in value.state)
            if length > _LONGEST or prefix.count(".") > _DEEPEST:
                raise _Refused("holds names without end: very many modules, or itself")
            tensors = {k: v for k, v in value.state.items() if isinstance(v, Tensor) and k in own}
            found |= {prefix + name: tensor for name, tensor in tensors.items()}
            todo += [(f"{prefix}{name}.", each) for name, each in value.state.items()]
        return found

    def _declared(self, of: str) -> frozenset[str] | None:
        """Return the parameters and buffers that a class declares; None: it is no module."""
        if of not in self._modules:
            folders, _, name = of.partition(" ")
            body = self._classes_in(f"code/{folders.replace('.', '/')}.py").get(name)
            if body is not None and "\n  def __setstate__(" in body:
                raise _Refused(f"rebuilds {name} by code of its own (`__setstate__`)")
            lists = None if body is None else "".join(_DECLARED.findall(body))
            self._modules[of] = (
                None if lists is None else frozenset(re.findall(r'"([^"]*)"', lists))
            )
        return self._modules[of]

    def _classes_in(self, member: str) -> dict[str, str]:
        """Return the code of a file's modules by name; it is read once, whatever is in it."""
        if member not in self._code:
            text = bytes(self._bytes(member).numpy()).decode()
            bodies = re.split(r"^(?=class )", text, flags=re.MULTILINE)
            self._code[member] = {m[1]: body for body in bodies if (m := _CLASS.match(body))}
        return self._code[member]

    def _storage(self, description: Any) -> Tensor:
        """Return a storage as a tensor (n,), whatever device it was on."""
        match description:
            case ("storage", _Name(text=kind), str(key), str(), int(count)) if kind in _DTYPES:
                dtype = _DTYPES[kind]
            case _:  # not shown: tuples that hold each other twice would be as long as 2 ** n
                raise _Refused("has a storage of an unknown kind")
        if key not in self._storages:
            name = f"data/{key}"
            mapped = self._mapped(name)
            self._storages[key] = self._bytes(name) if mapped is None else mapped
        content = self._storages[key]
        if len(content) != count * dtype.itemsize:
            raise ValueError(f"storage {key} has {len(content)} bytes, not {count} of {dtype}")
        return content.view(dtype)

    def _mapped(self, name: str) -> Tensor | None:
        """Return a member as uint8 (n,) that lies in the file; None where it cannot be mapped."""
        info = self._archive.getinfo(self._root + name)
        file = cast(BinaryIO, self._archive.fp)
        file.seek(info.header_offset + 26)  # where a member says how long its name and extras are
        lengths = struct.unpack("<HH", file.read(4))
        begin = info.header_offset + 30 + sum(lengths)
        if info.compress_type != zipfile.ZIP_STORED or begin % 16:
            return None
        if self._whole is None:
            size = file.seek(0, 2)
            path = str(self._archive.filename)
            self._whole = torch.from_file(path, shared=False, size=size, dtype=torch.uint8)
        return self._whole[begin : begin + info.file_size]

    def _bytes(self, name: str) -> Tensor:
        """Return a member as uint8 (n,); its checksum is compared."""
        info = self._archive.getinfo(self._root + name)
        content = torch.empty(info.file_size, dtype=torch.uint8)
        with self._archive.open(info) as member:
            if cast(zipfile.ZipExtFile, member).readinto(content.numpy().data) != info.file_size:
                raise EOFError(f"{name} is cut short")
        return content


class _Pickle:
    """A machine for the opcodes that TorchScript writes. It makes containers, tensors and records.

    Args:
        storage: returns a storage as a tensor (n,), given what a pickle says of it.
    """

    def __init__(self, storage: Callable[[Any], Tensor]):
        self._load = storage
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def read(self, content: bytes) -> Any:
        """Return the object of a pickle."""
        for code, argument, _ in pickletools.genops(content):
            if code.name == "STOP":
                return self._stack.pop()
            if code.name in _VALUES:
                self._stack.append(argument)
            elif code.name in _CONSTANTS:
                self._stack.append(_CONSTANTS[code.name]())
            else:
                self._step(code.name, argument)
        raise EOFError("its pickle has no end")

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        match name:
            case "PROTO":
                pass
            case "MARK":
                self._below.append(stack)
                self._stack = []
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "GLOBAL":
                stack.append(_Name(argument))
            case "TUPLE":
                self._stack = [*self._below.pop(), tuple(stack)]
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "APPENDS":
                self._stack = self._below.pop()
                self._stack[-1].extend(stack)
            case "SETITEM":
                _set_items(stack[-3], stack[-2:])
                del stack[-2:]
            case "SETITEMS":
                self._stack = self._below.pop()
                _set_items(self._stack[-1], stack)
            case "BINPERSID":
                stack.append(self._load(stack.pop()))
            case "NEWOBJ" | "REDUCE":
                arguments = stack.pop()
                stack.append(_made(stack.pop(), arguments))
            case "BUILD":
                state = stack.pop()
                if not isinstance(stack[-1], _Record):
                    raise _Refused(f"sets the state of {type(stack[-1]).__name__}")
                stack[-1].state = state
            case _:
                raise _Refused(f"uses the pickle's opcode {name}, which TorchScript does not write")


def _set_items(mapping: dict[Any, Any], flat: list[Any]) -> None:
    """Set keys and values, which follow each other; keys of other kinds are not even hashed."""
    if not isinstance(mapping, dict) or not all(
        isinstance(k, str | int | float) for k in flat[::2]
    ):
        raise _Refused("has a mapping by other keys than texts and numbers")
    mapping.update(zip(flat[::2], flat[1::2], strict=True))


def _made(name: Any, arguments: Any) -> Any:
    """Return what a call of a name stands for; nothing is called."""
    match name, arguments:
        case _Name(text=text), tuple() if re.match(r"__torch__[. ]", text):
            return _Record(text)
        case _Name(text="torch._utils _rebuild_tensor_v2"), (Tensor() as flat, *where):
            return _view(flat, *where[:3])
        case _Name(text="collections OrderedDict"), ():
            return {}
        case _Name(text=text), (value, *_) if text in _THEIR_ARGUMENT:
            return value
    wanted = name.text.replace(" ", ".") if isinstance(name, _Name) else type(name).__name__
    raise _Refused(f"wants {wanted} called")


def _view(flat: Tensor, offset: Any, sizes: Any, strides: Any) -> Tensor:
    """Return the tensor of these sizes and strides in a storage (n,), checked to lie within it."""
    numbers = (offset, *sizes, *strides)
    valid = len(sizes) == len(strides) and all(type(n) is int and n >= 0 for n in numbers)
    reach = 0
    if valid and 0 not in sizes:
        reach = 1 + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
    if not valid or offset + reach > len(flat):
        where = f": offset, sizes and strides are {numbers}" if valid else ""
        raise ValueError(f"a tensor reaches beyond its storage of {len(flat)}{where}")
    return flat.as_strided(sizes, strides, flat.storage_offset() + offset)
