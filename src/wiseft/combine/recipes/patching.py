"""Patching of one image tower for several tasks (PAINT: Ilharco et al. 2022, "parallel patching").

Models that were fine-tuned on one task each, from one theta_0 and with a frozen head made of
prompts, give one image tower that serves them all:

    theta_0 + sum over tasks of alpha_t (theta_t - theta_0)

It is the combination with coefficients (1 - sum alpha_t, alpha_1, alpha_2, ...); with one task it
is the interpolation. The heads are of different classes, so only `image.*` is combined; the head,
and all else, is that of one theta that is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from wiseft.combine.recipe import Alpha, File, Listed, Mixture, RecipeInputs, RecipeOptions
from wiseft.errors import WiseftError

if TYPE_CHECKING:
    from torch import Tensor


class Options(RecipeOptions):
    """An alpha for every task."""

    alpha: Annotated[list[Alpha], Field(min_length=1), Listed]
    """One number for every task, or a list with one number per task."""


class Inputs(RecipeInputs):
    """theta_0 and a theta for each task."""

    head: File | None = None
    """Theta file whose head and classes the result gets. Default: the first."""


def apply(options: Options, inputs: Inputs, *_: Any) -> Mixture:
    """Return the patched theta."""
    from wiseft.combine.files import naming
    from wiseft.thetas.theta import check_same_headers, open_theta

    thetas = [open_theta(path) for path in inputs.thetas]
    head = open_theta(inputs.head) if inputs.head else thetas[0]
    others = zip([*inputs.thetas, inputs.head or inputs.thetas[0]], [*thetas, head], strict=True)
    for path, theta in others:
        with naming(inputs.thetas[0], path):
            names = ("architecture", "preprocessing")  # tasks have classes of their own
            check_same_headers(thetas[0].header, theta.header, names)
    tensors = patched([theta.tensors for theta in thetas], options.alpha, head.tensors)
    return Mixture(tensors, thetas, head.header, parents={"head": head.identity})


def patched(
    thetas: Sequence[Mapping[str, Tensor]], alphas: Sequence[float], head: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """Return theta_0, the first theta, patched by those of tasks, with the head of a theta.

    Raises:
        WiseftError: as `patching_coefficients` does, or if the image towers are of different
            architectures.
    """
    from wiseft.combine.linear_combination import Combination
    from wiseft.models.towers import IMAGE
    from wiseft.thetas.tensor_views import joined, renamed

    coefficients = patching_coefficients(alphas, len(thetas) - 1)
    towers = [renamed(of, {k: k for k in of if k.startswith(IMAGE)}) for of in thetas]
    rest = renamed(head, {k: k for k in head if not k.startswith(IMAGE)})
    return joined(rest, Combination(towers, coefficients))


def patching_coefficients(alphas: Sequence[float], tasks: int) -> list[float]:
    """Return (1 - sum alpha_t, alpha_1, alpha_2, ...).

    Args:
        alphas: one for each task, or one for every task; of three decimals.

    Raises:
        WiseftError: if there are neither one alpha nor as many as tasks.
    """
    given = list(alphas) * tasks if len(alphas) == 1 else list(alphas)
    if len(given) != tasks:
        raise WiseftError(f"{len(given)} alphas were given for {tasks} tasks; give one for each")
    # Of integers the sum is exact, as that of decimals is not.
    rest = 1000 - sum(round(1000 * value) for value in given)
    return [rest / 1000, *given]
