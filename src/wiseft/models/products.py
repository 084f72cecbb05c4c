"""Products of fp32 matrices on a CPU by oneDNN, where torch takes MKL and MKL is slow.

torch brings both libraries and multiplies by MKL, which is made for Intel's CPUs. On an AMD EPYC
with AVX-512, MKL 2024.2 reaches 90 GFLOP/s a core and oneDNN 3.12 215. Results differ by rounding,
so stages whose numbers are compared with stored ones stay with torch's choice.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from wiseft.base.provenance import cpu

_LEAST_SIDE = 256
"""Products with a smaller matrix stay as they are: they gain nothing."""
_aten = torch.ops.aten


@functools.cache
def onednn_is_faster() -> bool:
    """Whether this CPU is of the kind on which oneDNN was measured to be twice as fast as MKL.

    It is decided by the kind, not by a measurement, so that a machine rounds in one way always.
    """
    measured = "AMD" in cpu() and torch.backends.cpu.get_cpu_capability() == "AVX512"
    return measured and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@contextlib.contextmanager
def fast_products(device: torch.device) -> Iterator[None]:
    """Within this context large products of forward passes in fp32 take the faster library.

    Nothing changes on a GPU, and on a CPU whose faster library torch takes by itself.
    """
    if device.type != "cpu" or not onednn_is_faster():
        yield
        return
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # in it products are out of reach
    try:
        with _OneDnn():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


class _OneDnn(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not kwargs and (found := _factors(func, args)):
            return torch.ops.mkldnn._linear_pointwise(*found, "none", [], "")
        return func(*args, **(kwargs or {}))


def _factors(func: Any, args: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """Return input, weight and bias of a product that oneDNN takes; None of all else."""
    if func is _aten.linear.default:
        inputs, weight, bias = (*args, None)[:3]
    elif func in (_aten.addmm.default, _aten.mm.default):
        bias, inputs, weight = (None, *args)[-3:]
        weight = weight.t()
    else:
        return None
    large = weight.dim() == 2 and weight.is_contiguous() and min(weight.shape) >= _LEAST_SIDE
    fits = large and inputs.dtype == weight.dtype == torch.float32
    return (inputs, weight, bias) if fits and (bias is None or bias.dim() == 1) else None
