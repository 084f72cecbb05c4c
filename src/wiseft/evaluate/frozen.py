"""The layers in front that are the same at both ends of a sweep: they run once for all alphas.

What they give takes the place of the pixels of a batch; after that the tower begins behind them. It
is a sequence of blocks for that, each of which gives one tensor (n, ...) to the next; what was
found is tried out first, and left alone where the features are not the same bit for bit.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

_BLOCK = re.compile(r"(?:.*\.)?(?:layer\d+|resblocks|blocks|layers|stages)(?:\.(?:\d+|blocks))*\.\d+")
_LAST = {"proj"}
"""Parameters of a tower itself that it takes at its end; others of its own come first."""


class _Stop(Exception):
    """Ends a pass behind the frozen layers."""

    def __init__(self, output: Any):
        super().__init__()
        self.output = output


class FrozenLayers:
    """A tower in two parts, the first of which is the same at every alpha.

    Args:
        tower: normalised pixels in, features out.
        blocks: those of the first part, in order; all that runs before them belongs to it.
        pixels: of any image (1, 3, S, S).
    """

    def __init__(self, tower: nn.Module, blocks: list[nn.Module], pixels: Tensor):
        self._tower, self._blocks, self._pixels = tower, blocks, pixels

    def first(self, pixels: Tensor) -> Tensor:
        """Return what the first part gives for pixels (n, 3, S, S)."""

        def stop(module: nn.Module, given: Any, output: Any) -> None:
            raise _Stop(output)

        handle = self._blocks[-1].register_forward_hook(stop)
        try:
            self._tower(pixels)
        except _Stop as stopped:
            if isinstance(stopped.output, Tensor) and len(stopped.output) == len(pixels):
                return stopped.output
        finally:
            handle.remove()
        raise ValueError("the frozen layers do not give one tensor, a row an image")

    def second(self, output: Tensor) -> Tensor:
        """Return the features of what the first part gave."""
        with self._replaced(output):
            # One image goes through what comes before the blocks; nothing of it is used.
            return cast(Tensor, self._tower(self._pixels))

    @contextlib.contextmanager
    def _replaced(self, output: Tensor) -> Iterator[None]:
        try:
            for block in self._blocks:
                block.forward = _identity
            self._blocks[-1].forward = lambda *_, **__: output
            yield
        finally:
            for block in self._blocks:
                block.__dict__.pop("forward", None)


def _identity(first: Any, *_: Any, **__: Any) -> Any:
    return first


def frozen_layers(
    tower: nn.Module,
    ends: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    size: int,
    at: Callable[[str], object],
) -> FrozenLayers | None:
    """Return the tower in two parts, or None where its first block is another at each end.

    Args:
        ends: tensors of the two thetas.
        size: edge of an image in pixels.
        at: sets the weights of the tower to those at an alpha.
    """
    names = [name.removeprefix("image.") for name in ends[0] if name.startswith("image.")]
    changed = [n for n in names if not torch.equal(*(each[f"image.{n}"] for each in ends))]
    if not {m[0] for n in names if (m := _BLOCK.match(n))} - {m[0] for n in changed if (m := _BLOCK.match(n))}:
        return None
    device = next(tower.parameters()).device
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    try:
        blocks = _in_front(tower, changed, pixels)
        parts = FrozenLayers(tower, blocks, pixels[:1]) if blocks else None
        for alpha in ("1.000", "0.500", "0.000") if parts else ():
            at(alpha)
            if alpha == "1.000":
                output = parts.first(pixels)
            if not torch.equal(parts.second(output), tower(pixels)):
                return None
    except Exception:
        return None
    return parts


def _in_front(tower: nn.Module, changed: list[str], pixels: Tensor) -> list[nn.Module]:
    """Return the blocks that run before anything whose tensors changed, themselves included."""
    modules = dict(tower.named_modules())
    order: dict[str, int] = {}
    handles = [
        module.register_forward_pre_hook(lambda *_, name=name: order.setdefault(name, len(order)))
        for name, module in modules.items()
    ]
    tower(pixels)
    for handle in handles:
        handle.remove()

    def start(name: str) -> int:
        owner = name.rpartition(".")[0]
        while owner not in order:  # as of a projection that attention takes the weights of
            owner = owner.rpartition(".")[0]
        return order[owner]

    first = min((start(n) for n in changed if n not in _LAST), default=len(order))
    found = []
    for name in order:
        if _BLOCK.fullmatch(name):
            if max(order[each] for each in order if f"{each}.".startswith(f"{name}.")) >= first:
                break
            found.append(name)
    return [modules[name] for name in found if not any(o.startswith(f"{name}.") for o in found)]
