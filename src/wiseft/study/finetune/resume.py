"""What a training needs to go on exactly: its state as tensors, and an end asked for by a signal.

No random state is kept: every draw is a function of the seed and the step.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType

import torch
from torch import Tensor, nn

from wiseft.models.batch_size import BatchSize
from wiseft.models.towers import prefixed
from wiseft.study.finetune.batch import Follower
from wiseft.study.finetune.parallel import Team
from wiseft.study.finetune.precision import Precision
from wiseft.thetas.resume_state import Checkpoints, load_optimiser, optimiser_tensors

log = logging.getLogger(__name__)

_BATCH_SIZE = "batch_size"


class Interrupted(Exception):
    """A signal asked for an end; the state is saved.

    Attributes:
        signum: of the signal.
        leads: whether this is the process that saved it.
    """

    def __init__(self, signum: int, step: int, steps: int, leads: bool):
        self.signum = signum
        self.leads = leads
        name = signal.Signals(signum).name
        super().__init__(
            f"{name} ended the training after step {step} of {steps}; its state is saved, and the "
            "same command goes on from there"
        )


class Watch:
    """Notes signals that ask for an end; the loop looks between its steps.

    Attributes:
        signum: of the last signal; 0 for none.
    """

    DEFAULT = int(signal.SIGTERM)
    signum = 0

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Note a signal: the handler of it."""
        self.signum = signum


@dataclass
class State:
    """All that changes in a training.

    Attributes:
        batch_size: images that are computed on at once, where it follows from the memory that was
            free: a resumed training takes no more, so that it ends with the very same weights.
        losses: of the steps so far.
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    precision: Precision
    followers: Sequence[Follower] = ()
    batch_size: BatchSize | None = None
    losses: list[float] = field(default_factory=list)

    def save(self, checkpoints: Checkpoints) -> None:
        """Save the state after the steps so far."""
        checkpoints.save(len(self.losses), self._tensors())

    def load(self, checkpoints: Checkpoints, team: Team) -> bool:
        """Put the last saved state back; all processes take the leader's.

        Returns:
            whether there was one.
        """
        tensors = team.share(checkpoints.load() if team.leads else None)
        if tensors is None:
            return False
        self.model.load_state_dict({k: tensors[f"model.{k}"] for k in self.model.state_dict()})
        load_optimiser(self.optimiser, tensors)
        self.precision.load(tensors)
        for index, follower in enumerate(self.followers):
            follower.load_extra_state(prefixed(tensors, f"extra.{index}."))
        if self.batch_size is not None and _BATCH_SIZE in tensors:
            self.batch_size.size = min(self.batch_size.size, int(tensors[_BATCH_SIZE]))
        self.losses = tensors["losses"].tolist()
        log.info(f"resuming after step {len(self.losses)}")
        return True

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"model.{key}": value for key, value in self.model.state_dict().items()}
        tensors |= optimiser_tensors(self.optimiser) | self.precision.tensors()
        for index, follower in enumerate(self.followers):
            tensors |= {f"extra.{index}.{k}": v for k, v in follower.extra_state().items()}
        if self.batch_size is not None:
            tensors[_BATCH_SIZE] = torch.tensor(self.batch_size.size)
        return tensors | {"losses": torch.tensor(self.losses, dtype=torch.float64)}
