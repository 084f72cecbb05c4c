"""The batches of a training: which samples are in each, how they are read, and their parts.

Which samples are in a batch follows from seed and step; threads change when a sample is read, not
what is read. Nothing depends on a running random generator, so that a killed training can go on
exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wiseft.images import feed
from wiseft.study.config.machine import HowSettings
from wiseft.study.finetune.parallel import Team
from wiseft.study.finetune.schedule import epoch_order, step_seed, steps_per_epoch

_AHEAD = 2  # parts that are read while one is computed on


@dataclass(frozen=True)
class Batch:
    """Samples of one optimiser step: a whole batch, or a part of one.

    Attributes:
        inputs: what the model maps to logits: images, uint8 (n, 3, S, S), or features (n, width).
        labels: int64 (n,).
        positions: int64 (n,), the index of each sample among the training samples, which is the
            row of a table kept for them (zero-shot logits, say); on the device of the labels.
        seed: of what is drawn once a step, the same for all parts of a batch.
    """

    inputs: Tensor
    labels: Tensor
    positions: Tensor
    seed: int = 0

    def __len__(self) -> int:
        return len(self.labels)


LossFunction = Callable[[nn.Module, Batch], Tensor]
"""The mean loss of a batch; the module is what is trained, maybe wrapped."""


class Samples(Protocol):
    """The training samples, n of them; positions count from 0 to n - 1."""

    @property
    def labels(self) -> Tensor:
        """int64 (n,), on the CPU."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """(H, W, 3) of inputs that are images, which are worth reading beside the device; None for
        inputs that lie in memory as they are.
        """
        ...

    def read(self, epoch: int, positions: NDArray[np.int64]) -> Tensor:
        """Return the inputs of these samples as an epoch (counted from 0) shows them.

        A sample's input depends on the epoch and its position alone, not on the samples beside
        it. May be called from several threads at once.
        """
        ...


def joined(parts: Sequence[Samples]) -> Samples:
    """Return the samples of several parts, one after the other; of one part, itself."""
    return parts[0] if len(parts) == 1 else _Joined(parts)


class _Joined:
    def __init__(self, parts: Sequence[Samples]):
        self._parts = parts
        self._ends = np.cumsum([len(part.labels) for part in parts])
        self.labels = torch.cat([part.labels for part in parts])
        self.image_shape = parts[0].image_shape

    def read(self, epoch: int, positions: NDArray[np.int64]) -> Tensor:
        owner = np.searchsorted(self._ends, positions, side="right")
        order = np.argsort(owner, kind="stable")
        inputs = [
            part.read(epoch, positions[owner == index] - (end - len(part.labels)))
            for index, (part, end) in enumerate(zip(self._parts, self._ends, strict=True))
        ]
        back = np.argsort(order)
        if self.image_shape is None:
            return torch.cat(inputs)[torch.from_numpy(back)]
        # Threads that read images leave torch alone: `feed`.
        images = np.concatenate([each.permute(0, 2, 3, 1).numpy() for each in inputs])
        return torch.from_numpy(images[back]).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Part:
    """What a process computes on at once of a step's batch; the whole batch in the plain case.

    Attributes:
        step: of the training, from 0.
        epoch: from 0.
        positions: int64 (n,), of the samples.
        first: index of its first sample in the batch.
        share: n over the samples of the whole batch.
    """

    step: int
    epoch: int
    positions: NDArray[np.int64]
    first: int
    share: float


@dataclass(frozen=True)
class Loader:
    """Batches of a training from the samples.

    Attributes:
        samples: that are trained on.
        batch_size: samples of an optimiser step; the last one of an epoch may have fewer.
        seed: of the run, which orders them.
        device: that batches are put on.
        how: `micro_batch` bounds the samples of a part, `workers` read beside the steps; null:
            as `feed.usual_reading` does.
        team: of whose batches this process reads its part.
    """

    samples: Samples
    batch_size: int
    seed: int
    device: torch.device
    how: HowSettings
    team: Team

    def length(self, step: int) -> int:
        """Return the samples of a step's whole batch, over all processes."""
        n, index = len(self.samples.labels), step % self._per_epoch
        return min(self.batch_size, n - index * self.batch_size)

    def parts(self, first: int, last: int) -> Iterator[tuple[Part, Batch]]:
        """Yield the parts of the steps from `first` up to and without `last`, in order.

        A step in which this process has no samples has one part without any.
        """
        workers, plan = self.how.workers, self._plan(first, last)
        reading = None if workers is None else feed.Reading(workers, _AHEAD)
        for part, inputs in read_parts(self.samples, plan, self.device, reading):
            positions = torch.from_numpy(np.ascontiguousarray(part.positions))
            labels = self.samples.labels[positions].to(self.device)
            seed = step_seed(self.seed, part.step)
            yield part, Batch(inputs, labels, positions.to(self.device), seed)

    @property
    def _per_epoch(self) -> int:
        return steps_per_epoch(len(self.samples.labels), self.batch_size)

    def _plan(self, first: int, last: int) -> Iterator[Part]:
        everyone, of_epoch = np.arange(len(self.samples.labels)), -1
        order = everyone
        for step in range(first, last):
            epoch, index = divmod(step, self._per_epoch)
            if epoch != of_epoch:
                order, of_epoch = epoch_order(everyone, self.seed, epoch), epoch
            batch = order[index * self.batch_size : (index + 1) * self.batch_size]
            own = self.team.part(len(batch))
            bound = self.how.micro_batch
            size = bound if isinstance(bound, int) else len(batch)
            for start in range(own.start, max(own.stop, own.start + 1), size):
                stop = min(start + size, own.stop)
                share = (stop - start) / len(batch)
                yield Part(step, epoch, batch[start:stop], start, share)


def read_parts(
    samples: Samples,
    plan: Iterable[Part],
    device: torch.device,
    reading: feed.Reading | None = None,
) -> Iterator[tuple[Part, Tensor]]:
    """Yield the parts of a plan, in order, with their inputs on the device.

    Args:
        reading: of images; None: as is usual for the device. Inputs that lie in memory are looked
            up in between.
    """
    if samples.image_shape is None:
        for part in plan:
            yield part, samples.read(part.epoch, part.positions).to(device)
        return
    yield from feed.in_order(
        ((part, part.positions) for part in plan),
        lambda part, positions: samples.read(part.epoch, positions),
        samples.image_shape,
        device,
        reading or feed.usual_reading(device),
    )


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
