"""How far two sets of weights are from each other, layer by layer."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping

from torch import Tensor

FAR = 0.5
"""Relative distance from which on weights are hardly those of a fine-tuned model: unrelated ones of
equal norm are 1.4 apart."""
SCALES = (0.5, 2.0)
"""Bounds of the ratio of two heads' scales that raises no question."""
_NUMBERED = re.compile(r"(.+?\.\d+)\.")


def distances(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the relative distance ||b - a|| / ||a|| of every group of tensors, sorted by name.

    A group is a numbered block (`image.transformer.resblocks.3`) or a module.

    Args:
        a: tensors by name.
        b: with equal names and shapes.
    """
    gaps: dict[str, float] = defaultdict(float)
    norms: dict[str, float] = defaultdict(float)
    for name in sorted(a):
        group = group_of(name)
        start, end = a[name].double(), b[name].double()
        gaps[group] += float((end - start).square().sum())
        norms[group] += float(start.square().sum())
    return {group: _ratio(gap, norms[group]) for group, gap in gaps.items()}


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
