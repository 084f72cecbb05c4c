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
from functools import cached_property

from torch import Tensor

from wiseft.alphas import format_alpha
from wiseft.combine.linear import Combination
from wiseft.errors import WiseftError
from wiseft.tensor_file import LazyTensors, examples
from wiseft.towers import IMAGE


class Patched(LazyTensors):
    """A patched theta, each tensor computed when it is asked for and not kept.

    Args:
        theta_0: what all tasks were fine-tuned from.
        tasks: a fine-tuned theta for each task.
        alpha: of every task, or one for each.
        head: the theta whose head the result has.

    Raises:
        WiseftError: if there is no task, alphas are malformed or not one a task, or the image
            towers are of different architectures.
    """

    def __init__(
        self,
        theta_0: Mapping[str, Tensor],
        tasks: Sequence[Mapping[str, Tensor]],
        alpha: float | str | Sequence[float | str],
        head: Mapping[str, Tensor],
    ):
        images = [_Part(theta, IMAGE) for theta in (theta_0, *tasks)]
        self._image = Combination(images, patching_coefficients(alpha, len(tasks)))
        self._head = head

    def __getitem__(self, name: str) -> Tensor:
        return self._image[name] if name in self._image else self._head[name]

    @cached_property
    def shapes(self) -> Mapping[str, Tensor]:
        """An example of every tensor."""
        others = {k: v for k, v in examples(self._head).items() if not k.startswith(IMAGE)}
        return {**self._image.shapes, **others}


def patch(
    theta_0: Mapping[str, Tensor],
    tasks: Sequence[Mapping[str, Tensor]],
    alpha: float | str | Sequence[float | str],
    head: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return a patched theta in memory; its head is theta_0's where no other is given.

    Args and errors are those of `Patched`.
    """
    return dict(Patched(theta_0, tasks, alpha, theta_0 if head is None else head))


def patching_coefficients(
    alpha: float | str | Sequence[float | str], tasks: int
) -> tuple[float, ...]:
    """Return (1 - sum alpha_t, alpha_1, alpha_2, ...).

    Args:
        alpha: of every task, or one for each.

    Raises:
        WiseftError: if there is no task, or alphas are malformed or not one a task.
    """
    if tasks < 1:
        raise WiseftError("there is nothing to patch with: give theta_0 and a theta for each task")
    given = [alpha] * tasks if isinstance(alpha, float | int | str) else list(alpha)
    if len(given) != tasks:
        raise WiseftError(f"{len(given)} alphas were given for {tasks} tasks; give one for each")
    alphas = [float(format_alpha(value)) for value in given]
    # Of integers the sum is exact, as that of decimals is not.
    rest = 1000 - sum(round(1000 * value) for value in alphas)
    return rest / 1000, *alphas


class _Part(LazyTensors):
    """The tensors whose names begin with a prefix."""

    def __init__(self, tensors: Mapping[str, Tensor], prefix: str):
        self._tensors = tensors
        self._shapes = {k: v for k, v in examples(tensors).items() if k.startswith(prefix)}

    @property
    def shapes(self) -> Mapping[str, Tensor]:
        """An example of every tensor."""
        return self._shapes

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._shapes:
            raise KeyError(name)
        return self._tensors[name]
