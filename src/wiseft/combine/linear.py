"""Linear combinations of thetas and of logits.

Interpolation (paper equation 1), uniform soups, per-tensor alphas and the like are one
function with different coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from wiseft.alphas import format_alpha
from wiseft.errors import WiseftError
from wiseft.theta import check_same_tensors

Coefficients = Sequence[float] | Mapping[str, Sequence[float]]


def combine(
    thetas: Sequence[Mapping[str, Tensor]], coefficients: Coefficients
) -> dict[str, Tensor]:
    """Return the linear combination of thetas, computed in fp32.

    Coefficients that are exactly one-hot give a copy of that theta, bit for bit and in its own
    dtype; two coefficients (1 - a, a) are `torch.lerp`; anything else is a weighted sum.

    Args:
        thetas: tensors by name, with equal names and shapes.
        coefficients: one number a theta, or for every tensor name one number a theta.

    Raises:
        WiseftError: if names, shapes or numbers of coefficients disagree, or if a tensor or
            a coefficient is not finite; the message names the tensor.
    """
    if not thetas:
        raise WiseftError("there is nothing to combine: give at least one theta")
    for other in thetas[1:]:
        check_same_tensors(thetas[0], other)
    by_name = _by_name(list(thetas[0]), coefficients)
    return {
        name: _mix([theta[name] for theta in thetas], by_name[name], f"tensor {name}")
        for name in thetas[0]
    }


def interpolate(
    theta_0: Mapping[str, Tensor], theta_1: Mapping[str, Tensor], alpha: float | str
) -> dict[str, Tensor]:
    """Return (1 - alpha) theta_0 + alpha theta_1 (paper equation 1); the ends are copies.

    Raises:
        WiseftError: if alpha is not one of three decimals in [0, 1], or as `combine` does.
    """
    return combine([theta_0, theta_1], ends(alpha))


def combine_logits(logits: Sequence[Tensor], coefficients: Sequence[float]) -> Tensor:
    """Return the same combination of outputs: the output-space ensemble (paper section 5.2).

    Args:
        logits: tensors of one shape (samples, classes), one for each classifier.
        coefficients: one number a classifier.

    Raises:
        WiseftError: if shapes or numbers of coefficients disagree or a value is not finite.
    """
    if not logits:
        raise WiseftError("there is nothing to combine: give the logits of a classifier")
    return _mix(logits, coefficients, "logits")


def ends(alpha: float | str) -> tuple[float, float]:
    """Return the coefficients (1 - alpha, alpha) of the two ends."""
    value = float(format_alpha(alpha))
    return 1.0 - value, value


def check_finite(tensor: Tensor, what: str) -> None:
    """Refuse a NaN or an infinity, which a mixture would spread without a trace."""
    if not bool(torch.isfinite(tensor).all()):
        raise WiseftError(f"{what} holds a NaN or an infinity; it can't be combined")


def _by_name(names: list[str], coefficients: Coefficients) -> Mapping[str, Sequence[float]]:
    if not isinstance(coefficients, Mapping):
        return dict.fromkeys(names, coefficients)
    wrong = sorted(coefficients.keys() ^ set(names))
    if wrong:
        raise WiseftError(
            f"coefficients by tensor must cover the tensors exactly; {wrong[0]} is "
            + ("no tensor of the thetas" if wrong[0] in coefficients else "without coefficients")
        )
    return coefficients


def _mix(tensors: Sequence[Tensor], coefficients: Sequence[float], what: str) -> Tensor:
    if len(coefficients) != len(tensors):
        raise WiseftError(f"{what}: {len(tensors)} inputs but {len(coefficients)} coefficients")
    if not all(math.isfinite(c) for c in coefficients):
        raise WiseftError(f"{what}: the coefficients {list(coefficients)} are not all finite")
    if len({tensor.shape for tensor in tensors}) != 1:
        shapes = [tuple(tensor.shape) for tensor in tensors]
        raise WiseftError(f"{what}: the shapes {shapes} differ")
    for tensor in tensors:
        check_finite(tensor, what)
    present = [index for index, c in enumerate(coefficients) if c != 0.0]
    if len(present) == 1 and coefficients[present[0]] == 1.0:
        # Arithmetic is not exact here: lerp turns -0.0 into 0.0 and may overflow.
        return tensors[present[0]].detach().clone()
    mixed = _weighted_sum([tensor.detach().float() for tensor in tensors], coefficients)
    check_finite(mixed, f"the combination of {what}")
    return mixed


def _weighted_sum(tensors: Sequence[Tensor], coefficients: Sequence[float]) -> Tensor:
    if len(tensors) == 2 and coefficients[0] == 1.0 - coefficients[1]:
        return torch.lerp(tensors[0], tensors[1], coefficients[1])
    total = tensors[0] * coefficients[0]
    for tensor, coefficient in zip(tensors[1:], coefficients[1:], strict=True):
        total.add_(tensor, alpha=coefficient)
    return total
