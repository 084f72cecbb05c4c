"""A machine for the pickles of torch. It makes containers, numbers and tensors, and calls nothing.

A name in a pickle stays a name. What a call of it stands for is known here for a few names, and
every other name is refused. Each opcode costs a bounded amount of work, so that reading takes time
and memory in proportion to the file.
"""

from __future__ import annotations

import pickletools
import re
from argparse import Namespace
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor
from torch.storage import TypedStorage, UntypedStorage, _storage_type_to_dtype_map

from wiseft.foreign.inert_numpy import Array, DType, frombuffer, scalar

_STORAGES = {**_storage_type_to_dtype_map(), "UntypedStorage": torch.uint8}
_WORDS = {
    f"torch {name}": value
    for name, value in vars(torch).items()
    if isinstance(value, torch.dtype | torch.qscheme | torch.layout)
}
"""What a name of torch stands for where it is no call."""
_OTHER = re.compile(
    r"torch(\.cuda|\.sparse|\.storage)* \w*(Storage|Tensor)|numpy ndarray"
    r"|torch\._tensor _rebuild_from_type_v2"
)
"""Other names that are known; what they name is never made."""
_ARGUMENTS = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES"}
_ARGUMENTS |= {"BINBYTES8", "BYTEARRAY8", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_CONTAINERS: dict[str, type] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}
_CONTAINERS |= dict.fromkeys(("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"), tuple)
_SIZED = str | bytes | bytearray | list | tuple | dict
_KEYS = str | bytes | int | float | None | np.generic
_COPIES, _FREE = 4, 10**6
"""How often a file's bytes may be copied on the average, and what may be copied beside."""
_TUPLE_KEY = 1000
"""What a tuple as a key is counted as: many of one hash can be found."""
_DIMENSIONS = 64


class Refused(Exception):
    """A file holds what is not read; the message is the end of a sentence."""


@dataclass(frozen=True)
class Name:
    """A name of Python or TorchScript, module and class with a space between; only a name."""

    text: str

    def __str__(self) -> str:
        return self.text[:100].replace(" ", ".")


@dataclass(eq=False)
class Record:
    """An object of a class under `__torch__`, with what would have been made its state."""

    of: str
    state: Any = None


class Machine:
    """Reads pickles.

    Args:
        storage: returns a storage, given its key, number of elements and dtype.
        modules: objects of classes under `__torch__` are read, as records.

    Attributes:
        work: what was copied so far, in bytes and elements.
    """

    def __init__(
        self, storage: Callable[[str, int, torch.dtype], UntypedStorage], modules: bool = False
    ):
        self._storage, self._modules, self.work = storage, modules, 0

    def read(self, file: IO[bytes]) -> Any:
        """Return the object of a pickle; the file is left behind it."""
        stack: list[Any] = []
        below: list[list[Any]] = []
        memo: dict[Any, Any] = {}
        for code, argument, at in pickletools.genops(file):
            self._at = at or 0
            name, count, items = code.name, len(code.stack_before), []
            if name == "MARK":
                below.append(stack)
                stack = []
                continue
            if name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
                memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
                continue
            if pickletools.stackslice in code.stack_before:
                items, stack = stack, below.pop()
                count = code.stack_before.index(pickletools.markobject)
            if count > len(stack):
                raise ValueError("its pickle takes what it has not")
            items = [stack.pop() for _ in range(count)][::-1] + items
            if name == "STOP":
                return items[0]
            if name in ("BINGET", "LONG_BINGET"):
                stack.append(memo[argument])
            elif code.stack_after:
                stack.append(self._step(name, argument, items))
        raise EOFError("its pickle has no end")

    def _step(self, name: str, argument: Any, items: list[Any]) -> Any:
        """Return what an opcode makes of its argument and of what it takes from the stack."""
        match name, items:
            case (("SHORT_BINSTRING" | "BINSTRING"), _):  # of Python 2
                return argument.encode("latin-1").decode()
            case "GLOBAL", _:
                return self._named(argument)
            case "STACK_GLOBAL", _:
                self._charge(tuple(items))
                return self._named(" ".join(items))
            case "FROZENSET", _:
                return frozenset(self._keys(items))
            case (("APPEND" | "APPENDS"), [list() as into, *new]):
                into.extend(new)
                return into
            case "ADDITEMS", [set() as into, *new]:
                into.update(self._keys(new))
                return into
            case (("SETITEM" | "SETITEMS"), [dict() as into, *new]):
                into.update(zip(self._keys(new[::2]), new[1::2], strict=True))
                return into
            case "BINPERSID", [description]:
                return self._load(description)
            case (("NEWOBJ" | "REDUCE"), [Name() as called, tuple() as arguments]):
                return self._called(called, arguments)
            case "BUILD", [made, state]:
                self._build(made, state)
                return made
            case _ if name in _ARGUMENTS:
                return argument
            case _ if name in _CONSTANTS:
                return _CONSTANTS[name]
            case _ if name in _CONTAINERS:
                return _CONTAINERS[name](items)
        raise Refused(f"uses the pickle's opcode {name} as torch does not")

    def _named(self, text: str) -> Any:
        """Return what a name stands for: a constant of torch, or a name that is known."""
        text = text.replace("__builtin__ ", "builtins ").replace("numpy.core.", "numpy._core.")
        if text in _WORDS:
            return _WORDS[text]
        module = self._modules and re.match(r"__torch__[. ]", text)
        if not module and text not in _CALLS.keys() | _HASHED.keys() and not _OTHER.fullmatch(text):
            raise Refused(f"holds pickled objects of {Name(text)}")
        return Name(text)

    def _called(self, name: Name, arguments: tuple[Any, ...]) -> Any:
        """Return what a call of a name stands for; nothing is called."""
        self._charge(arguments)
        match name.text, arguments:
            case text, _ if text.startswith("__torch__"):
                return Record(text)
            case "torch._tensor _rebuild_from_type_v2", (Name() as call, Name(), tuple() as of, _):
                return self._called(call, of)
            case text, _ if made := _CALLS.get(text):
                return made(*arguments)
            case text, () | (list() | dict(),) if made := _HASHED.get(text):
                of = arguments[0] if arguments else ()
                pairs = made is OrderedDict and isinstance(of, list)
                self._keys((key for key, _ in of) if pairs else of)
                return made(*arguments)
        raise Refused(f"wants {name} called")

    def _build(self, made: Any, state: Any) -> None:
        """Set the state of what was made."""
        self._charge(state if isinstance(state, tuple) else (state,))
        match made, state:
            case Record(), _:
                made.state = state
            case DType() | Array(), tuple():
                made.set_state(state)
            case Namespace() | OrderedDict(), dict() if state.keys() <= {"_metadata"} or (
                isinstance(made, Namespace) and all(isinstance(key, str) for key in state)
            ):
                vars(made).update(state)
            case Tensor(), (_, _, _):  # whether it has a gradient, of the first versions of torch
                pass
            case _:
                raise Refused(f"sets the state of {type(made).__name__}")

    def _load(self, description: Any) -> TypedStorage:
        """Return a storage, whatever device it was on."""
        match description:
            case ("storage", Name(text), str(key), str(), int(count), *view) if (
                dtype := _STORAGES.get(text.rpartition(" ")[2])
            ):
                storage = self._storage(key, count, dtype)
            case _:  # not shown: tuples that hold each other twice would be as long as 2 ** n
                raise Refused("has a storage of an unknown kind")
        if storage.nbytes() != count * dtype.itemsize:
            raise ValueError(f"storage {key} has {storage.nbytes()} bytes, not {count} of {dtype}")
        match view:
            case [(str(), int(begin), int(length))] if 0 <= begin <= begin + length <= count:
                storage = storage[begin * dtype.itemsize : (begin + length) * dtype.itemsize]
            case [_, *_] if view != [None]:
                raise ValueError(f"a view reaches beyond storage {key}")
        return TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)

    def _keys(self, keys: Iterable[Any]) -> list[Any]:
        """Return keys of a mapping or set, checked that their hashes are cheap and rarely equal."""
        checked = list(keys)
        for key in checked:
            if type(key) is tuple:
                self._charge(key, _TUPLE_KEY)
            for part in key if type(key) is tuple else (key,):
                if not isinstance(part, _KEYS) or (isinstance(part, int) and abs(part) >= 2**60):
                    raise Refused("has a mapping or set by other keys than texts and numbers")
        return checked

    def _charge(self, values: tuple[Any, ...], cost: int = 0) -> None:
        """Count what is copied: a pickle may name one long text very often."""
        most = _COPIES * self._at + _FREE
        self.work += len(values) + cost
        if self.work < most:
            self.work += sum(len(each) for each in values if isinstance(each, _SIZED))
        if self.work > most:
            raise Refused("names one long value very often, which was made to fill the memory")


def _tensor(of: TypedStorage, offset: Any, sizes: Any, strides: Any, *rest: Any) -> Tensor:
    """Return the tensor of these sizes and strides in a storage, checked to lie within it.

    Args:
        rest: two of no meaning here, then the dtype if it is not the storage's, and whether the
            stored values are to be conjugated or negated.
    """
    dtype = next((each for each in rest[2:] if isinstance(each, torch.dtype)), of.dtype)
    storage = of._untyped_storage
    most, reach = storage.nbytes() // dtype.itemsize, 0
    valid = len(sizes) == len(strides) <= _DIMENSIONS
    numbers = (offset, *sizes, *strides) if valid else ()
    valid = valid and all(type(n) is int and n >= 0 for n in numbers)
    if valid and 0 not in sizes:
        reach = 1 + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
    if not valid or offset + reach > most:
        where = f": offset, sizes and strides are {numbers}" if valid else ""
        raise ValueError(f"a tensor reaches beyond its storage of {most}{where}")
    tensor = torch.empty(0, dtype=dtype)
    tensor.set_(storage, offset, sizes, strides)
    bits = {bit for each in rest[2:] if isinstance(each, dict) for bit in each if each[bit]}
    tensor = tensor.conj() if "conj" in bits else tensor  # a view: old files are not read so far
    return torch._neg_view(tensor) if "neg" in bits else tensor


def _encoded(text: str, code: str) -> bytes:
    """Return bytes, which protocol 2 holds as a text; other codes make them grow."""
    if code != "latin1":
        raise Refused("wants bytes encoded")
    return text.encode(code)


def _all(names: str, made: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """Return what all names of a module stand for, which comes first."""
    module, *rest = names.split()
    return {f"{module} {name}": made for name in rest}


_CALLS: dict[str, Callable[..., Any]] = {
    **_all("torch._utils _rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3", _tensor),
    **_all("torch._utils _rebuild_parameter _rebuild_parameter_with_state", lambda data, *_: data),
    **_all("torch.nn.parameter Parameter", lambda data, *_: data),
    **_all("torch.jit._pickle restore_type_tag build_intlist build_doublelist", lambda of, *_: of),
    **_all("torch.jit._pickle build_boollist build_tensorlist", lambda of, *_: of),
    # More than numbers in the file; what stands for them has no values.
    **_all(
        "torch._utils _rebuild_nested_tensor _rebuild_sparse_tensor "
        "_rebuild_meta_tensor_no_storage",
        lambda *_: torch.empty(0, device="meta"),
    ),
    # A type of one byte, as those of quantised numbers (`check_not_quantised`).
    "torch._utils _rebuild_qtensor": lambda *_: torch.empty(
        0, dtype=torch.float8_e4m3fn, device="meta"
    ),
    "torch Size": torch.Size,
    "torch device": torch.device,
    "torch.serialization _get_layout": lambda name: _WORDS[name.replace(".", " ")],
    "argparse Namespace": lambda: Namespace(),
    "builtins complex": complex,
    "builtins bytes": lambda: b"",
    "_codecs encode": _encoded,
    "numpy dtype": DType,
    "numpy._core.multiarray _reconstruct": Array,
    "numpy._core.multiarray scalar": scalar,
    "numpy._core.numeric _frombuffer": frombuffer,
}
"""What calls stand for, by name."""
_HASHED = _all("collections OrderedDict", OrderedDict) | _all("collections Counter", Counter)
_HASHED |= _all("builtins set", set) | _all("builtins frozenset", frozenset)
"""Those whose arguments are hashed."""
