"""The learning rate: linear warm-up, then cosine to zero, a step at a time (paper D.2)."""

from __future__ import annotations

import math

from wiseft.study.config import DatasetEntry, FinetuneSettings


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


def training_samples(settings: FinetuneSettings, reference: DatasetEntry) -> int:
    """Return how many images of a reference a run trains on."""
    if settings.samples_per_class is not None:
        samples = settings.samples_per_class * reference.class_count
    else:
        held_out = reference.splits.get("held-out", 0) if settings.train_on_held_out else 0
        samples = settings.train_samples or reference.splits["train"] + held_out
    return samples // 2 if settings.half else samples


def training_steps(samples: int, settings: FinetuneSettings) -> int:
    """Return the optimiser steps of a training: `steps` where it is given, else whole epochs."""
    if settings.steps is not None:
        return settings.steps
    return steps_per_epoch(samples, settings.batch_size) * settings.epochs


def made_steps(samples: int, settings: FinetuneSettings) -> int:
    """Return the optimiser steps of a training, up to where it stops for sure."""
    steps, stopping = training_steps(samples, settings), settings.early_stopping
    return min(steps, stopping.after) if stopping and stopping.after else steps


def long_warmup(samples: int, settings: FinetuneSettings) -> str:
    """Return a sentence where warm-up takes more than a third of a training; empty otherwise."""
    total, made = training_steps(samples, settings), made_steps(samples, settings)
    warmup = warmup_length(total, settings.warmup_steps, settings.warmup_max_fraction)
    if settings.optimiser == "lbfgs" or 3 * warmup <= made:
        return ""
    return (
        f"trains for {made} steps with a warm-up of {warmup}, more than a third: its highest "
        f"learning rate is {min(1, made / warmup):.0%} of the recipe's; `warmup_max_fraction` of "
        "its settings bounds the warm-up"
    )


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """Return the number of batches; the last one of an epoch may be smaller."""
    return math.ceil(samples / batch_size)
