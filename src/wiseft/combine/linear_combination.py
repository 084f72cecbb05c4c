"""Linear combinations of thetas and of logits.

Interpolation (paper equation 1), soups, patching, alphas by layer and Fisher-weighted merging are
one function with different coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from wiseft.base.alphas import format_alpha
from wiseft.errors import WiseftError
from wiseft.thetas.tensor_file import LazyTensors, examples
from wiseft.thetas.theta import check_same_tensors, is_finite

Coefficient = float | Tensor
"""A number, or one number for each element of a tensor."""

Coefficients = Sequence[float] | Mapping[str, Sequence[Coefficient]]

_TOLERANCE = 1e-9  # of numbers that sum to one but for the rounding of decimals


class Combination(LazyTensors):
    """A linear combination of thetas, each tensor computed when it is asked for and not kept.

    Coefficients that are exactly one-hot give a copy of that theta, bit for bit and in its own
    dtype; two coefficients (1 - a, a) are `torch.lerp`; anything else is a weighted sum in fp32.

    Args:
        thetas: tensors by name, with equal names and shapes.
        coefficients: one number a theta; or for every tensor name one number a theta, or one
            tensor of that shape a theta.

    Attributes:
        copied: place of the theta that the whole is a copy of; None where it is a mixture.

    Raises:
        WiseftError: if names, shapes or numbers of coefficients disagree, or (when asked for) if
            a tensor or a coefficient is not finite, or a variance of BatchNorm would be negative;
            the message names the tensor.
    """

    def __init__(self, thetas: Sequence[Mapping[str, Tensor]], coefficients: Coefficients):
        if not thetas:
            raise WiseftError("there is nothing to combine: give at least one theta")
        for other in thetas[1:]:
            check_same_tensors(examples(thetas[0]), examples(other))
        self._thetas = thetas
        self._coefficients = _by_name(list(thetas[0]), coefficients)
        self.copied = None if isinstance(coefficients, Mapping) else _one_hot(coefficients)

    def __getitem__(self, name: str) -> Tensor:
        tensors = [theta[name] for theta in self._thetas]
        mixed = _mix(tensors, self._coefficients[name], f"tensor {name}")
        if name.endswith(".running_var") and bool((mixed < 0).any()):
            raise WiseftError(
                f"the combination of tensor {name} is negative, but it holds variances of "
                "BatchNorm. Give no negative coefficient; for patching, alphas that sum to at most "
                "1. Or, for models of the same classes, use the recipe task-arithmetic, whose "
                "variances lie between those of the models."
            )
        return mixed

    @cached_property
    def shapes(self) -> Mapping[str, Tensor]:  # type: ignore[override]  # once asked for
        """An example of every tensor, on the device `meta`."""
        of_thetas = [examples(theta) for theta in self._thetas]
        return {
            name: self._shape(name, [shapes[name] for shapes in of_thetas]) for name in of_thetas[0]
        }

    def _shape(self, name: str, tensors: list[Tensor]) -> Tensor:
        dtype = torch.float32
        if any(tensor.dtype != dtype for tensor in tensors):
            copied = _one_hot(self._coefficients[name])
            dtype = dtype if copied is None else tensors[copied].dtype
        return torch.empty(tensors[0].shape, dtype=dtype, device="meta")


def combine(
    thetas: Sequence[Mapping[str, Tensor]], coefficients: Coefficients
) -> dict[str, Tensor]:
    """Return the linear combination of thetas, as `Combination` defines it, in memory.

    Raises:
        WiseftError: as `Combination` does.
    """
    return dict(Combination(thetas, coefficients))


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
    return _mix(logits, coefficients, "logits")


def ends(alpha: float | str) -> tuple[float, float]:
    """Return the coefficients (1 - alpha, alpha) of the two ends."""
    value = float(format_alpha(alpha))
    return 1.0 - value, value


def check_finite(tensor: Tensor, what: str) -> None:
    """Refuse a NaN or an infinity, which a mixture would spread without a trace."""
    if not is_finite(tensor):
        raise WiseftError(f"{what} holds a NaN or an infinity; it can't be combined")


def check_fits(tensors: Sequence[Tensor], coefficients: Sequence[Coefficient], what: str) -> None:
    """Refuse tensors of different shapes, or another number of coefficients than of tensors."""
    if not tensors:  # thetas have at least one
        raise WiseftError("there is nothing to combine: give the logits of a classifier")
    if len(coefficients) != len(tensors):
        raise WiseftError(f"{what}: {len(tensors)} inputs but {len(coefficients)} coefficients")
    if len({tensor.shape for tensor in tensors}) != 1:
        shapes = [tuple(tensor.shape) for tensor in tensors]
        raise WiseftError(f"{what}: the shapes {shapes} differ")


def _by_name(names: list[str], coefficients: Coefficients) -> Mapping[str, Sequence[Coefficient]]:
    if not isinstance(coefficients, Mapping):
        return dict.fromkeys(names, coefficients)
    wrong = sorted(coefficients.keys() ^ set(names))
    if wrong:
        raise WiseftError(
            f"coefficients by tensor must cover the tensors exactly; {wrong[0]} is "
            + ("no tensor of the thetas" if wrong[0] in coefficients else "without coefficients")
        )
    return coefficients


def _mix(tensors: Sequence[Tensor], coefficients: Sequence[Coefficient], what: str) -> Tensor:
    check_fits(tensors, coefficients, what)
    for coefficient in coefficients:
        _check_coefficient(coefficient, tensors[0], what)
    for tensor in tensors:
        check_finite(tensor, what)
    copied = _one_hot(coefficients)
    if copied is not None:
        # Arithmetic is not exact here: lerp turns -0.0 into 0.0 and may overflow.
        return tensors[copied].detach().clone()
    mixed = _weighted_sum([tensor.detach().float() for tensor in tensors], coefficients)
    check_finite(mixed, f"the combination of {what}")
    return mixed


def _check_coefficient(coefficient: Coefficient, tensor: Tensor, what: str) -> None:
    if not isinstance(coefficient, Tensor):
        if not math.isfinite(coefficient):
            raise WiseftError(f"{what}: the coefficients hold {coefficient}, but must be finite")
        return
    check_finite(coefficient, f"a coefficient of {what}")
    if coefficient.shape != tensor.shape:
        raise WiseftError(
            f"{what} has shape {tuple(tensor.shape)}, but a coefficient for each of its elements "
            f"has {tuple(coefficient.shape)}"
        )


def _one_hot(coefficients: Sequence[Coefficient]) -> int | None:
    """Return the place of the one coefficient that is not 0, where that is the number 1."""
    if any(isinstance(coefficient, Tensor) for coefficient in coefficients):
        return None
    present = [index for index, c in enumerate(coefficients) if c != 0.0]
    return present[0] if len(present) == 1 and coefficients[present[0]] == 1.0 else None


def _weighted_sum(tensors: Sequence[Tensor], coefficients: Sequence[Coefficient]) -> Tensor:
    if len(tensors) == 2 and _complementary(*coefficients):
        return torch.lerp(tensors[0], tensors[1], coefficients[1])
    total = tensors[0] * coefficients[0]
    for tensor, coefficient in zip(tensors[1:], coefficients[1:], strict=True):
        if isinstance(coefficient, Tensor):
            total.addcmul_(tensor, coefficient)
        else:
            total.add_(tensor, alpha=coefficient)
    return total


def _complementary(first: Coefficient, second: Coefficient) -> bool:
    """Whether two coefficients are (1 - a, a)."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, 1.0 - second)
    if isinstance(first, Tensor) or isinstance(second, Tensor):
        return False
    return abs(first + second - 1.0) < _TOLERANCE
