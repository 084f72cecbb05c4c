"""Quantised checkpoints, whose stored numbers are no weights before they are scaled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from wiseft.errors import WiseftError

_PACKED = (torch.int8, torch.uint8, torch.int16, torch.int32)
_CONFIGS = ("quantization_config", "compression_config")


def check_not_quantised(
    path: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]
) -> None:
    """Refuse weights in fp8, or packed in integers (GPTQ, AWQ, bitsandbytes).

    Args:
        tensors: with or without values.
        config: of the folder; empty for a file.

    Raises:
        WiseftError: naming what shows it, and the way out.
    """
    for key in _CONFIGS:
        if config.get(key):
            refuse_quantised(path, f"{key} in its configuration")
    for name, tensor in tensors.items():
        packed = tensor.dtype in _PACKED and tensor.ndim > 1 and "weight" in name
        small = tensor.dtype.is_floating_point and tensor.dtype.itemsize == 1
        if packed or small:
            refuse_quantised(path, f"{name} is {str(tensor.dtype).removeprefix('torch.')}")


def refuse_quantised(path: Path, what: str) -> NoReturn:
    """Refuse a quantised checkpoint.

    Args:
        what: shows that it is quantised.
    """
    raise WiseftError(
        f"{path} is quantised ({what}), and its stored numbers cannot be averaged or loaded as "
        "weights; load it with its own library, dequantise it (in transformers: "
        "`model.dequantize()`), and save it in bf16 or fp32"
    )
