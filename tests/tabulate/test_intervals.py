"""Intervals of accuracies and of bootstrap draws."""

import numpy as np
import pytest
from scipy.stats import binomtest

from wiseft.tabulate.intervals import clopper_pearson, percentile_interval


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_clopper_pearson_equals_scipy(level):
    pairs = [(k, n) for n in (1, 2, 7, 50, 10_000) for k in {0, 1, n // 3, n - 1, n}]
    low, high = clopper_pearson([k for k, _ in pairs], [n for _, n in pairs], level)
    for place, (k, n) in enumerate(pairs):
        expected = binomtest(k, n).proportion_ci(level, "exact")
        assert low[place] == pytest.approx(expected.low, abs=1e-12)
        assert high[place] == pytest.approx(expected.high, abs=1e-12)


def test_clopper_pearson_touches_the_ends():
    low, high = clopper_pearson([0, 10], [10, 10])
    assert low[0] == 0.0
    assert high[1] == 1.0
    # The rule of three, exactly: 1 - (alpha / 2) ** (1 / n).
    assert high[0] == pytest.approx(1 - 0.025**0.1)


def test_percentile_interval_is_over_the_first_axis():
    draws = np.column_stack([np.arange(201.0), np.arange(201.0) * 2])
    low, high = percentile_interval(draws)
    assert low.tolist() == pytest.approx([5.0, 10.0])
    assert high.tolist() == pytest.approx([195.0, 390.0])
