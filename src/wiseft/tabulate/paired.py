"""Paired tests on the same samples, and their correction for several datasets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

Floats = npt.NDArray[np.float64]


def mcnemar_exact(n_better: int, n_worse: int) -> float:
    """Return the two-sided exact p of McNemar's test.

    Args:
        n_better: samples that only the first model gets right.
        n_worse: samples that only the second model gets right.
    """
    discordant = n_better + n_worse
    return 1.0 if discordant == 0 else float(binomtest(n_better, discordant, 0.5).pvalue)


def bootstrap_p(draws: npt.ArrayLike) -> float:
    """Return the two-sided p of a difference of zero, by inverting the percentile interval.

    The smallest possible value is 2 / (resamples + 1): with 2,000 resamples, 0.001.

    Args:
        draws: bootstrap draws of the difference, shape (resamples,).
    """
    values = np.asarray(draws, dtype=float)
    smaller_tail = min(int((values <= 0).sum()), int((values >= 0).sum()))
    return min(1.0, 2 * (smaller_tail + 1) / (len(values) + 1))


def holm(p_values: npt.ArrayLike) -> Floats:
    """Return Holm's step-down adjusted p values, in the order given; shape (tests,)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted
