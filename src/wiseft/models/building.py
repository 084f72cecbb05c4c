"""Building a model from a description that nobody vouches for, for weights that replace its own."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from wiseft.errors import WiseftError

_LARGEST_NUMBER, _LARGEST_EDGE = 2**24, 2**13
_QUADRATIC = {"image_size", "img_size", "context_length"}
"""Of a description: numbers whose square is allocated."""
_SPARE_TENSORS, _SPARE_PARAMETERS = 1000, 2**29
"""What a model may have beside four times the weights that it is built for: only one of its towers
may be among them."""
_DRAWS = {"uniform_", "normal_", "trunc_normal_", "erfinv_"}
_DRAWS |= {f"{name}_{draw}" for name in ("kaiming", "xavier") for draw in ("uniform_", "normal_")}


class _NothingDrawn(TorchFunctionMode):
    """Leaves fresh parameters unwritten, which weights take the place of: to draw those of a
    ViT-B-32 takes a second.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (name := getattr(func, "__name__", "")) in _DRAWS:
            drawn = args[0] if args else kwargs["tensor"]
            if name == "normal_" and not isinstance(drawn, nn.Parameter):
                drawn.fill_(args[1] if args[1:] else 0.0)  # what trunc_normal_ draws until it fits
            return drawn
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def for_weights(
    architecture: Mapping[str, Any], weights: Mapping[str, Tensor] | None
) -> Iterator[None]:
    """Build a model for weights, its own unwritten; stop where it becomes far larger than they are.

    A description is from a file, and one number in it can ask for more layers than memory holds.

    Args:
        architecture: that is built.
        weights: that the model is to take; None: it is trained from random ones.

    Raises:
        WiseftError: the description has a number that no model has, the model is too large, or
            nothing can be built from it.
    """
    known = (weights or {}).values()
    tensors = math.inf if weights is None else 4 * len(known) + _SPARE_TENSORS
    parameters = (
        math.inf if weights is None else 4 * sum(map(torch.numel, known)) + _SPARE_PARAMETERS
    )

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal tensors, parameters
        tensors -= 1
        parameters -= 0 if parameter is None else parameter.numel()
        if tensors < 0 or parameters < 0:
            raise WiseftError(
                f"the architecture is of a far larger model than the {len(known)} tensors that it "
                "is given with; one of the two is not what it was"
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        with explained("the architecture cannot be built", "compare it with one of its family"):
            _refuse_numbers(architecture)
            with contextlib.nullcontext() if weights is None else _NothingDrawn():
                yield
    finally:
        hook.remove()


def _refuse_numbers(description: Any, key: str = "architecture") -> None:
    if isinstance(description, Mapping):
        for name, value in description.items():
            _refuse_numbers(value, str(name))
    elif isinstance(description, list):
        for value in description:
            _refuse_numbers(value, key)
    elif isinstance(description, int):
        largest = _LARGEST_EDGE if key in _QUADRATIC else _LARGEST_NUMBER
        if abs(description) > largest:
            raise WiseftError(
                f"the architecture has {key} {str(description)[:20]}, which no model has; at most "
                f"{largest} is built"
            )


@contextlib.contextmanager
def explained(what: str, advice: str) -> Iterator[None]:
    """Turn an error of a library, of which there are many kinds, into a sentence."""
    try:
        yield
    except WiseftError:
        raise
    except Exception as error:
        raise WiseftError(f"{what}: {type(error).__name__}: {error}; {advice}") from error
