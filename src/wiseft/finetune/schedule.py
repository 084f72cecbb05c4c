"""The learning rate: linear warm-up, then cosine to zero, a step at a time (paper D.2)."""

from __future__ import annotations

import math


def warmup_length(steps: int, warmup_steps: int, max_fraction: float | None) -> int:
    """Return the number of warm-up steps, at most a fraction of all steps.

    Args:
        steps: of the whole training.
        warmup_steps: wanted.
        max_fraction: bound as a share of `steps`; None for no bound, as the authors have it.
    """
    if max_fraction is None:
        return warmup_steps
    return min(warmup_steps, math.floor(max_fraction * steps))


def learning_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """Return the learning rate of a step (counted from 0), as in the authors' code."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """Return the number of batches; the last one of an epoch may be smaller."""
    return math.ceil(samples / batch_size)
