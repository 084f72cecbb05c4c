"""The layers in front that are the same at both ends of a sweep: they run once for all alphas.

What they give takes the place of the pixels of a batch; after that the tower begins behind them. It
is a sequence of blocks for that, each of which gives one tensor (n, ...) to the next; what was
found is tried out first, and left alone where the features are not the same bit for bit.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from wiseft.combine.parts import CONTAINERS

_LISTS = "|".join([r"layer\d+", *sorted(CONTAINERS)])
_BLOCK = re.compile(rf"(?:.*?\.)??(?:{_LISTS})(?:\.(?:\d+|blocks))*\.\d+(?=\.|$)")
"""A block at the beginning of the name of a tensor or module, of open_clip, timm or ALIGN."""
_LAST = {"proj"}
"""Parameters of a tower itself that it takes at its end; others of its own come first."""


class _Stop(Exception):
    """Ends a pass behind the frozen layers; its argument is what they give."""


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
            (output,) = stopped.args
            if isinstance(output, Tensor) and len(output) == len(pixels):
                return output
        finally:
            handle.remove()
        raise ValueError("the frozen layers do not give one tensor, a row an image")

    def second(self, output: Tensor) -> Tensor:
        """Return the features of what the first part gave."""
        try:
            for block in self._blocks:
                block.forward = lambda given, *_, **__: given
            self._blocks[-1].forward = lambda *_, **__: output
            # One image goes through what comes before the blocks; nothing of it is used.
            return cast(Tensor, self._tower(self._pixels))
        finally:
            for block in self._blocks:
                block.__dict__.pop("forward", None)


def frozen_layers(
    tower: nn.Module,
    ends: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    size: int,
    at: Callable[[float], object],
) -> FrozenLayers | None:
    """Return the tower in two parts, or None where its first block is another at each end.

    Args:
        ends: tensors of the two thetas.
        size: edge of an image in pixels.
        at: sets the weights of the tower to those at an alpha.
    """
    names = [name.removeprefix("image.") for name in ends[0] if name.startswith("image.")]
    changed = [n for n in names if not torch.equal(*(each[f"image.{n}"] for each in ends))]
    if _blocks(names) <= _blocks(changed):
        return None
    device = next(tower.parameters()).device
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    # Of a tower of another form, a pass in two parts may fail in any way: then it is not made.
    with contextlib.suppress(Exception):
        if blocks := _in_front(tower, changed, pixels):
            parts = FrozenLayers(tower, blocks, pixels[:1])
            output = parts.first(pixels)
            for alpha in (0, 1):
                at(alpha)
                if not torch.equal(parts.second(output), tower(pixels)):
                    return None
            return parts
    return None


def _blocks(names: Iterable[str]) -> set[str]:
    """Return the blocks that tensors or modules of these names are in."""
    return {match[0] for name in names if (match := _BLOCK.match(name))}


def _in_front(tower: nn.Module, changed: list[str], pixels: Tensor) -> list[nn.Module]:
    """Return the blocks that run before anything whose tensors changed, themselves included."""
    modules = dict(tower.named_modules())
    order: dict[str, int] = {}

    def note(name: str, *_: Any) -> None:
        order.setdefault(name, len(order))

    with contextlib.ExitStack() as stack:
        for name, module in modules.items():
            handle = module.register_forward_pre_hook(functools.partial(note, name))
            stack.callback(handle.remove)
        tower(pixels)

    def start(name: str) -> int:
        owner = name.rpartition(".")[0]
        while owner not in order:  # as of a projection that attention takes the weights of
            owner = owner.rpartition(".")[0]
        return order[owner]

    first = min((start(name) for name in changed if name not in _LAST), default=len(order))
    found = []
    for name in sorted(_blocks(order), key=order.__getitem__):
        inside = [other for other in order if f"{other}.".startswith(f"{name}.")]
        if _blocks(inside) != {name}:
            continue  # a stage, which has blocks of its own
        if max(order[other] for other in inside) >= first:
            break
        found.append(modules[name])
    return found
