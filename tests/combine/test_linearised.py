"""Appendix F of the paper: what is linear in its weights between the ends needs no second model."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call, jvp

from wiseft.combine.linear_combination import interpolate


@pytest.mark.parametrize("alpha", ["0.250", "0.500", "0.900"])
def test_weights_of_a_linearised_network_are_its_ensemble_of_outputs(alpha: str) -> None:
    """The network's tangent at theta_0 is linear; the network itself is not, and differs."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(6, 20), torch.nn.GELU(), torch.nn.Linear(20, 20), torch.nn.GELU()
    ).append(torch.nn.Linear(20, 3))
    start = {name: one.detach() for name, one in network.named_parameters()}
    end = {name: one + torch.randn_like(one) for name, one in start.items()}
    images = torch.randn(40, 6)

    def outputs(theta: dict[str, torch.Tensor]) -> torch.Tensor:
        return functional_call(network, theta, (images,))

    def tangent(theta: dict[str, torch.Tensor]) -> torch.Tensor:
        step = {name: theta[name] - start[name] for name in start}
        value, change = jvp(outputs, (start,), (step,))
        return value + change

    share, middle = float(alpha), interpolate(start, end, alpha)
    for model, equal in ((tangent, True), (outputs, False)):
        ensemble = (1 - share) * model(start) + share * model(end)
        apart = (model(middle) - ensemble).abs().max()
        assert (apart < 1e-4) == equal, apart
