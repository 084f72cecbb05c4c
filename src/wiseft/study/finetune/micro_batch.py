"""The images of a training batch that are computed on at once, `micro_batch: auto` above all."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from torch import nn

from wiseft.models.batch_size import images_that_fit
from wiseft.models.footprint import usual_batch_size
from wiseft.study.config import FinetuneSettings
from wiseft.study.finetune.batch import Batch, Samples
from wiseft.study.finetune.how import follows_batches
from wiseft.study.finetune.loader import Part
from wiseft.study.finetune.objective import Objective

log = logging.getLogger(__name__)


def share_of_batch(settings: FinetuneSettings, samples: int, processes: int) -> int:
    """Return the most images of a batch that a process has."""
    return -(-min(settings.batch_size, samples) // processes)


def divisible(model: nn.Module, objective: Objective, settings: FinetuneSettings) -> bool:
    """Whether the gradients of a batch are the sum of those of its parts."""
    return objective.separable and not follows_batches(model, settings.batch_norm)


def divided(parts: Iterable[tuple[Part, Batch]], size: int) -> Iterator[tuple[Part, Batch]]:
    """Yield parts of no more images than a size, with their shares of the whole batch."""
    for part, batch in parts:
        if len(batch) <= size:
            yield part, batch
            continue
        for start in range(0, len(batch), size):
            here = slice(start, start + size)
            inputs, labels, rows = batch.inputs[here], batch.labels[here], batch.positions[here]
            smaller = replace(batch, inputs=inputs, labels=labels, positions=rows)
            share = part.share * len(smaller) / len(batch)
            first, positions = part.first + start, part.positions[here]
            yield replace(part, positions=positions, first=first, share=share), smaller


def fitting_micro_batch(
    model: nn.Module, objective: Objective, samples: Samples, settings: FinetuneSettings, share: int
) -> int:
    """Return the whole share of a batch if it fits the device, else a half, a quarter, ... of it.

    By halves, so that a little more or less free memory seldom makes it another number. What is no
    larger than a pass of an evaluation, as in the small experiments, is not counted.

    Args:
        share: images of a batch that this process has.
    """
    example, device = samples.read(0, np.zeros(1, np.int64)), next(model.parameters()).device
    if example.ndim != 4 or share <= usual_batch_size("cpu", size := example.shape[-1]):
        return share
    if not divisible(model, objective, settings):
        log.info(
            f"a batch of this training can't be divided: all {share} images are computed on at once"
        )
        return share
    fits = images_that_fit(model, size, settings.precision, device, training=True, **settings.kept)
    micro_batch = share
    while fits is not None and micro_batch > max(1, fits):
        micro_batch = -(-micro_batch // 2)
    return micro_batch
