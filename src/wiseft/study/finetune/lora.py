"""Low-rank adaptation (LoRA, Hu et al. 2022): the image tower's matrices change by B A alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from wiseft.models.classifier import ImageClassifier
from wiseft.models.towers import seeded
from wiseft.study.config.training_parts import Lora

_MATRICES = ("weight", "in_proj_weight")


class _LowRank(nn.Module):
    """W + s B A in place of a frozen W (out, in, ...); s = lora_alpha / rank, B starts at 0."""

    def __init__(self, weight: Tensor, settings: Lora):
        super().__init__()
        out, into = weight.flatten(1).shape
        self.scale = settings.lora_alpha / settings.rank
        first = nn.init.kaiming_uniform_(torch.empty(settings.rank, into), a=math.sqrt(5))
        self.first = nn.Parameter(first.to(weight.device))
        self.second = nn.Parameter(torch.zeros(out, settings.rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.scale * self.second @ self.first).view(weight.shape)


def add_lora(model: ImageClassifier, settings: Lora, seed: int) -> None:
    """Freeze the image tower but for low-rank changes of its matrices; outputs stay as they are.

    They are those of linear layers, attentions (query, key and value as one) and convolutions
    without groups. The head is trained as a whole.
    """
    model.image.requires_grad_(False)
    kinds = (nn.Linear, nn.MultiheadAttention, nn.Conv2d)
    modules = [module for module in model.image.modules() if isinstance(module, kinds)]
    with seeded(seed):
        for module in modules:
            for name in _MATRICES:
                weight = getattr(module, name, None)
                if weight is not None and getattr(module, "groups", 1) == 1:
                    change = _LowRank(weight, settings)
                    parametrize.register_parametrization(module, name, change)


def merge_lora(model: ImageClassifier) -> None:
    """Put the changed matrices in place of the frozen ones, under their own names."""
    for module in model.image.modules():
        for name in _MATRICES:
            if parametrize.is_parametrized(module, name):
                parametrize.remove_parametrizations(module, name)
