"""Random subsets of images, which are the same wherever they are drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wiseft.errors import WiseftError

_STREAM = 0
"""Of random numbers; training has the following ones (`wiseft.study.finetune.sampling`)."""


def draw_subset(n: int, size: int | None, seed: int) -> NDArray[np.int64]:
    """Return the sorted indices of a subset, drawn uniformly without replacement.

    The draw is not stratified: like any sample of labelled data it has the class frequencies of
    the whole only on average.

    Args:
        n: samples of the split.
        size: samples to draw; None for all.
        seed: of the run.

    Raises:
        WiseftError: if there are fewer samples than are asked for.
    """
    if size is None:
        return np.arange(n, dtype=np.int64)
    if size > n:
        raise WiseftError(
            f"train_samples is {size}, but the train split has {n}; lower it or set it to null"
        )
    chosen = np.random.default_rng([_STREAM, seed]).choice(n, size, replace=False)
    return np.sort(chosen).astype(np.int64)


def draw_indices(total: int, n: int, seed: int) -> NDArray[np.int64]:
    """Draw ``n`` of ``total`` indices without replacement, sorted.

    Raises:
        WiseftError: fewer than ``n`` are there.
    """
    if n > total:
        raise WiseftError(f"expected at least {n} images to draw from, found {total}.")
    return np.sort(np.random.default_rng(seed).choice(total, n, replace=False)).astype(np.int64)
