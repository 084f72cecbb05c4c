"""Arithmetic of forward passes: fp32, TensorFloat-32, or bf16 and fp16 by autocast."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Iterator
from typing import Any

import torch

from wiseft.errors import WiseftError

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = ("fp32", *_HALF, "tf32")

log = logging.getLogger(__name__)


class Arithmetic:
    """What a model computes in; its weights are fp32 always.

    Args:
        name: one of `PRECISIONS`. `tf32` is fp32 whose products are TensorFloat-32 on a GPU.
        device: that the model is on.

    Raises:
        WiseftError: if there is no such arithmetic, or the device has it not.
    """

    def __init__(self, name: str, device: torch.device):
        if name not in PRECISIONS:
            raise WiseftError(f"precision is {name}, but must be one of {', '.join(PRECISIONS)}")
        self.name = name
        self._device = device.type
        if name in _HALF and device.type == "cpu":
            _say_if_slow(name, torch.get_num_threads())
        if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise WiseftError(
                f"precision is bf16, but {torch.cuda.get_device_name(device)} has no bf16; use "
                "fp16 or fp32"
            )

    def __str__(self) -> str:
        on_gpu = self._device == "cuda" and self.name == "fp32"
        return f"{self.name}{', TensorFloat-32 off' if on_gpu else ''}"

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context of a forward pass; nothing changes in fp32."""
        if self.name not in _HALF:
            return contextlib.nullcontext()
        return torch.autocast(self._device, dtype=_HALF[self.name])

    @contextlib.contextmanager
    def kernels(self, deterministic: bool) -> Iterator[None]:
        """Within this context fp32 on a GPU is fp32, not TensorFloat-32, unless that is asked for.

        In bf16 and fp16 convolutions that autocast leaves in fp32 are TensorFloat-32.
        """
        flags = torch.backends.cudnn.flags(
            enabled=True,
            benchmark=False,
            deterministic=deterministic,
            allow_tf32=self.name != "fp32",
        )
        matmul = torch.backends.cuda.matmul
        before, matmul.allow_tf32 = matmul.allow_tf32, self.name == "tf32"
        try:
            with flags:
                yield
        finally:
            matmul.allow_tf32 = before


def settled(name: str, device: torch.device) -> str:
    """Return a precision as it is, and for `auto` bf16 where it is faster than fp32, else fp32."""
    if name != "auto":
        return name
    faster = device.type == "cuda" and torch.cuda.is_bf16_supported()
    faster |= device.type == "cpu" and slowdown("bf16", torch.get_num_threads()) < 1
    chosen = "bf16" if faster else "fp32"
    log.info(f"precision auto is {chosen} here: bf16 is {'' if faster else 'not '}faster than fp32")
    return chosen


@functools.cache
def _say_if_slow(name: str, threads: int) -> None:
    if (times := slowdown(name, threads)) >= 1:
        log.info(
            f"{name} takes {times:.1f} times as long as fp32 on this CPU, which does not compute "
            "in it; fp32 is faster and more exact"
        )


@functools.cache
def slowdown(name: str, threads: int) -> float:
    """Return how many times as long as in fp32 a product takes on this CPU, by a probe of less than
    a second.

    Args:
        name: `bf16` or `fp16`.
        threads: that torch has now.
    """

    def seconds(kind: torch.dtype) -> float:
        inputs, weight = torch.ones(256, 768, dtype=kind), torch.ones(768, 768, dtype=kind)
        start = time.perf_counter()
        torch.nn.functional.linear(inputs, weight)
        return time.perf_counter() - start

    half, full = (min(seconds(kind) for _ in range(5)) for kind in (_HALF[name], torch.float32))
    return half / full
