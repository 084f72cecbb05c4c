"""Temperature scaling of zero-shot logits (paper C.7.1: applied to ALIGN before interpolation)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wiseft.errors import WiseftError

_CHUNK = 8192
_LOWEST, _HIGHEST = 1e-6, 1e6
_STEPS = 200


def calibrate_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature T that minimises the mean cross-entropy of softmax(logits / T).

    The loss is convex in 1/T; its derivative's only zero is bracketed and found by Newton's steps
    in double precision.

    Args:
        logits: (n, classes).
        labels: int64 (n,).

    Raises:
        WiseftError: if there is no such T: no logits, every sample is right whatever the margin
            (T would be 0), or they are no better than chance (T would be infinite).
    """
    if not len(logits):
        raise WiseftError("there are no logits to fit a temperature on; give samples")
    low, high = _LOWEST, _HIGHEST
    if _slope(logits, labels, low)[0] >= 0.0:
        raise WiseftError(
            "the logits are no better than chance on these samples, so that no temperature fits "
            "them; check that labels and classes belong together"
        )
    if _slope(logits, labels, high)[0] <= 0.0:
        raise WiseftError(
            f"all {len(labels)} samples are classified right, so that a temperature cannot be "
            "fitted on them; give more samples"
        )
    inverse = 1.0
    for _ in range(_STEPS):
        slope, curvature = _slope(logits, labels, inverse)
        low, high = (inverse, high) if slope < 0.0 else (low, inverse)
        step = inverse - slope / curvature if curvature > 0.0 else math.inf
        following = step if low < step < high else math.sqrt(low * high)
        if abs(following - inverse) <= 1e-12 * inverse:
            break
        inverse = following
    return 1.0 / inverse


def _slope(logits: Tensor, labels: Tensor, inverse: float) -> tuple[float, float]:
    """Return the first and second derivative of the mean loss by 1/T."""
    first = second = 0.0
    for chunk, right in zip(logits.split(_CHUNK), labels.split(_CHUNK), strict=True):
        values = chunk.double()
        share = torch.softmax(values * inverse, dim=-1)
        mean = (share * values).sum(dim=-1)
        spread = (share * (values - mean[:, None]).square()).sum(dim=-1)
        own = values.gather(-1, right[:, None].to(values.device)).squeeze(-1)
        first += float((mean - own).sum())
        second += float(spread.sum())
    return first / len(logits), second / len(logits)
