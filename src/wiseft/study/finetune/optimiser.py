"""The optimisers of the paper: AdamW, and Adam and SGD of its hyperparameter study (Figure 3)."""

from __future__ import annotations

import torch
from torch import nn

from wiseft.study.config import FinetuneSettings

MOMENTUM = 0.9
"""Of SGD."""


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
        parameters,
        lr=rate,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=decay,
        fused=True,
    )
