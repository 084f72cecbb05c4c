"""Linear combinations: exact ends, fp32 in between, and refusal of what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wiseft.combine.linear_combination import combine, combine_logits, interpolate
from wiseft.errors import WiseftError

finite = st.floats(-(2.0**120), 2.0**120, width=32)
moderate = st.floats(-1e3, 1e3, width=32, allow_subnormal=False)
alphas = st.integers(0, 1000).map(lambda thousandths: f"{thousandths / 1000:.3f}")


def pairs(elements: st.SearchStrategy[float]) -> st.SearchStrategy[list[dict[str, Tensor]]]:
    def build(values: list[tuple[float, float]]) -> list[dict[str, Tensor]]:
        columns = zip(*values, strict=True)
        return [
            {"a": torch.tensor(column), "b": torch.tensor(column[:1]).view(1, 1)}
            for column in columns
        ]

    return st.lists(st.tuples(elements, elements), min_size=1, max_size=40).map(build)


def bits(tensor: Tensor) -> np.ndarray:
    return tensor.contiguous().numpy().view(np.int32)


@given(pairs(finite))
@settings(deadline=None)
def test_ends_are_copies_bit_for_bit(thetas: list[dict[str, Tensor]]) -> None:
    for alpha, source in (("0.000", thetas[0]), ("1.000", thetas[1])):
        result = interpolate(*thetas, alpha)
        for name in source:
            assert np.array_equal(bits(result[name]), bits(source[name]))
            assert result[name].data_ptr() != source[name].data_ptr()


def test_ends_keep_signed_zeros_which_lerp_does_not() -> None:
    start, end = torch.tensor([-0.0, 0.0]), torch.tensor([0.0, -0.0])
    assert not np.array_equal(bits(torch.lerp(start, end, 0.0)), bits(start))
    assert np.array_equal(bits(interpolate({"w": start}, {"w": end}, 0)["w"]), bits(start))
    assert np.array_equal(bits(interpolate({"w": start}, {"w": end}, 1)["w"]), bits(end))


@given(pairs(moderate), alphas)
@settings(deadline=None)
def test_in_between_is_lerp(thetas: list[dict[str, Tensor]], alpha: str) -> None:
    result = interpolate(*thetas, alpha)
    for name, value in result.items():
        start, end = thetas[0][name].double(), thetas[1][name].double()
        exact = (1 - float(alpha)) * start + float(alpha) * end
        torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=2e-4)
        if alpha not in ("0.000", "1.000"):
            assert torch.equal(value, torch.lerp(thetas[0][name], thetas[1][name], float(alpha)))


@given(
    st.lists(st.lists(moderate, min_size=3, max_size=3), min_size=1, max_size=5),
    st.lists(st.floats(-2, 2), min_size=5, max_size=5),
    st.lists(st.floats(-2, 2), min_size=5, max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_is_linear_in_the_coefficients(
    rows: list[list[float]], first: list[float], second: list[float]
) -> None:
    thetas = [{"w": torch.tensor(row)} for row in rows]
    first, second = first[: len(rows)], second[: len(rows)]
    both = [a + b for a, b in zip(first, second, strict=True)]
    left = combine(thetas, both)["w"]
    right = combine(thetas, first)["w"] + combine(thetas, second)["w"]
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-2)


def test_uniform_soup_is_the_mean_and_is_computed_in_fp32() -> None:
    thetas = [{"w": torch.full((2,), value, dtype=torch.float16)} for value in (1.0, 2.0, 6.0)]
    result = combine(thetas, [1 / 3] * 3)["w"]
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, torch.full((2,), 3.0))
    assert combine(thetas, [0, 0, 1])["w"].dtype == torch.float16


def test_coefficients_by_tensor() -> None:
    thetas = [{"a": torch.zeros(2), "b": torch.zeros(2)}, {"a": torch.ones(2), "b": torch.ones(2)}]
    result = combine(thetas, {"a": (0.75, 0.25), "b": (0.0, 1.0)})
    assert result["a"].tolist() == [0.25, 0.25]
    assert result["b"].tolist() == [1.0, 1.0]
    with pytest.raises(WiseftError, match="b is without coefficients"):
        combine(thetas, {"a": (0.5, 0.5)})
    with pytest.raises(WiseftError, match="c is no tensor"):
        combine(thetas, dict.fromkeys("abc", (0.5, 0.5)))


def test_inputs_are_not_changed() -> None:
    start, end = {"w": torch.tensor([1.0])}, {"w": torch.tensor([3.0])}
    combine([start, end, start], [0.2, 0.3, 0.4])
    assert start["w"].item() == 1.0
    assert end["w"].item() == 3.0


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"a": torch.zeros(2)}, "lacks b"),
        ({"a": torch.zeros(2), "b": torch.zeros(2), "new": torch.zeros(1)}, "adds new"),
        ({"a": torch.zeros(2), "b": torch.zeros(3)}, r"tensor b has shape \(2,\)"),
        ({"a": torch.zeros(2), "b": torch.tensor([0.0, float("nan")])}, "tensor b holds a NaN"),
        ({"a": torch.tensor([float("inf"), 0.0]), "b": torch.zeros(2)}, "tensor a holds a NaN or"),
    ],
)
def test_misfits_are_named(other: dict[str, Tensor], message: str) -> None:
    theta = {"a": torch.zeros(2), "b": torch.zeros(2)}
    with pytest.raises(WiseftError, match=message):
        interpolate(theta, other, 0.5)
    if "NaN" in message:  # not even a copy of the other, sound end
        with pytest.raises(WiseftError, match=message):
            interpolate(theta, other, 0.0)


@pytest.mark.parametrize("coefficients", [[0.5], [0.5, 0.5, 0.0], [float("nan"), 1.0], []])
def test_coefficients_must_fit(coefficients: list[float]) -> None:
    with pytest.raises(WiseftError, match="coefficients"):
        combine([{"w": torch.zeros(1)}, {"w": torch.zeros(1)}], coefficients)


def test_overflow_is_refused() -> None:
    start, end = {"w": torch.tensor([3e38])}, {"w": torch.tensor([-3e38])}
    with pytest.raises(WiseftError, match="combination of tensor w"):
        interpolate(start, end, 0.5)


def test_nothing_to_combine() -> None:
    with pytest.raises(WiseftError, match="nothing to combine"):
        combine([], [])
    with pytest.raises(WiseftError, match="nothing to combine"):
        combine_logits([], [])


@pytest.mark.parametrize("alpha", [-0.001, 1.001, 0.12345, "x", float("nan")])
def test_bad_alpha(alpha: float | str) -> None:
    with pytest.raises(WiseftError, match="alpha"):
        interpolate({"w": torch.zeros(1)}, {"w": torch.zeros(1)}, alpha)


def test_logits_twin() -> None:
    first, second = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0]])
    assert combine_logits([first, second], [0.25, 0.75]).tolist() == [[2.5, 0.5]]
    assert torch.equal(combine_logits([first, second], [0, 1]), second)
    with pytest.raises(WiseftError, match="shapes"):
        combine_logits([first, second[:, :1]], [0.5, 0.5])
    with pytest.raises(WiseftError, match="NaN"):
        combine_logits([first, second * float("nan")], [0.5, 0.5])
