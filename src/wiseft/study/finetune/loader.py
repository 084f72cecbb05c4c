"""Reads the batches of a training: in between the steps, or beside them in threads.

Which samples are in a batch follows from seed and step; threads change when a sample is read, not
what is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wiseft.images import feed
from wiseft.study.config.machine import HowSettings
from wiseft.study.finetune.batch import Batch, Samples
from wiseft.study.finetune.parallel import Team
from wiseft.study.finetune.sampling import epoch_order, step_seed
from wiseft.study.finetune.schedule import steps_per_epoch

_AHEAD = 2  # parts that are read while one is computed on


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


class Loader:
    """Batches of a training from the samples.

    Args:
        samples: that are trained on.
        batch_size: samples of an optimiser step; the last one of an epoch may have fewer.
        seed: of the run, which orders them.
        device: that batches are put on.
        how: `micro_batch` bounds the samples of a part, `workers` read beside the steps; null:
            as `feed.usual_reading` does.
        team: of whose batches this process reads its part.
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        seed: int,
        device: torch.device,
        how: HowSettings,
        team: Team,
    ):
        self.samples = samples
        self.batch_size = batch_size
        self._seed = seed
        self._device = device
        self._micro_batch = None if how.micro_batch == "auto" else how.micro_batch
        workers = how.workers
        self._reading = None if workers is None else feed.Reading(workers, _AHEAD)
        self._team = team

    def length(self, step: int) -> int:
        """Return the samples of a step's whole batch, over all processes."""
        n, index = len(self.samples.labels), step % self._per_epoch
        return min(self.batch_size, n - index * self.batch_size)

    def parts(self, first: int, last: int) -> Iterator[tuple[Part, Batch]]:
        """Yield the parts of the steps from `first` up to and without `last`, in order.

        A step in which this process has no samples has one part without any.
        """
        plan = self._plan(first, last)
        for part, inputs in read_parts(self.samples, plan, self._device, self._reading):
            yield part, self._batch(part, inputs)

    @property
    def _per_epoch(self) -> int:
        return steps_per_epoch(len(self.samples.labels), self.batch_size)

    def _plan(self, first: int, last: int) -> Iterator[Part]:
        everyone, of_epoch = np.arange(len(self.samples.labels)), -1
        order = everyone
        for step in range(first, last):
            epoch, index = divmod(step, self._per_epoch)
            if epoch != of_epoch:
                order, of_epoch = epoch_order(everyone, self._seed, epoch), epoch
            batch = order[index * self.batch_size : (index + 1) * self.batch_size]
            own = self._team.part(len(batch))
            size = self._micro_batch or len(batch)
            for start in range(own.start, max(own.stop, own.start + 1), size):
                stop = min(start + size, own.stop)
                share = (stop - start) / len(batch)
                yield Part(step, epoch, batch[start:stop], start, share)

    def _batch(self, part: Part, inputs: Tensor) -> Batch:
        positions = torch.from_numpy(np.ascontiguousarray(part.positions))
        labels = self.samples.labels[positions].to(self._device)
        seed = step_seed(self._seed, part.step)
        return Batch(inputs, labels, positions.to(self._device), seed)


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
