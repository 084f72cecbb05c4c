"""Interpolation into a live model, for a sweep over alpha."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor

from wiseft.base.alphas import format_alpha
from wiseft.combine.linear_combination import check_finite, ends, interpolate
from wiseft.errors import WiseftError
from wiseft.models.classifier import ImageClassifier, classifier_tensors
from wiseft.models.towers import TEXT
from wiseft.thetas.theta import ThetaHeader, check_same_tensors
from wiseft.zeroshot.text_head import HeadBuilder, has_text


class Interpolator:
    """Writes (1 - alpha) theta_0 + alpha theta_1 into the parameters of one resident model.

    Memory is three copies of the weights: the two ends and the model, all on the model's
    device and in its memory format. The result equals `interpolate` bit for bit.

    Where the thetas have a text tower, the head in between is built from the interpolated one,
    once for each alpha.

    Args:
        header: of one of the thetas; needed where they have a text tower.

    Raises:
        WiseftError: if names or shapes differ, or a tensor or a difference is not finite.
    """

    def __init__(
        self,
        model: ImageClassifier,
        theta_0: Mapping[str, Tensor],
        theta_1: Mapping[str, Tensor],
        header: ThetaHeader | None = None,
    ):
        check_same_tensors(theta_0, theta_1)
        self._head = model.head
        self._head_at: Callable[[str], dict[str, Tensor]] | None = None
        if has_text(theta_0):
            if header is None:
                raise WiseftError(
                    "thetas with a text tower need a header: their heads are built anew"
                )
            builder = HeadBuilder(header, theta_0, model.head.weight.device)
            self._head_at = cache(lambda alpha: builder.head(interpolate(theta_0, theta_1, alpha)))
        live = classifier_tensors(model)
        check_same_tensors(live, {k: v for k, v in theta_0.items() if not k.startswith(TEXT)})
        for name in live:
            check_finite(theta_0[name], f"tensor {name} of theta_0")
            check_finite(theta_1[name], f"tensor {name} of theta_1")
        self._live = list(live.values())
        self._start = [_like(tensor, theta_0[name]) for name, tensor in live.items()]
        self._end = [_like(tensor, theta_1[name]) for name, tensor in live.items()]
        for name, start, end in zip(live, self._start, self._end, strict=True):
            # Where the difference is finite, so is every value between the ends.
            check_finite(end - start, f"the difference of the ends in tensor {name}")

    @torch.no_grad()
    def set(self, alpha: float | str) -> None:
        """Set the weights of the model; at 0 and 1 they are copies of the ends.

        Raises:
            WiseftError: if alpha is not one of three decimals in [0, 1].
        """
        weight = ends(alpha)[1]
        if weight in (0.0, 1.0):
            source = self._end if weight else self._start
            for live, tensor in zip(self._live, source, strict=True):
                live.copy_(tensor)
            return
        # One pass over memory and no temporary; the foreach functions of torch need two.
        for live, start, end in zip(self._live, self._start, self._end, strict=True):
            torch.lerp(start, end, weight, out=live)
        if self._head_at is not None:
            head = self._head_at(format_alpha(alpha))
            self._head.weight.copy_(head["head.weight"])
            self._head.bias.copy_(head["head.bias"])


def _like(live: Tensor, tensor: Tensor) -> Tensor:
    """Return the tensor in the layout of `live`; no copy is made where it has it already."""
    there = (live.dtype, live.device, live.stride())
    if (tensor.dtype, tensor.device, tensor.stride()) == there:
        return tensor
    return torch.empty_like(live).copy_(tensor)
