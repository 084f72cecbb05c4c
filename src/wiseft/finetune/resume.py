"""What a training needs to go on exactly: its state as tensors, and an end asked for by a signal.

No random state is kept: every draw is a function of the seed and the step.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from wiseft.checkpoints import Checkpoints, load_optimiser, optimiser_tensors
from wiseft.finetune.batch import Follower
from wiseft.finetune.parallel import Team
from wiseft.finetune.precision import Precision

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""A batch system sends SIGTERM before it takes a machine away, or SIGUSR1 where it is asked to
(`sbatch --signal=USR1@60`)."""


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
    """Notes signals that ask for an end, within its context; the loop looks between its steps.

    Outside of the main thread, where Python allows no handlers, nothing is noted.

    Attributes:
        signum: of the last signal; 0 for none.
    """

    DEFAULT = int(signal.SIGTERM)

    def __init__(self) -> None:
        self.signum = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Watch:
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.signal(signum, self._note) for signum in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum


@dataclass
class State:
    """All that changes in a training.

    Attributes:
        losses: of the steps so far.
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    precision: Precision
    followers: Sequence[Follower] = ()
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
            follower.load_extra_state(_below(f"extra.{index}.", tensors))
        self.losses = tensors["losses"].tolist()
        checkpoints.log(f"resuming after step {len(self.losses)}")
        return True

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"model.{key}": value for key, value in self.model.state_dict().items()}
        tensors |= optimiser_tensors(self.optimiser) | self.precision.tensors()
        for index, follower in enumerate(self.followers):
            tensors |= {f"extra.{index}.{k}": v for k, v in follower.extra_state().items()}
        return tensors | {"losses": torch.tensor(self.losses, dtype=torch.float64)}


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
