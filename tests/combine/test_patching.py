"""Patching: one image tower for several tasks, with a head that is chosen."""

from __future__ import annotations

import pytest
import torch
from tests.combine.conftest import random_tensors

from wiseft.combine.linear_combination import interpolate
from wiseft.combine.recipes.patching import patched, patching_coefficients
from wiseft.errors import WiseftError


def with_head(seed: int, classes: int) -> dict[str, torch.Tensor]:
    head = {"head.weight": torch.randn(classes, 8), "head.bias": torch.zeros(classes)}
    return random_tensors(seed) | head


@pytest.mark.parametrize("alpha", [0.0, 0.42, 0.9, 1.0])
def test_one_task_with_a_frozen_head_is_the_interpolation(alpha: float) -> None:
    start = random_tensors(0)
    task = random_tensors(1) | {n: start[n] for n in ("head.weight", "head.bias")}
    found, wanted = dict(patched([start, task], [alpha], start)), interpolate(start, task, alpha)
    assert found.keys() == wanted.keys()
    for name in wanted:
        if name.startswith("image."):
            assert torch.equal(found[name], wanted[name]), name
    assert torch.equal(found["head.weight"], start["head.weight"])


def test_several_tasks_add_their_differences() -> None:
    start, tasks = with_head(0, 5), [with_head(1, 3), with_head(2, 4), with_head(3, 2)]
    found = patched([start, *tasks], [0.3], start)
    for name in found:
        if name.startswith("image."):
            moved = sum(0.3 * (task[name] - start[name]) for task in tasks)
            torch.testing.assert_close(found[name], start[name] + moved, rtol=1e-5, atol=1e-6)
    assert torch.equal(found["head.weight"], start["head.weight"])


def test_alpha_of_each_task_and_the_head_of_one() -> None:
    start, tasks = with_head(0, 5), [with_head(1, 3), with_head(2, 4)]
    found = patched([start, *tasks], [0.25, 0.5], tasks[1])
    name = "image.conv1.weight"
    wanted = 0.25 * start[name] + 0.25 * tasks[0][name] + 0.5 * tasks[1][name]
    torch.testing.assert_close(found[name], wanted)
    assert torch.equal(found["head.weight"], tasks[1]["head.weight"])


def test_coefficients() -> None:
    assert patching_coefficients([0.1], 3) == [0.7, 0.1, 0.1, 0.1]
    assert patching_coefficients([0.8, 0.7], 2) == [-0.5, 0.8, 0.7]
    with pytest.raises(WiseftError, match="3 alphas were given for 2 tasks"):
        patching_coefficients([0.1, 0.2, 0.3], 2)


def test_towers_of_another_shape_are_named() -> None:
    start, task = random_tensors(0), random_tensors(1)
    task["image.conv1.weight"] = task["image.conv1.weight"][:2]
    with pytest.raises(WiseftError, match=r"tensor image\.conv1\.weight has shape"):
        patched([start, task], [0.5], start)
