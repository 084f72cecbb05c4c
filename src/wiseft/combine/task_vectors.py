"""Merging by task vectors: what fine-tuning added to each tensor, theta_i - theta_0."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from wiseft.combine.files import with_head
from wiseft.combine.linear_combination import Combination, check_finite
from wiseft.combine.recipe import Mixture
from wiseft.thetas.tensor_file import LazyTensors
from wiseft.thetas.theta import StoredTheta

Merge = Callable[[str, Tensor, Tensor], Tensor]
"""Gives what is added to a tensor of theta_0, of its name, itself and its task vectors.

The task vectors (models, *shape) are its own and may be overwritten, theta_0 may not; all are fp32.
"""


class Merged(LazyTensors):
    """theta_0 and what a function makes of task vectors, each tensor when it is asked for.

    Args:
        thetas: tensors by name, theta_0 first.
        merge: gives what is added to theta_0.
        scales: of the task vectors, where BatchNorm's statistics, which are no weights, are to be
            combined with the `convex` coefficients of them and not by `merge`.

    Raises:
        WiseftError: if names or shapes disagree, or (when asked for) if a tensor or what is made
            of it is not finite; the message names the tensor.
    """

    def __init__(
        self, thetas: Sequence[Mapping[str, Tensor]], merge: Merge, scales: Sequence[float] = ()
    ):
        self._thetas, self._merge, self._by_merge = thetas, merge, not scales
        self._linear = Combination(thetas, convex(scales or [0.0] * (len(thetas) - 1)))
        self.shapes = {
            name: torch.empty_like(like, dtype=torch.float32 if self._merges(name) else None)
            for name, like in self._linear.shapes.items()
        }

    def _merges(self, name: str) -> bool:
        return self._by_merge or not is_statistic(name)

    def __getitem__(self, name: str) -> Tensor:
        if not self._merges(name):
            return self._linear[name]
        tensors = [theta[name] for theta in self._thetas]
        for tensor in tensors:
            check_finite(tensor, f"tensor {name}")
        theta_0, *others = (tensor.detach().float() for tensor in tensors)
        made = theta_0 + self._merge(name, theta_0, torch.stack(others).sub_(theta_0))
        check_finite(made, f"the combination of tensor {name}")
        return made


def merged(thetas: list[StoredTheta], merge: Merge, scales: Sequence[float] = ()) -> Mixture:
    """Return what `Merged` makes of thetas, with the head that follows from its text tower."""
    mixed = Merged([theta.tensors for theta in thetas], merge, scales)
    return Mixture(with_head(mixed, thetas[-1].header), thetas, thetas[-1].header)


def is_statistic(name: str) -> bool:
    """Return whether a tensor is a running statistic of BatchNorm."""
    return name.endswith((".running_mean", ".running_var"))


def convex(scales: Sequence[float]) -> list[float]:
    """Return the coefficients of theta_0 + sum of s_i (theta_i - theta_0) that BatchNorm's
    statistics get: no s_i is below 0 and their sum is at most 1, so that variances stay positive.
    """
    weights = [max(0.0, scale) for scale in scales]
    total = max(1.0, math.fsum(weights))
    weights = [weight / total for weight in weights]
    return [max(0.0, 1.0 - math.fsum(weights)), *weights]


def elected_mean(vectors: Tensor) -> Tensor:
    """Return the mean of those that have the elected sign (TIES, Yadav et al. 2023).

    An element's sign is that of its sum over the models, plus where that is 0. Zeros do not count.

    Args:
        vectors: (models, *shape); overwritten.
    """
    sign = torch.where(vectors.sum(dim=0) >= 0.0, 1.0, -1.0)
    agreeing = vectors.mul_(sign).clamp_(min=0.0)
    count = (agreeing > 0.0).sum(dim=0, dtype=torch.float32).clamp_(min=1.0)
    return agreeing.sum(dim=0).div_(count).mul_(sign)


def kth_largest(tensors: Callable[[], Iterable[Tensor]], k: int) -> float:
    """Return the k-th largest magnitude of all elements, exactly, with none of them kept.

    Magnitudes are in the order of their bits. One pass counts the upper 16 bits, another the lower
    16 of those elements whose upper ones are the k-th's.

    Args:
        tensors: gives them, fp32, anew each time it is called.
        k: from 1 to the number of elements.
    """
    upper, rank = _kth_of((_bits(tensor) >> 16 for tensor in tensors()), 2**15, k)
    alike = (bits[bits >> 16 == upper] & 0xFFFF for bits in map(_bits, tensors()))
    lower, _ = _kth_of(alike, 2**16, rank)
    return torch.tensor(upper << 16 | lower, dtype=torch.int32).view(torch.float32).item()


def _bits(tensor: Tensor) -> Tensor:
    return tensor.abs().flatten().view(torch.int32)


def _kth_of(numbers: Iterable[Tensor], size: int, k: int) -> tuple[int, int]:
    """Return the k-th largest of numbers below `size`, and its rank among those equal to it."""
    counts = torch.zeros(size, dtype=torch.int64)
    for each in numbers:
        counts += torch.bincount(each, minlength=size)
    from_top = counts.flip(0).cumsum(0)
    place = int(torch.searchsorted(from_top, k))
    return size - 1 - place, k - int(from_top[place - 1] if place else 0)
