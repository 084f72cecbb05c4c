"""Measures of how differently two classifiers see the same samples (paper, appendix E; section 5).

Formulas are the paper's. Where it leaves something open, the docstring says what is done here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]
Bools = NDArray[np.bool_]

CKA_SAMPLES = 10_000
"""More samples than these are drawn down to so many for CKA, as in the paper."""
_ROWS = 4096
"""Samples whose probabilities are held at once."""


class Share(NamedTuple):
    """`n_correct` of `n` samples; the paper's shares are counts, so that they have intervals."""

    n_correct: int
    n: int

    @property
    def value(self) -> float:
        """The share as a fraction; NaN of no sample."""
        return self.n_correct / self.n if self.n else float("nan")


def prediction_diversity(right_f: Bools, right_g: Bools) -> Share:
    """Return the share of samples that exactly one classifier gets right (PD).

    Args:
        right_f, right_g: bool (n,), whether each prediction is right.
    """
    return Share(int((right_f != right_g).sum()), len(right_f))


def kappa_complement(predicted_f: Integers, predicted_g: Integers) -> float:
    """Return (1 - p_o) / (1 - p_e), the complement of Cohen's kappa (CC).

    p_o is the share of equal predictions and p_e = sum_c n_f,c n_g,c / n^2 the one to expect of
    independent predictions with the same counts. It is NaN where both predict one and the same
    class throughout: then p_e is 1 and nothing is known.

    Args:
        predicted_f, predicted_g: classes (n,), at least 0.
    """
    n = len(predicted_f)
    top = int(max(predicted_f.max(), predicted_g.max())) + 1
    counts_f, counts_g = (np.bincount(p, minlength=top) for p in (predicted_f, predicted_g))
    by_chance = float(counts_f.astype(float) @ counts_g) / n**2
    disagreement = float((predicted_f != predicted_g).mean())
    return disagreement / (1 - by_chance) if by_chance < 1 else float("nan")


def kl_divergence(logits_f: Floats, logits_g: Floats) -> float:
    """Return KL(p_f || p_g) in nats, averaged over the samples; p is the softmax of the logits.

    Args:
        logits_f, logits_g: (n, classes); minus infinity where a class is never predicted.

    Returns:
        Infinity where g excludes a class that f does not.
    """
    total = 0.0
    for start in range(0, len(logits_f), _ROWS):
        here = slice(start, start + _ROWS)
        log_f, log_g = _log_softmax(logits_f[here]), _log_softmax(logits_g[here])
        # Of a class that f never predicts, p log p is 0, its limit.
        possible = np.isfinite(log_f)
        difference = np.subtract(log_f, log_g, out=np.zeros_like(log_f), where=possible)
        total += float((np.exp(log_f) * difference).sum())
    return total / len(logits_f)


def cka_complement(logits_f: Floats, logits_g: Floats, seed: int = 0) -> float:
    """Return 1 - ||S_g' S_f||^2 / (||S_f' S_f|| ||S_g' S_g||), the complement of linear CKA (CKAC).

    Norms are Frobenius'. S are the logits with the mean of every column subtracted: the paper says
    features, but its two classifiers share theirs. Of more than `CKA_SAMPLES` samples so many are
    drawn. Classes that a classifier never predicts are left out of its own.

    Args:
        logits_f, logits_g: (n, classes), which may differ in their classes.
        seed: of the draw.

    Returns:
        NaN where a classifier's logits do not vary at all.
    """
    n = len(logits_f)
    if n > CKA_SAMPLES:
        chosen = np.sort(np.random.default_rng(seed).choice(n, CKA_SAMPLES, replace=False))
        logits_f, logits_g = logits_f[chosen], logits_g[chosen]
    f, g = (_centred(logits) for logits in (logits_f, logits_g))
    own = float(np.linalg.norm(f.T @ f) * np.linalg.norm(g.T @ g))
    return 1 - float(np.linalg.norm(g.T @ f)) ** 2 / own if own > 0 else float("nan")


def overrides(
    predicted_f: Integers, predicted_g: Integers, predicted_both: Integers
) -> tuple[Share, Share]:
    """Return how often f overrides g in their ensemble, and how often g overrides f.

    f overrides g where the two disagree and the ensemble predicts as f does. Shares are of the
    samples on which they disagree; the paper's axis (0.4 to 0.5) says so, its text does not. They
    need not add up to 1, because the ensemble may predict a third class.

    Args:
        predicted_f, predicted_g, predicted_both: classes (n,); the last one of the ensemble.
    """
    disagree = predicted_f != predicted_g
    n = int(disagree.sum())
    as_f, as_g = (int((disagree & (predicted_both == p)).sum()) for p in (predicted_f, predicted_g))
    return Share(as_f, n), Share(as_g, n)


def margin(largest: Floats, second: Floats) -> float:
    """Return the mean difference between the largest and the second largest logit (delta).

    Args:
        largest, second: (n,), of logits and not of probabilities, as ensembles mix logits.
    """
    return float((largest.astype(np.float64) - second).mean())


def _log_softmax(logits: Floats) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _centred(logits: Floats) -> NDArray[np.float64]:
    kept = logits[:, np.isfinite(logits).all(axis=0)].astype(np.float64)
    return np.asarray(kept - kept.mean(axis=0))
