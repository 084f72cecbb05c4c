"""How far two sets of weights are from each other, layer by layer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

FAR = 0.5
"""Relative distance from which on weights are hardly those of a fine-tuned model: unrelated ones of
equal norm are 1.4 apart."""
SCALES = (0.5, 2.0)
"""Bounds of the ratio of two heads' scales that raises no question."""
_NUMBERED = re.compile(r"(.+?\.\d+)\.")


@dataclass(frozen=True)
class Distance:
    """Of one group of tensors: ||b - a|| / ||a||."""

    group: str
    relative: float


def distances(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> list[Distance]:
    """Return the relative distance of every group of tensors, in the order of their names.

    A group is a numbered block (`image.transformer.resblocks.3`) or a module.

    Args:
        a: tensors by name.
        b: with equal names and shapes.
    """
    gaps: dict[str, float] = {}
    norms: dict[str, float] = {}
    for name in sorted(a):
        group = group_of(name)
        start, end = a[name].double(), b[name].double()
        gaps[group] = gaps.get(group, 0.0) + float((end - start).square().sum())
        norms[group] = norms.get(group, 0.0) + float(start.square().sum())
    return [Distance(group, _ratio(gaps[group], norms[group])) for group in gaps]


def _ratio(gap: float, norm: float) -> float:
    if gap == 0.0:
        return 0.0
    return math.sqrt(gap / norm) if norm > 0.0 else math.inf


def group_of(name: str) -> str:
    """Return the block or the module that a tensor is of."""
    if (match := _NUMBERED.match(name)) is not None:
        return match[1]
    return ".".join(name.split(".")[:2]) if name.count(".") > 1 else name.split(".")[0]


def head_scale(weight: Tensor) -> float:
    """Return the mean norm of a head's rows."""
    return float(weight.double().norm(dim=-1).mean())
