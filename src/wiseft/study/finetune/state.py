"""What changes in a training: weights, optimiser, scale of the loss, and what follows the steps.

All of it is saved as tensors and put back, so that a killed training goes on exactly. No random
state is kept: every draw is a function of the seed and the step.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType

import torch
from torch import Tensor, nn

from wiseft.errors import WiseftError
from wiseft.models.batch_size import BatchSize
from wiseft.models.precision import Arithmetic
from wiseft.models.towers import prefixed, with_prefix
from wiseft.study.config import FinetuneSettings
from wiseft.study.config.training_parts import EarlyStopping, MovingAverage
from wiseft.study.finetune.parallel import Team
from wiseft.thetas.resume_state import Checkpoints, load_optimiser, optimiser_tensors
from wiseft.thetas.tensor_views import floating

log = logging.getLogger(__name__)

MOMENTUM = 0.9
"""Of SGD."""
_BATCH_SIZE, _FOLLOWER = "batch_size", "extra.0."  # names in a resume state
_SCALER_STATE = ("scale", "_growth_tracker")  # what changes; the rest are constants
_STATE_NAME = "loss_scale"
_LEAST_SCALE = 2.0**-10


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are trained."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def make_optimiser(model: nn.Module, settings: FinetuneSettings) -> torch.optim.Optimizer:
    """Return the optimiser of the settings over all trained parameters.

    They are one group: weight decay is on LayerNorm and biases too, as in the authors' code.
    """
    parameters = trained_parameters(model)
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimiser == "sgd":
        # Not fused: torch's fused SGD keeps unwritten memory as its momentum where the very first
        # step is left out because gradients overflowed.
        return torch.optim.SGD(parameters, lr=rate, momentum=MOMENTUM, weight_decay=decay)
    kind = torch.optim.AdamW if settings.optimiser == "adamw" else torch.optim.Adam
    return kind(
        parameters, lr=rate, betas=settings.betas, eps=settings.eps, weight_decay=decay, fused=True
    )


class Precision(Arithmetic):
    """Runs forward passes in an arithmetic and makes optimiser steps that fit it.

    In fp16 the loss is scaled, so that small gradients don't vanish; a step whose gradients
    overflow is left out and the scale is halved.
    """

    def __init__(self, name: str, device: torch.device):
        super().__init__(name, device)
        self._scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss, scaled as the precision needs."""
        # Without scaling this is the loss itself.
        self._scaler.scale(loss).backward()

    def unscale(self, optimiser: torch.optim.Optimizer) -> None:
        """Take the scale out of the gradients, before they are clipped."""
        self._scaler.unscale_(optimiser)

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        """Make an optimiser step, unless gradients overflowed.

        Raises:
            WiseftError: if they overflow whatever the scale is.
        """
        self._scaler.step(optimiser)
        self._scaler.update()
        if self._scaler.is_enabled() and self._scaler.get_scale() < _LEAST_SCALE:
            raise WiseftError(
                "precision is fp16, and gradients overflow at every scale of the loss; set "
                "precision to bf16 or fp32"
            )

    def tensors(self) -> dict[str, Tensor]:
        """Return the state of the loss scale; nothing where there is none."""
        state = self._scaler.state_dict()
        if not state:
            return {}
        return {_STATE_NAME: torch.tensor([float(state[k]) for k in _SCALER_STATE])}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` returned."""
        state = self._scaler.state_dict()
        if not state:
            return
        scale, tracker = tensors[_STATE_NAME].tolist()
        self._scaler.load_state_dict(state | {"scale": scale, "_growth_tracker": int(tracker)})


class Averager:
    """mu_t = beta mu_(t-1) + (1 - beta) theta_t (paper Figures 11 and 12).

    What is kept is the average of theta_t - theta_0, which starts at zero: with d its value after T
    steps, the average biased towards theta_0 is theta_0 + d and the debiased one is
    theta_0 + d / (1 - beta^T). So a decay of 0.999999 loses nothing in fp32, and tensors that are
    not trained stay those of theta_0.
    """

    def __init__(self, model: nn.Module, settings: MovingAverage, start: Mapping[str, Tensor]):
        self._live = floating(model.state_dict())
        self._settings = settings
        self._origin = {
            name: torch.empty_like(live).copy_(start.get(name, live).detach())
            for name, live in self._live.items()
        }
        self._moved = {name: torch.zeros_like(live) for name, live in self._live.items()}
        self._steps = 0

    @torch.no_grad()
    def update(self, step: int) -> bool:
        """Take the weights after a step into the average; training goes on."""
        for name, live in self._live.items():
            self._moved[name].lerp_(live - self._origin[name], 1.0 - self._settings.decay)
        self._steps = step
        return False

    def extra_state(self) -> dict[str, Tensor]:
        """Return the average so far."""
        return with_prefix(self._moved, "ema.") | {"ema_steps": torch.tensor(self._steps)}

    def load_extra_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `extra_state` returned."""
        for name, moved in self._moved.items():
            moved.copy_(tensors[f"ema.{name}"])
        self._steps = int(tensors["ema_steps"])

    def result(self) -> dict[str, Tensor]:
        """Return the averaged weights."""
        debiased = self._settings.start == "zeros" and self._steps > 0
        scale = 1.0 / (1.0 - self._settings.decay**self._steps) if debiased else 1.0
        return {
            name: torch.add(origin, self._moved[name], alpha=scale)
            for name, origin in self._origin.items()
        }


class BestWeights:
    """The most accurate weights on held-out images, or those after a given step.

    Several processes must each see the same weights and the same images: they then choose alike.
    """

    def __init__(
        self, model: nn.Module, settings: EarlyStopping, accuracy: Callable[[], float] | None
    ):
        self._model = model
        self._live = floating(model.state_dict())
        self._settings = settings
        self._accuracy = accuracy
        self._best: dict[str, Tensor] = {}
        self._best_accuracy, self._best_step, self._waited = -1.0, 0, 0

    def update(self, step: int) -> bool:
        """Evaluate where it is time to, and return whether training ends here."""
        if self._settings.after is not None:
            return step >= self._settings.after
        if self._accuracy is None or step % (self._settings.every or 1):
            return False
        accuracy = _evaluated(self._model, self._accuracy)
        if accuracy > self._best_accuracy:
            self._best_accuracy, self._best_step, self._waited = accuracy, step, 0
            self._best = {name: live.detach().clone() for name, live in self._live.items()}
        else:
            self._waited += 1
        log.info(
            f"step {step}: {accuracy:.4f} of the split {self._settings.split} right; best: "
            f"{self._best_accuracy:.4f}, after step {self._best_step}"
        )
        return self._waited == self._settings.patience

    def extra_state(self) -> dict[str, Tensor]:
        """Return the best weights so far, and how good they are."""
        choice = [self._best_accuracy, float(self._best_step), float(self._waited)]
        found = torch.tensor(choice, dtype=torch.float64)
        return with_prefix(self._best, "best.") | {"best_found": found}

    def load_extra_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `extra_state` returned."""
        self._best_accuracy, step, waited = tensors["best_found"].tolist()
        self._best_step, self._waited = int(step), int(waited)
        self._best = {
            name: torch.empty_like(live).copy_(tensors[f"best.{name}"])
            for name, live in self._live.items()
            if f"best.{name}" in tensors
        }

    def result(self) -> dict[str, Tensor]:
        """Return the best weights; none where nothing was evaluated, so that the last ones stay."""
        return dict(self._best)


@torch.no_grad()
def _evaluated(model: nn.Module, accuracy: Callable[[], float]) -> float:
    """Return the accuracy with the model in eval mode, then put every module back in its mode."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        return accuracy()
    finally:
        for module, training in modes.items():
            module.training = training


Follower = Averager | BestWeights
"""What rides along with the steps. `update` follows the weights after so many optimiser steps, and
returns whether training ends there; `result` returns the weights that become theta_1, by the names
of the model's `state_dict`, where entries that are left out keep their last value.
"""


def make_follower(
    settings: FinetuneSettings,
    model: nn.Module,
    start: Mapping[str, Tensor],
    accuracy: Callable[[], float] | None,
) -> Follower | None:
    """Return what rides along with the steps; None where theta_1 is simply the last weights.

    Args:
        model: what is trained, with the weights that training starts from.
        start: tensors of theta_0 by the names of the model (`objective.tensors_of`); those that
            are left out are taken from the model.
        accuracy: computes the model's accuracy on held-out images; for `early_stopping.every`.

    Raises:
        WiseftError: if there is no accuracy to choose by.
    """
    if settings.ema:
        return Averager(model, settings.ema, start)
    if settings.early_stopping is None:
        return None
    if settings.early_stopping.every and accuracy is None:
        raise WiseftError("early_stopping needs held-out images of the reference to choose by")
    return BestWeights(model, settings.early_stopping, accuracy)


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
    follower: Follower | None = None
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
        self.model.load_state_dict(prefixed(tensors, "model."))
        load_optimiser(self.optimiser, tensors)
        self.precision.load(tensors)
        if self.follower is not None:
            self.follower.load_extra_state(prefixed(tensors, _FOLLOWER))
        if self.batch_size is not None and _BATCH_SIZE in tensors:
            self.batch_size.size = min(self.batch_size.size, int(tensors[_BATCH_SIZE]))
        self.losses = tensors["losses"].tolist()
        log.info(f"resuming after step {len(self.losses)}")
        return True

    def _tensors(self) -> dict[str, Tensor]:
        tensors = with_prefix(self.model.state_dict(), "model.")
        tensors |= optimiser_tensors(self.optimiser) | self.precision.tensors()
        if self.follower is not None:
            tensors |= with_prefix(self.follower.extra_state(), _FOLLOWER)
        if self.batch_size is not None:
            tensors[_BATCH_SIZE] = torch.tensor(self.batch_size.size)
        return tensors | {"losses": torch.tensor(self.losses, dtype=torch.float64)}


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
