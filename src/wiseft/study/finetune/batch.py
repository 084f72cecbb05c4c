"""What the training loop is handed: samples, batches of them, and what rides along with the steps.

Everything here is a function of (seed, epoch, sample) or of the steps made, never of a running
random generator, so that a killed training can go on exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


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


class Follower(Protocol):
    """What rides along with the steps: an average of the weights, or a choice among them."""

    def update(self, step: int) -> bool:
        """Follow the weights after `step` optimiser steps (1 after the first).

        Returns:
            whether training ends here.
        """
        ...

    def extra_state(self) -> Mapping[str, Tensor]:
        """Return what a resumption needs, as tensors."""
        ...

    def load_extra_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `extra_state` returned; the tensors lie on the CPU."""
        ...

    def result(self) -> Mapping[str, Tensor]:
        """Return the weights that become theta_1, by the names of the model's `state_dict`.

        Entries that are left out keep their last value.
        """
        ...
