"""Confidence intervals of single numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv  # its quantile of beta; `scipy.stats` takes half a second

from wiseft.tabulate.schema import CLOPPER_PEARSON as CLOPPER_PEARSON
from wiseft.tabulate.schema import CLUSTER_BOOTSTRAP as CLUSTER_BOOTSTRAP
from wiseft.tabulate.schema import CONDITIONAL as CONDITIONAL

LEVEL = 0.95
TOO_FEW = "too-few-clusters"
"""There is no interval: what a handful of clusters varies says little about others."""
FEWEST_CLUSTERS = 10
Floats = npt.NDArray[np.float64]


def clopper_pearson(
    n_correct: npt.ArrayLike, n: npt.ArrayLike, level: float = LEVEL
) -> tuple[Floats, Floats]:
    """Return the exact binomial interval of accuracies (paper, section 2), vectorised.

    Equal to `scipy.stats.binomtest(n_correct, n).proportion_ci(level, "exact")`.

    Args:
        n_correct: counts of right predictions, any shape.
        n: counts of samples (> 0), of a shape that broadcasts.
    """
    k, total = np.broadcast_arrays(np.asarray(n_correct, dtype=float), np.asarray(n, dtype=float))
    tail = (1 - level) / 2
    # The beta quantile is undefined at the two ends, where the interval touches 0 or 1.
    low = np.where(k == 0, 0.0, betaincinv(np.maximum(k, 0.5), total - k + 1, tail))
    high = np.where(k == total, 1.0, betaincinv(k + 1, np.maximum(total - k, 0.5), 1 - tail))
    return low, high


class Interval(NamedTuple):
    """Both ends, and the method that found them (`ci_method` of the table)."""

    low: float
    high: float
    method: str


def percentile_interval(draws: Floats) -> tuple[Floats, Floats]:
    """Return the 95 % percentile interval over the first axis of bootstrap draws."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return np.asarray(low), np.asarray(high)
