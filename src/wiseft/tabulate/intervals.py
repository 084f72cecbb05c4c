"""Confidence intervals of single numbers, and paired tests with their correction for several."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import betaincinv  # its quantile of beta; `scipy.stats` takes half a second

from wiseft.base.metrics import ACCURACY, ALL_FRAMES
from wiseft.tabulate.schema import CLOPPER_PEARSON

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
    """Both ends, and the method that found them, as columns of the table."""

    ci_low: float
    ci_high: float
    ci_method: str


def exact_interval(n_correct: int, n: int) -> Interval:
    """Return Clopper-Pearson's interval of one accuracy."""
    low, high = clopper_pearson(n_correct, n)
    return Interval(float(low), float(high), CLOPPER_PEARSON)


def percentile_interval(draws: Floats) -> tuple[Floats, Floats]:
    """Return the 95 % percentile interval over the first axis of bootstrap draws."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return np.asarray(low), np.asarray(high)


def mcnemar_exact(n_better: int, n_worse: int) -> float:
    """Return the two-sided exact p of McNemar's test.

    Args:
        n_better: samples that only the first model gets right.
        n_worse: samples that only the second model gets right.
    """
    from scipy.stats import binomtest  # half a second, which a score does not take

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


class Paired(NamedTuple):
    """A difference of two accuracies on the same images: the second model's minus the first's."""

    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    n_better: int
    n_worse: int


def paired(
    first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_], resamples: int = 10_000
) -> Paired:
    """Compare two models on independent images: percentile bootstrap and McNemar's exact test.

    A resample of images is, of their three outcomes, a multinomial draw.

    Args:
        first: which images the first model gets right, (n,).
        second: likewise.
    """
    n, better, worse = len(first), int((second & ~first).sum()), int((first & ~second).sum())
    shares = np.array([better, worse, n - better - worse]) / n
    draws = np.random.default_rng(0).multinomial(n, shares, resamples)
    low, high = percentile_interval((draws[:, 0] - draws[:, 1]) / n)
    p = mcnemar_exact(better, worse)
    return Paired((better - worse) / n, float(low), float(high), p, better, worse)


def with_intervals(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows in which published shares of known samples have an interval.

    It is Clopper and Pearson's of the value as printed, i.e. of a rounded count.
    """
    shares = rows["metric"].isin([ACCURACY, ALL_FRAMES])
    blank = rows["ci_low"].isna() & (rows["ci_method"] == "") & rows["n"].notna() & shares
    if not blank.any():
        return rows
    rows = rows.copy()
    n = rows.loc[blank, "n"].to_numpy(float)
    low, high = clopper_pearson((rows.loc[blank, "value"].to_numpy(float) * n).round(), n)
    rows.loc[blank, "ci_low"], rows.loc[blank, "ci_high"] = low, high
    return rows
