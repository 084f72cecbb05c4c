"""Stored logits: `logits.safetensors` beside the predictions, for ensembles without another pass.

Tensors are fp16 (samples, the head's classes), named `weight/<alpha>` or, where weights were not
combined, `output/<alpha>`; rows are in the order of the predictions. The logits of the two ends,
where both are the same, are all that ensembles in the space of outputs need.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wiseft.errors import WiseftError
from wiseft.evaluate.sweep import WEIGHT
from wiseft.tensor_file import (
    FORMAT,
    TENSORS_SUM,
    StoredTensors,
    TensorWriter,
    read_file_header,
    tensor_writer,
)

NAME = "logits.safetensors"
KIND = "logits"


class LogitsWriter:
    """Takes logits chunk by chunk; without a file it takes none.

    Attributes:
        alphas: those that are stored.
        combination: the one that is stored.
    """

    def __init__(
        self,
        alphas: Sequence[str],
        combination: str = WEIGHT,
        file: TensorWriter | None = None,
    ):
        self.alphas = list(alphas)
        self.combination = combination
        self._file = file

    def put(self, combination: str, alpha: str, logits: Tensor, start: int) -> None:
        """Store the logits (n, classes) of the samples from `start` on, where they are wanted.

        Raises:
            WiseftError: if a logit is beyond what fp16 holds.
        """
        if self._file is None or combination != self.combination or alpha not in self.alphas:
            return
        half = logits.to(torch.float16)
        if bool((half.isinf() & logits.isfinite()).any()):
            raise WiseftError(
                f"a logit is beyond the {torch.finfo(torch.float16).max:g} that fp16 holds; leave "
                "out --logits"
            )
        self._file.write(f"{combination}/{alpha}", half, start)


@contextlib.contextmanager
def logits_writer(
    path: Path,
    shape: tuple[int, int],
    alphas: Sequence[str],
    evaluation: Mapping[str, Any],
    combination: str = WEIGHT,
) -> Iterator[LogitsWriter]:
    """Yield a writer of the logits at some alphas; without alphas there is no file.

    Args:
        shape: samples and classes.
        evaluation: what the logits are of: `dataset` and `identity`.
        combination: the one that is stored.
    """
    if not alphas:
        yield LogitsWriter([])
        return
    example = torch.empty(shape, dtype=torch.float16, device="meta")
    shapes = {f"{combination}/{alpha}": example for alpha in alphas}
    with tensor_writer(path, shapes, {"kind": KIND, **evaluation}) as file:
        yield LogitsWriter(alphas, combination, file)


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
