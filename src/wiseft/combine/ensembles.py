"""Ensembles of two or more classifiers from their logits, without another forward pass.

The ensemble in output space is `combine_logits`; here are its alternatives (paper Figure 13).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wiseft.base.alphas import format_alpha
from wiseft.combine.linear_combination import check_fits
from wiseft.errors import WiseftError


def softmax_ensemble(logits: Sequence[Tensor], coefficients: Sequence[float]) -> Tensor:
    """Return log sum_i c_i softmax(f_i): the logarithm of the mean of probabilities.

    Where one coefficient is 1 and the others are 0, the order of the classes is that of this
    classifier's logits (unless they are closer than 1e-14).

    Args:
        logits: tensors of one shape (samples, classes), one for each classifier; minus infinity
            for a class that is never predicted.
        coefficients: one for each classifier, at least 0, that sum to 1.

    Returns:
        fp64 (samples, classes). fp32 would make ties of fp32 logits that differ.

    Raises:
        WiseftError: if shapes or numbers of coefficients disagree, the coefficients are no
            weights, or a value is a NaN or plus infinity.
    """
    check_fits(logits, coefficients, "logits")
    if not all(c >= 0.0 for c in coefficients) or not math.isclose(sum(coefficients), 1.0):
        raise WiseftError(
            f"the coefficients {list(coefficients)} must be at least 0 and sum to 1, because "
            "probabilities are averaged"
        )
    for tensor in logits:
        if bool((tensor.isnan() | tensor.isposinf()).any()):
            raise WiseftError("logits hold a NaN or an infinity; they can't be combined")
    parts = [
        tensor.double().log_softmax(dim=-1) + math.log(coefficient)
        for tensor, coefficient in zip(logits, coefficients, strict=True)
        if coefficient > 0.0
    ]
    # Of a class that none predicts, logsumexp gives minus infinity as it should.
    return parts[0] if len(parts) == 1 else torch.logsumexp(torch.stack(parts), dim=0)


def random_ensemble(logits: tuple[Tensor, Tensor], numbers: Tensor, alpha: float | str) -> Tensor:
    """Return for every sample the logits of one of two classifiers (random interpolation).

    Each sample takes the second classifier with probability alpha, and does so exactly where its
    number is below alpha: so a sample that takes it at one alpha takes it at every larger one, at
    0 none does, and at 1 all do.

    Args:
        logits: two tensors (samples, classes), at alpha 0 and at alpha 1.
        numbers: fp64 (samples,) in [0, 1), one a sample, the same for every alpha; see `uniforms`.

    Raises:
        WiseftError: if the shapes do not fit or alpha is not one of three decimals in [0, 1].
    """
    first, second = logits
    if first.shape != second.shape or numbers.shape != first.shape[:1]:
        raise WiseftError(
            f"logits of shapes {tuple(first.shape)} and {tuple(second.shape)} do not go with "
            f"{tuple(numbers.shape)} random numbers; there must be one a sample"
        )
    chosen = numbers.to(first.device) < float(format_alpha(alpha))
    return torch.where(chosen[:, None], second, first)


def uniforms(seed: int, where: str, sample_ids: Sequence[str]) -> NDArray[np.float64]:
    """Return a number in [0, 1) for every sample, uniform and independent between samples.

    A number depends on the arguments alone, not on the other samples, on batches or on the
    version of a library.

    Args:
        where: what the ids are unique in, such as dataset and split.
    """
    start = hashlib.blake2b(f"{seed}\0{where}\0".encode(), digest_size=8)
    drawn = np.empty(len(sample_ids), dtype=np.float64)
    for index, sample_id in enumerate(sample_ids):
        of_sample = start.copy()
        of_sample.update(sample_id.encode())
        # The 53 bits that a float of this size holds.
        drawn[index] = (int.from_bytes(of_sample.digest(), "little") >> 11) * 2.0**-53
    return drawn
