"""Arithmetic of training: fp32, or bf16 and fp16 by autocast with weights in fp32."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from wiseft.errors import WiseftError
from wiseft.models.precision import Arithmetic

_SCALER_STATE = ("scale", "_growth_tracker")  # what changes; the rest are constants
_STATE_NAME = "loss_scale"
_LEAST_SCALE = 2.0**-10


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
