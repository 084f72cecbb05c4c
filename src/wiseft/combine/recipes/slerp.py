"""SLERP (Shoemake 1985): each tensor lies on the arc between the two thetas' tensors.

    sin((1 - alpha) w) / sin(w) * theta_0 + sin(alpha w) / sin(w) * theta_1

for the angle w between the two. As in mergekit, tensors that lie nearly on one line are
interpolated linearly, and one of zeros is at right angles to every other.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from wiseft.combine.recipe import Alpha, Mixture, RecipeOptions, TwoThetas

if TYPE_CHECKING:
    from torch import Tensor

_ON_A_LINE = 0.9995
"""Of the cosine; mergekit's."""

Inputs = TwoThetas


class Options(RecipeOptions):
    """How far from the first theta to the second."""

    alpha: Alpha
    """Alpha from 0 (the first theta) to 1 (the second)."""


def apply(options: Options, inputs: TwoThetas, *_: Any) -> Mixture:
    """Return the theta on the arc; the ends are copies."""
    from wiseft.combine.files import mixture, open_thetas
    from wiseft.combine.linear_combination import ends
    from wiseft.combine.task_vectors import merged

    thetas, alpha = open_thetas(inputs.thetas), options.alpha
    if alpha in (0.0, 1.0):
        return mixture(thetas, ends(alpha))
    return merged(thetas, lambda name, theta_0, vectors: added(theta_0, vectors, alpha), [alpha])


def added(theta_0: Tensor, vectors: Tensor, alpha: float) -> Tensor:
    """Return what the tensor on the arc has more than that of theta_0, of one task vector."""
    a, b = theta_0.double(), (theta_0 + vectors[0]).double()
    lengths = float(a.norm() * b.norm())
    cosine = float((a * b).sum()) / lengths if lengths > 0.0 else 0.0
    if abs(cosine) > _ON_A_LINE:
        return vectors[0] * alpha
    angle = math.acos(cosine)
    first, second = (math.sin(part * angle) / math.sin(angle) for part in (1.0 - alpha, alpha))
    return theta_0 * (first + second - 1.0) + vectors[0] * second
