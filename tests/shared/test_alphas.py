"""Alpha: three decimals, in [0, 1], no duplicates."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiseft.base.alphas import ALPHA_REGEX, format_alpha, parse_alphas
from wiseft.errors import WiseftError


@given(st.integers(0, 1000))
def test_every_thousandth_round_trips(thousandths: int):
    text = format_alpha(thousandths / 1000)
    assert re.fullmatch(ALPHA_REGEX, text)
    assert round(float(text) * 1000) == thousandths
    assert format_alpha(text) == text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-0.1, r"outside \[0, 1\]"),
        (1.001, r"outside \[0, 1\]"),
        (float("nan"), r"outside \[0, 1\]"),
        (0.1234, "nearest allowed value is 0.123"),
        (0.1 + 0.2, "nearest allowed value is 0.300"),
        ("half", "not a number"),
        (None, "not a number"),
    ],
)
def test_other_values_are_named(value, message):
    with pytest.raises(WiseftError, match=message):
        format_alpha(value)


def test_negative_zero_is_zero():
    assert format_alpha(-0.0) == "0.000"


def test_grid_is_sorted_and_distinct():
    assert parse_alphas("1, 0,0.5") == ["0.000", "0.500", "1.000"]
    with pytest.raises(WiseftError, match=r"0\.500 more than once"):
        parse_alphas([0.5, "0.500"])
    with pytest.raises(WiseftError, match="empty"):
        parse_alphas([])


@pytest.mark.parametrize("text", ["0.5", "1", ".500", "1.001", "0.5000", "-0.500"])
def test_only_the_canonical_form_is_an_alpha(text: str):
    assert not re.fullmatch(ALPHA_REGEX, text)
