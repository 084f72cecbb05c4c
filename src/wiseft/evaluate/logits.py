"""Stored logits: `logits.safetensors` beside the predictions, for ensembles without another pass.

Tensors are fp16 (samples, the head's classes), named `weight/<alpha>` or, where weights were not
combined, `output/<alpha>`; rows are in the order of the predictions. The logits of the two ends,
where both are the same, are all that ensembles in the space of outputs need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wiseft.errors import WiseftError
from wiseft.thetas.partial_tensors import PartialTensors
from wiseft.thetas.tensor_file import (
    FORMAT,
    TENSORS_SUM,
    StoredTensors,
    read_file_header,
    tensor_writer,
)

NAME = "logits.safetensors"
KIND = "logits"


BLOCK = 1024
"""Rows that are copied at once."""


def logits_shapes(
    alphas: Sequence[str], combination: str, shape: tuple[int, int]
) -> dict[str, Tensor]:
    """Return an example of each tensor, by name.

    Args:
        shape: samples and classes.
    """
    example = torch.empty(shape, dtype=torch.float16, device="meta")
    return {f"{combination}/{alpha}": example for alpha in alphas}


def as_stored(logits: Tensor) -> Tensor:
    """Return logits as fp16; raise WiseftError if one is beyond what that holds."""
    half = logits.to(torch.float16)
    if bool((half.isinf() & logits.isfinite()).any()):
        raise WiseftError(
            f"a logit is beyond the {torch.finfo(torch.float16).max:g} that fp16 holds; leave "
            "out --logits"
        )
    return half


def write_logits(
    path: Path, shapes: Mapping[str, Tensor], evaluation: Mapping[str, Any], partial: PartialTensors
) -> None:
    """Write the logits that an evaluation has put together.

    Args:
        shapes: as `logits_shapes` returns them.
        evaluation: what the logits are of: `dataset` and `identity`.
    """
    with tensor_writer(path, shapes, {"kind": KIND, **evaluation}) as file:
        for name, like in shapes.items():
            for start in range(0, len(like), BLOCK):
                file.write(name, partial.read(name, start, start + BLOCK), start)


def stored_alphas(path: Path, evaluation: Mapping[str, Any]) -> list[str]:
    """Return the alphas whose logits are there already, of the same weights and samples."""
    try:
        header = read_file_header(path, "logits")
        known = {"format": FORMAT, "kind": KIND, TENSORS_SUM: header[TENSORS_SUM]}
        if header != {**known, **evaluation}:
            return []
        return [name.partition("/")[2] for name in StoredTensors(path)]
    except WiseftError:
        return []
