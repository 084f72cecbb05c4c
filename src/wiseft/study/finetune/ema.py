"""Which weights become theta_1: a moving average, or those of one step along the training.

Both ride along with the steps as a `Follower` of the training loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from wiseft.errors import WiseftError
from wiseft.study.config import FinetuneSettings
from wiseft.study.config.training_parts import EarlyStopping, MovingAverage
from wiseft.study.finetune.batch import Follower

log = logging.getLogger(__name__)


def make_follower(
    settings: FinetuneSettings,
    model: nn.Module,
    start: Mapping[str, Tensor],
    accuracy: Callable[[], float] | None,
) -> Follower | None:
    """Return what rides along with the steps; None where theta_1 is simply the last weights.

    Args:
        model: what is trained, with the weights that training starts from.
        start: tensors of theta_0 by the names of the model (`objectives.tensors_of`); those that
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


class Averager:
    """mu_t = beta mu_(t-1) + (1 - beta) theta_t (paper Figures 11 and 12).

    What is kept is the average of theta_t - theta_0, which starts at zero: with d its value after T
    steps, the average biased towards theta_0 is theta_0 + d and the debiased one is
    theta_0 + d / (1 - beta^T). So a decay of 0.999999 loses nothing in fp32, and tensors that are
    not trained stay those of theta_0.
    """

    def __init__(self, model: nn.Module, settings: MovingAverage, start: Mapping[str, Tensor]):
        self._live = _floating(model)
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
        moved = {f"ema.{name}": tensor for name, tensor in self._moved.items()}
        return moved | {"ema_steps": torch.tensor(self._steps)}

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
        self._live = _floating(model)
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
        best = {f"best.{name}": tensor for name, tensor in self._best.items()}
        return best | {"best_found": torch.tensor(choice, dtype=torch.float64)}

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


def _floating(model: nn.Module) -> dict[str, Tensor]:
    return {name: t for name, t in model.state_dict().items() if t.is_floating_point()}


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
