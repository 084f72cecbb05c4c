"""Ensembles from logits: by hand, and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from wiseft.combine.ensembles import random_ensemble, softmax_ensemble, uniforms
from wiseft.errors import WiseftError

resolved = st.floats(-50, 50, width=32).map(lambda x: x if abs(x) > 1e-3 else 0.0)
some_logits = arrays.arrays(np.float32, (4, 3), elements=resolved)
alphas = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)


def test_softmax_by_hand() -> None:
    first = torch.tensor([[0.0, math.log(3.0)]])  # probabilities 1/4, 3/4
    second = torch.tensor([[math.log(9.0), 0.0]])  # 9/10, 1/10
    found = softmax_ensemble([first, second], [0.6, 0.4]).exp()
    wanted = [0.6 * 0.25 + 0.4 * 0.9, 0.6 * 0.75 + 0.4 * 0.1]
    torch.testing.assert_close(found, torch.tensor([wanted], dtype=torch.float64))


@given(some_logits, some_logits, alphas)
@settings(deadline=None, max_examples=60)
def test_softmax_is_a_mean_of_probabilities(
    first: np.ndarray, second: np.ndarray, alpha: float
) -> None:
    ends = [torch.from_numpy(first), torch.from_numpy(second)]
    found = softmax_ensemble(ends, (1 - alpha, alpha)).exp()
    torch.testing.assert_close(found.sum(dim=1), torch.ones(4, dtype=torch.float64))
    wanted = (1 - alpha) * ends[0].double().softmax(1) + alpha * ends[1].double().softmax(1)
    torch.testing.assert_close(found, wanted)


@given(some_logits, some_logits)
@settings(deadline=None, max_examples=60)
def test_softmax_at_the_ends_keeps_the_order_of_the_logits(
    first: np.ndarray, second: np.ndarray
) -> None:
    ends = [torch.from_numpy(first), torch.from_numpy(second)]
    for coefficients, end in (((1.0, 0.0), ends[0]), ((0.0, 1.0), ends[1])):
        found = softmax_ensemble(ends, coefficients)
        assert torch.equal(found.argmax(dim=1), end.argmax(dim=1))
        # Two logits that differ, differ still; in fp32 they would not always.
        assert torch.equal(found[:, :1] > found[:, 1:], end[:, :1] > end[:, 1:])


def test_softmax_does_not_ignore_the_scale_as_the_output_ensemble_does_not() -> None:
    sure, unsure = torch.tensor([[20.0, 0.0]]), torch.tensor([[0.0, 0.1]])
    found = softmax_ensemble([sure, unsure], [0.5, 0.5]).exp()
    assert found[0, 0] == pytest.approx(0.5 * 1.0 + 0.5 * 0.475, abs=1e-3)


def test_softmax_of_classes_that_are_never_predicted() -> None:
    first = torch.tensor([[1.0, -torch.inf, 0.0], [1.0, -torch.inf, 0.0]])
    second = torch.tensor([[0.0, 2.0, 0.0], [0.0, -torch.inf, 0.0]])
    found = softmax_ensemble([first, second], [0.5, 0.5]).exp()
    assert found[0, 1] == pytest.approx(0.5 * math.exp(2) / (2 + math.exp(2)))
    assert found[1, 1] == 0.0


@pytest.mark.parametrize(
    ("logits", "coefficients", "message"),
    [
        ([], [], "nothing to combine"),
        ([torch.zeros(1, 2)], [0.5, 0.5], "1 inputs but 2 coefficients"),
        ([torch.zeros(1, 2)] * 2, [1.5, -0.5], "at least 0 and sum to 1"),
        ([torch.zeros(1, 2)] * 2, [0.5, 0.4], "at least 0 and sum to 1"),
        ([torch.zeros(1, 2)] * 2, [float("nan"), 0.4], "at least 0 and sum to 1"),
        ([torch.zeros(1, 2), torch.zeros(1, 3)], [0.5, 0.5], "shapes"),
        ([torch.zeros(1, 2), torch.full((1, 2), torch.nan)], [0.5, 0.5], "NaN"),
        ([torch.zeros(1, 2), torch.full((1, 2), torch.inf)], [0.5, 0.5], "NaN or an infinity"),
    ],
)
def test_softmax_refuses(logits: list, coefficients: list, message: str) -> None:
    with pytest.raises(WiseftError, match=message):
        softmax_ensemble(logits, coefficients)


def test_random_by_hand() -> None:
    ends = torch.zeros(3, 2), torch.ones(3, 2)
    numbers = torch.tensor([0.0, 0.3, 0.999], dtype=torch.float64)
    for alpha, wanted in ((0, [0, 0, 0]), (0.3, [1, 0, 0]), (0.301, [1, 1, 0]), (1, [1, 1, 1])):
        assert random_ensemble(ends, numbers, alpha)[:, 0].tolist() == wanted
    with pytest.raises(WiseftError, match="one a sample"):
        random_ensemble(ends, numbers[:2], 0.5)
    with pytest.raises(WiseftError, match="outside"):
        random_ensemble(ends, numbers, 1.5)


@given(st.integers(0, 10), alphas, alphas)
@settings(deadline=None, max_examples=40)
def test_who_takes_the_second_takes_it_at_every_larger_alpha(
    seed: int, one: float, other: float
) -> None:
    numbers = torch.from_numpy(uniforms(seed, "x", [str(i) for i in range(50)]))
    ends = torch.zeros(50, 1), torch.ones(50, 1)
    low, high = (random_ensemble(ends, numbers, a) for a in sorted((one, other)))
    assert bool((low <= high).all())


def test_share_of_the_second_is_alpha() -> None:
    numbers = uniforms(0, "dataset/test", [f"image-{i}" for i in range(20_000)])
    for alpha in (0.1, 0.5, 0.9):  # five standard errors
        error = 5 * math.sqrt(alpha * (1 - alpha) / len(numbers))
        assert (numbers < alpha).mean() == pytest.approx(alpha, abs=error)


def test_a_number_depends_on_seed_place_and_id_alone() -> None:
    ids = ["a", "b", "c"]
    numbers = uniforms(3, "mnist/test", ids)
    assert np.array_equal(uniforms(3, "mnist/test", ids[::-1]), numbers[::-1])
    assert numbers.tolist() == [0.23258114188313572, 0.6330773231881149, 0.6664265115578449]
    for other in (uniforms(4, "mnist/test", ids), uniforms(3, "mnist/val", ids)):
        assert not np.isin(other, numbers).any()
    assert ((numbers >= 0) & (numbers < 1)).all()
