"""The layers in front that are the same at both ends of a sweep: they run once for all alphas.

What they give takes the place of the pixels of a batch; after that the tower begins behind them. It
is a sequence of blocks for that, each of which gives one tensor (n, ...) to the next; what was
found is tried out first, and left alone where the features are not the same bit for bit.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from wiseft.combine.parts import CONTAINERS, parts_of

_LISTS = "|".join([r"layer\d+", *sorted(CONTAINERS)])
_BLOCK = re.compile(rf"(?:.*?\.)??(?:{_LISTS})(?:\.(?:\d+|blocks))*\.\d+(?=\.|$)")
"""A block at the beginning of a module's name, of open_clip, timm or ALIGN."""


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
    parts, _ = parts_of(ends[0])
    changed = [
        name
        for name in parts
        if name.startswith("image.") and not torch.equal(*(theta[name] for theta in ends))
    ]
    blocks = _in_front(tower, changed)
    if not blocks or {"stem", None} & {parts[name] for name in changed}:
        return None
    device = next(tower.parameters()).device
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    # Of a tower of another form, a pass in two parts may fail in any way: then it is not made.
    with contextlib.suppress(Exception):
        layers = FrozenLayers(tower, blocks, pixels[:1])
        output = layers.first(pixels)
        for alpha in (0, 1):
            at(alpha)
            if not torch.equal(layers.second(output), tower(pixels)):
                return None
        return layers
    return None


def _in_front(tower: nn.Module, changed: Sequence[str]) -> list[nn.Module]:
    """Return the blocks before the first one that holds a tensor that changed, in their order."""
    modules = dict(tower.named_modules())
    named = [n for n in modules if (match := _BLOCK.match(n)) and match[0] == n]
    # A stage has blocks of its own.
    blocks = [n for n in named if not any(other.startswith(f"{n}.") for other in named)]
    front = itertools.takewhile(
        lambda n: not any(name.startswith(f"image.{n}.") for name in changed), blocks
    )
    return [modules[n] for n in front]
