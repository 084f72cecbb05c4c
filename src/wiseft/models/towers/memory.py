"""What an image takes of memory in a model, counted on fake tensors: shapes without bytes.

A forward pass, and one with its backward pass, run on tensors without storage; what is alive at any
time is added up as torch would allocate it. Two batches give what an image takes and leave out what
is there whatever the batch. Of attention the kernel is assumed that torch takes for a device:

- CUDA: memory-efficient in fp32, flash in fp16 and bf16, so that no matrix of tokens x tokens is
  ever in memory; without gradients in fp32 torch's own fused module, which does the same;
- CPU: flash; without gradients in fp32 that fused module, which holds such a matrix.

Held to what torch's profiler sees on a CPU; the kernels of CUDA are as torch documents them.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from wiseft.models import footprint as formulas
from wiseft.models import towers
from wiseft.models.batch_size import available_bytes
from wiseft.models.footprint import FLOAT, HALF, Footprint

_BATCHES = 32, 64
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_ATEN = torch.ops.aten
_ATTENTION = _ATEN._scaled_dot_product_flash_attention_for_cpu.default
"""What torch takes for attention on a CPU, where fake tensors are."""
_MODULE = _ATEN._native_multi_head_attention.default
_IN_PARTS = {_ATEN.linear.default, _ATEN.matmul.default}
"""Operations that arrive whole where one of these stands for another."""


def footprint(
    module: nn.Module,
    image_size: int,
    precision: str = "fp32",
    *,
    device_type: str = "cuda",
    tokens: int = 0,
) -> Footprint:
    """Count what an image takes in a model; nothing is computed and no image is needed.

    Args:
        module: on uint8 images (n, 3, S, S), such as `ImageClassifier`; it is left as it is. It may
            be without bytes.
        image_size: edge of the images in pixels.
        precision: `fp32`, or `bf16` and `fp16` by autocast.
        device_type: `cuda` or `cpu`: whose attention and autocast are assumed. Nothing runs there.
        tokens: of a prompt beside every image, where both towers are trained: the module is then
            also given int64 (n, tokens), as `TwoTowers` is.

    Raises:
        WiseftError: if a model does what can't be counted.
    """
    modes = {each: each.training for each in module.modules()}
    count = functools.partial(_count, module, image_size, tokens, precision, device_type)
    advice = "set training.how.micro_batch by hand"
    try:
        with towers.explained("the memory of the model can't be counted", advice):
            saved, of_training = count(training=True)
            peak, of_evaluation = count(training=False)
    finally:
        for each, training in modes.items():
            each.training = training
    parameters = sum(p.numel() for p in module.parameters())
    floats = parameters + sum(b.numel() for b in module.buffers() if b.is_floating_point())
    kernels = dict.fromkeys([*of_training, *of_evaluation])
    return Footprint(
        weights=FLOAT * floats,
        parameters=parameters,
        saved=saved,
        peak=peak,
        attention=", ".join(kernels) or None,
        cast=0 if precision == "fp32" else HALF * parameters,
        pixels=FLOAT * 3 * image_size**2,
    )


def images_that_fit(
    model: nn.Module, size: int, precision: str, device: torch.device, **of_weights: Any
) -> int | None:
    """Return the images of the largest pass that fits a device; None where nothing says its memory.

    Args:
        model: on uint8 images (n, 3, S, S).
        size: edge of an image in pixels.
        of_weights: `training`, `moments` and `copies` of `wiseft.models.footprint.images_that_fit`.
    """
    available = available_bytes(device)
    if available is None:
        return None
    kind = "cpu" if device.type == "cpu" else "cuda"
    with torch.compiler.set_stance("force_eager"):
        counted_as = precision if precision in _DTYPES else "fp32"
        counted = footprint(model, size, counted_as, device_type=kind)
    return formulas.images_that_fit(counted, available, **of_weights)


def _count(
    module: nn.Module, size: int, tokens: int, precision: str, device_type: str, *, training: bool
) -> tuple[int, list[str]]:
    """Return the bytes that an image adds to the largest sum of tensors alive, and the kernels."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    module.train(training)
    half, peaks = precision in _DTYPES, []
    # Fake tensors of CUDA need a torch with CUDA: what it does differently comes on top.
    on_cuda = half and device_type == "cuda"
    norms = _NormsInFp32() if on_cuda else contextlib.nullcontext()
    for batch in _BATCHES:
        with FakeTensorMode(allow_non_fake_inputs=True), torch.set_grad_enabled(training):
            tensors = _fakes(module, training)
            images = torch.empty(batch, 3, size, size, dtype=torch.uint8)
            prompts = [torch.zeros(batch, tokens, dtype=torch.int64)] if tokens else []
            with _Alive(device_type, half) as alive:
                with torch.autocast("cpu", dtype=_DTYPES.get(precision), enabled=half), norms:
                    output = functional_call(module, tensors, (images, *prompts))
                loss = sum(each.float().sum() for each in tree_leaves(output))
                if training:
                    loss.backward()
            peaks.append(alive.peak + images.untyped_storage().nbytes())
    return round((peaks[1] - peaks[0]) / (_BATCHES[1] - _BATCHES[0])), alive.kernels


class _NormsInFp32(TorchFunctionMode):
    """Casts what autocast computes in fp32 on CUDA, but not on a CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (functional.layer_norm, functional.group_norm):
            args = [each.float() if isinstance(each, Tensor) else each for each in args]
        return func(*args, **(kwargs or {}))


def _fakes(module: nn.Module, training: bool) -> dict[str, Tensor]:
    """Return parameters and buffers without bytes."""
    parameters = {
        name: torch.empty_like(each, device="cpu", requires_grad=training and each.requires_grad)
        for name, each in module.named_parameters()
    }
    return parameters | {
        name: torch.empty_like(each, device="cpu") for name, each in module.named_buffers()
    }


class _Alive(TorchDispatchMode):
    """Adds up the bytes of tensors that operations made and somebody holds.

    In place of the attention of a CPU it has that of a device.

    Attributes:
        peak: the largest sum.
        kernels: names of the attention kernels that were needed, as often as they were.
    """

    def __init__(self, device_type: str, half: bool) -> None:
        super().__init__()
        self.peak = self._now = 0
        self.kernels: list[str] = []
        self._cuda, self._half = device_type == "cuda", half
        self._known: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is _MODULE:
            with self:
                return self._module(*args)
        if func in _IN_PARTS:
            with self:
                return func.decompose(*args, **kwargs)
        made = (self._attention if func is _ATTENTION else func)(*args, **kwargs)
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return made

    def _add(self, storage: Any) -> None:
        if storage in self._known:  # a view, or written in place
            return
        self._known[storage] = None
        self._change(storage.nbytes())
        weakref.finalize(storage, self._change, -storage.nbytes())

    def _change(self, size: int) -> None:
        self._now += size
        self.peak = max(self.peak, self._now)

    def _module(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        width: int,
        heads: int,
        weight: Tensor,
        bias: Tensor,
        out_weight: Tensor,
        out_bias: Tensor,
        mask: Tensor | None = None,
        *_: Any,
    ) -> tuple[Tensor, None]:
        """Allocate what torch's own fused module does, for (n, length, width)."""

        def of_heads(joined: Tensor) -> list[Tensor]:
            return [each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in joined.chunk(3, -1)]

        qkv = functional.linear(query, weight, bias)
        if self._cuda:
            q, k, v = of_heads(qkv)
            made = _ATTENTION(q, k, v, attn_mask=mask)[0]
        else:
            self.kernels.append("a fused module with the matrix of tokens x tokens")
            q, k, v = of_heads(qkv + bias)  # scaled, in another order
            del qkv
            scores = torch.matmul(q, k.transpose(-1, -2)).softmax(-1)
            made = torch.matmul(scores, v)
            del scores
        return functional.linear(made.transpose(1, 2).flatten(2), out_weight, out_bias), None

    def _attention(
        self, *given: Any, attn_mask: Tensor | None = None, scale: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Allocate what attention and its log-sums take; their gradients are as on a CPU."""
        qkv, of_dropout = given[:3], given[3:]
        if not self._cuda:
            self.kernels.append("flash on a CPU")
            made = _ATTENTION(*given, attn_mask=attn_mask, scale=scale)
        elif self._half and attn_mask is None:
            self.kernels.append("flash")
            made = _ATEN._scaled_dot_product_flash_attention(*given, scale=scale)
        else:
            self.kernels.append("memory-efficient")
            kernel, log_sums = (
                _ATEN._scaled_dot_product_efficient_attention,
                torch.is_grad_enabled(),
            )
            made = kernel(*qkv, attn_mask, log_sums, *of_dropout, scale=scale)
        return made[0], made[1]
