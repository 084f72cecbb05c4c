"""Quantised checkpoints, whose stored numbers are no weights before they are scaled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wiseft.errors import WiseftError, some

_PACKED = (torch.int8, torch.uint8, torch.int16, torch.int32)
_CONFIGS = ("quantization_config", "compression_config")


def check_not_quantised(
    path: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]
) -> None:
    """Refuse weights that torch quantised, in fp8, or packed in integers (GPTQ, bitsandbytes).

    Args:
        tensors: with or without values.
        config: of the folder; empty for a file.

    Raises:
        WiseftError: naming what shows it, and the way out.
    """
    odd = [key for key in _CONFIGS if config.get(key)]
    odd += [name for name, tensor in tensors.items() if _is_quantised(name, tensor)]
    if odd:
        raise WiseftError(
            f"{path} is quantised ({some(odd)}), and its numbers are no weights; load it with its "
            "own library, dequantise it (in transformers: `model.dequantize()`), and save that"
        )


def _is_quantised(name: str, tensor: Tensor) -> bool:
    packed = tensor.dtype in _PACKED and tensor.ndim > 1 and "weight" in name
    small = tensor.dtype.is_floating_point and tensor.dtype.itemsize == 1
    return packed or small or tensor.is_quantized
