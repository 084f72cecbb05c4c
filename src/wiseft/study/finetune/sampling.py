"""Which samples are trained on, in which order, and what is done to each.

Every draw depends on the seed, the epoch and the sample alone, never on how far a process got:
so a killed run goes on with the same draws, and no random state has to be saved.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wiseft.errors import WiseftError, some
from wiseft.images.split import draw_subset
from wiseft.study.config import FinetuneSettings

# Separate streams of random numbers, so that e.g. the order says nothing about the subset, whose
# stream is 0 (`wiseft.images.split`).
_ORDER, _POLARITY, _STEP, _AUGMENT, _SHOTS, _SEARCH, _HALVES = range(1, 8)


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
