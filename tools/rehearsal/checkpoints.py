"""Random weights, and the archives that weights come in."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wiseft.models import towers


def weights_of(architecture: Mapping[str, Any], seed: int = 1) -> dict[str, torch.Tensor]:
    """Return random weights in the family's names, integers included."""
    model = towers.build(architecture, seed)
    with torch.no_grad():
        for parameter in model.module.parameters():
            parameter.add_(0.01)  # some start at zero, where a mistake would not show
    integers = {k: v for k, v in model.module.state_dict().items() if not v.is_floating_point()}
    return model.tensors() | integers


class Holder(nn.Module):
    """Tensors under nested names, as a module that TorchScript takes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def torchscript(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write an archive as OpenAI's CLIPs are: a scripted module with the tensors."""
    root = Holder()
    for name, tensor in tensors.items():
        *folders, last = name.split(".")
        at: nn.Module = root
        for folder in folders:
            if not hasattr(at, folder):
                at.add_module(folder, Holder())
            at = getattr(at, folder)
        at.register_buffer(last, tensor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(root).save(str(path))
