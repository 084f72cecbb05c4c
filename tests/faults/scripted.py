"""The module of a TorchScript archive that runs its own code when it is loaded."""

from typing import Tuple

import torch
from torch import Tensor, nn


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.kept = torch.ones(4)
        self.training = False

    @torch.jit.export
    def __getstate__(self) -> Tuple[Tensor, bool]:
        return self.kept, self.training

    @torch.jit.export
    def __setstate__(self, state: Tuple[Tensor, bool]):
        made = torch.zeros([1])
        self.kept = state[0] + made.numel() * 0
        self.training = state[1]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.kept


class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Inner()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)
