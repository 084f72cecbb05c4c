"""When and what: a training's steps and learning rates, and which samples it takes in which order.

The learning rate is a linear warm-up, then a cosine to zero, a step at a time (paper D.2). Every
draw depends on the seed, the epoch and the sample alone, never on how far a process got: so a
killed run goes on with the same draws, and no random state has to be saved.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wiseft.errors import WiseftError, some
from wiseft.images.subsets import draw_subset
from wiseft.study.config import DatasetEntry, FinetuneSettings

# Separate streams of random numbers, so that e.g. the order says nothing about the subset, whose
# stream is 0 (`wiseft.images.split`).
_ORDER, _POLARITY, _STEP, _AUGMENT, _SHOTS, _SEARCH, _HALVES = range(1, 8)


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


def share_of_batch(settings: FinetuneSettings, samples: int, processes: int) -> int:
    """Return the most images of a batch that a process has."""
    return -(-min(settings.batch_size, samples) // processes)


def draw_samples(
    labels: NDArray[np.int64], settings: FinetuneSettings, seed: int
) -> NDArray[np.int64]:
    """Return the sorted indices of the samples that a run trains on.

    Args:
        labels: of the train split.
        settings: `samples_per_class` of every class, or `train_samples` in all, or everything;
            of these all, or one `half`.
        seed: of the run.

    Raises:
        WiseftError: if there are fewer samples than are asked for.
    """
    if settings.samples_per_class is not None:
        drawn = draw_per_class(labels, settings.samples_per_class, seed)
    else:
        drawn = draw_subset(len(labels), settings.train_samples, seed)
    return drawn if settings.half is None else draw_half(drawn, settings.half, seed)


def draw_half(indices: NDArray[np.int64], half: int, seed: int) -> NDArray[np.int64]:
    """Return one of two random halves of the indices, sorted; together they are all of them.

    Args:
        indices: of an odd number the second half gets one more.
        half: 1 or 2.
        seed: of the run; the two halves of equal seeds are disjoint.
    """
    order = np.random.default_rng([_HALVES, seed]).permutation(indices)
    middle = len(order) // 2
    return np.sort(order[:middle] if half == 1 else order[middle:])


def draw_per_class(labels: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """Return the sorted indices of `size` samples of every class that occurs.

    A class's draw depends on the seed and the class alone; of two sizes, the smaller draw is part
    of the larger.

    Raises:
        WiseftError: if a class has fewer samples.
    """
    drawn = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < size:
            raise WiseftError(
                f"samples_per_class is {size}, but class {label} has {len(members)} training "
                f"samples; lower it to {len(members)}"
            )
        drawn.append(np.random.default_rng([_SHOTS, seed, label]).permutation(members)[:size])
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def epoch_order(indices: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the indices in the order of an epoch (counted from 0)."""
    return np.random.default_rng([_ORDER, seed, epoch]).permutation(indices)


def random_half(n: int, seed: int, epoch: int) -> NDArray[np.bool_]:
    """Return for each sample of the train split whether an epoch shows it inverted, or mirrored.

    The probability is one half; the value of sample i depends on (seed, epoch, i).
    """
    return np.random.default_rng([_POLARITY, seed, epoch]).random(n) < 0.5


def sample_generator(seed: int, epoch: int, sample: int) -> np.random.Generator:
    """Return the random numbers of a sample's augmentation in an epoch (counted from 0)."""
    return np.random.default_rng([_AUGMENT, seed, epoch, sample])


def trial_generator(seed: int, trial: int) -> np.random.Generator:
    """Return the random numbers of a trial of a search."""
    return np.random.default_rng([_SEARCH, seed, trial])


def step_seed(seed: int, step: int) -> int:
    """Return the seed of torch's own random numbers (patch dropout, say) in a step."""
    return int(np.random.SeedSequence([_STEP, seed, step]).generate_state(1)[0])


def check_classes(labels: NDArray[np.int64], class_names: list[str]) -> None:
    """Check that every class occurs.

    Args:
        labels: of the training samples.
        class_names: of the dataset.

    Raises:
        WiseftError: naming the classes without a sample.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    missing = [name for name, count in zip(class_names, counts, strict=True) if count == 0]
    if missing:
        raise WiseftError(
            f"the {len(labels)} training samples have none of the class {some(missing)}; raise "
            "train_samples or take another seed"
        )
