"""TorchScript archives, as OpenAI's CLIPs are: their parameters and buffers, read as data.

`torch.jit.load` builds the module, and a module may have a `__setstate__` of its own, which may
write files. Nothing is built or called here: the pickle is taken apart opcode by opcode, a name in
it stays a name, and of the code only the lists of parameters and buffers are read.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

from torch import Tensor

from wiseft.foreign.archive import Archive
from wiseft.foreign.pickles import Machine, Record, Refused
from wiseft.foreign.torch_file import opened

_LONGEST, _DEEPEST = 10_000_000, 100
"""Modules may be shared, so that a few of them may stand for names without end: characters of all
names together, and modules within each other."""
_CLASS = re.compile(r"class (\w+)\(Module\):\n")
_DECLARED = re.compile(r"^  __(?:parameters|buffers)__ = \[(.*)\]$", re.MULTILINE)


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Return the parameters and buffers of an archive's module, on the CPU, by their names.

    They are those of `torch.jit.load(path).state_dict()` without masks of attention (`attn_mask`),
    which are in no state dict of a model: a text tower makes its own. Tensors that share a storage
    share it here too. They lie in the mapped file; whoever opens it compares the checksums of its
    members.

    Raises:
        WiseftError: if the archive is damaged, a tensor reaches beyond its storage, a module has
            code that would rebuild it, or the pickle wants anything called but what rebuilds
            tensors and containers.
    """
    trusted = "torch.jit.load(FILE, map_location='cpu')"
    kind = "is a TorchScript archive that "
    with opened(path, "not a whole TorchScript archive", kind, trusted) as file:
        return _Modules(Archive(file)).tensors()


class _Modules:
    """The modules of an archive."""

    def __init__(self, archive: Archive):
        self._archive = archive
        self._modules: dict[str, frozenset[str] | None] = {}
        self._code: dict[str, dict[str, str]] = {}

    def tensors(self) -> dict[str, Tensor]:
        """Return the parameters and buffers of all modules."""
        found: dict[str, Tensor] = {}
        machine = Machine(lambda key, *_: self._archive.storage(f"data/{key}"), modules=True)
        root = machine.read(io.BytesIO(self._archive.read("data.pkl")))
        todo, length = [("", root)], 0
        while todo:
            prefix, value = todo.pop()
            if not isinstance(value, Record) or (own := self._declared(value.of)) is None:
                continue
            if not isinstance(value.state, dict):
                raise ValueError(f"{prefix or 'the module'} has no attributes by name")
            length += sum(len(f"{prefix}{name}.") for name in value.state)
            if length > _LONGEST or prefix.count(".") > _DEEPEST:
                raise Refused("holds names without end: very many modules, or itself")
            kept = own - {"attn_mask"}
            tensors = {k: v for k, v in value.state.items() if isinstance(v, Tensor) and k in kept}
            found |= {prefix + name: tensor for name, tensor in tensors.items()}
            todo += [(f"{prefix}{name}.", each) for name, each in value.state.items()]
        return found

    def _declared(self, of: str) -> frozenset[str] | None:
        """Return the parameters and buffers that a class declares; None: it is no module."""
        if of not in self._modules:
            folders, _, name = of.partition(" ")
            body = self._classes_in(f"code/{folders.replace('.', '/')}.py").get(name)
            if body is not None and "\n  def __setstate__(" in body:
                raise Refused(f"rebuilds {name} by code of its own (`__setstate__`)")
            lists = None if body is None else "".join(_DECLARED.findall(body))
            self._modules[of] = (
                None if lists is None else frozenset(re.findall(r'"([^"]*)"', lists))
            )
        return self._modules[of]

    def _classes_in(self, member: str) -> dict[str, str]:
        """Return the code of a file's modules by name; it is read once, whatever is in it."""
        if member not in self._code:
            text = self._archive.read(member).decode()
            bodies = re.split(r"^(?=class )", text, flags=re.MULTILINE)
            self._code[member] = {m[1]: body for body in bodies if (m := _CLASS.match(body))}
        return self._code[member]
