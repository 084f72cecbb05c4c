"""Tensors under other names, of several files, or made of others, none of which are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

from wiseft.errors import WiseftError, some
from wiseft.thetas.tensor_file import LazyTensors, examples, pieces_of

_OPEN = 256 * 1024**2
"""Bytes that are read of a mapping before the file is mapped anew, for which its pickle is read."""


class Computed(LazyTensors):
    """Tensors that are made of others, each when it is asked for.

    Args:
        of: the others.
        how: by name, what makes a tensor of the others, and takes tensors without values too; or
            the name of one that is taken as it is.
    """

    def __init__(
        self,
        of: Mapping[str, Tensor],
        how: Mapping[str, str | Callable[[Mapping[str, Tensor]], Tensor]],
    ):
        self._of, self._how = of, how
        shapes = {name: like.to("meta") for name, like in examples(of).items()}
        self.shapes = {name: self._made(name, shapes) for name in how}

    def __getitem__(self, name: str) -> Tensor:
        return self._made(name, self._of)

    def _made(self, name: str, of: Mapping[str, Tensor]) -> Tensor:
        make = self._how[name]
        return of[make] if isinstance(make, str) else make(of)


class Mapped(LazyTensors):
    """Tensors that lie in a mapped file, which is mapped anew when much of it was read: pages
    that were read stay in memory as long as their mapping.

    Args:
        load: maps the file and returns its tensors.
    """

    def __init__(self, load: Callable[[], Mapping[str, Tensor]]):
        self._load, self._tensors, self._read = load, load(), 0
        self.shapes = {name: each.to("meta") for name, each in self._tensors.items()}

    def __getitem__(self, name: str) -> Tensor:
        if self._read > _OPEN:
            self._tensors, self._read = self._load(), 0
        tensor = self._tensors[name]
        self._read += tensor.nbytes
        return tensor


class Chosen(LazyTensors):
    """Tensors of others.

    Args:
        where: by name, the others and the tensor's name among them.
    """

    def __init__(self, where: Mapping[str, tuple[Mapping[str, Tensor], str]]):
        self._where = where
        self.shapes = {name: examples(of)[old] for name, (of, old) in where.items()}

    def __getitem__(self, name: str) -> Tensor:
        of, old = self._where[name]
        return of[old]

    def pieces(self, name: str) -> Iterator[Tensor]:
        """Yield a tensor's values as the others do."""
        return pieces_of(*self._where[name])


def renamed(of: Mapping[str, Tensor], names: Mapping[str, str]) -> Chosen:
    """Return tensors under other names: by the new name, the old one."""
    return Chosen({new: (of, old) for new, old in names.items()})


def joined(*parts: Mapping[str, Tensor]) -> Chosen:
    """Return the tensors of all parts; of a name that several have, the last one's."""
    return Chosen({name: (part, name) for part in parts for name in part})


def floating(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the floating tensors."""
    return {key: value for key, value in tensors.items() if value.is_floating_point()}


def check_fit(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], where: str) -> None:
    """Check that tensors are those of an architecture, by name and shape.

    Raises:
        WiseftError: with the names that are missing, unexpected and of another shape.
    """
    problems = []
    if missing := sorted(expected.keys() - given.keys()):
        problems.append(f"  {len(missing)} missing: {some(missing, 8)}")
    if unexpected := sorted(given.keys() - expected.keys()):
        problems.append(f"  {len(unexpected)} unexpected: {some(unexpected, 8)}")
    misshapen = [
        f"{key} (expected {tuple(expected[key].shape)}, found {tuple(given[key].shape)})"
        for key in sorted(expected.keys() & given.keys())
        if expected[key].shape != given[key].shape
    ]
    if misshapen:
        problems.append(f"  {len(misshapen)} of another shape: {some(misshapen, 8)}")
    if problems:
        raise WiseftError(
            f"{where} does not fit the architecture:\n" + "\n".join(problems) + "\n"
            "Give the architecture that the checkpoint was made with, or its own checkpoint."
        )
