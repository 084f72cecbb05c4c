"""Paired tests and their correction, against examples done by hand."""

import numpy as np
import pytest

from wiseft.tabulate.intervals import bootstrap_p, holm, mcnemar_exact


def test_mcnemar_by_hand():
    # Five discordant samples, all in one direction: 2 * (1/2)^5.
    assert mcnemar_exact(5, 0) == pytest.approx(0.0625)
    assert mcnemar_exact(0, 5) == pytest.approx(0.0625)
    # Six against one: 2 * (C(7,0) + C(7,1)) / 2^7.
    assert mcnemar_exact(6, 1) == pytest.approx(2 * 8 / 128)
    assert mcnemar_exact(4, 4) == 1.0
    assert mcnemar_exact(0, 0) == 1.0


def test_holm_by_hand():
    # Sorted: .01 * 4, .02 * 3, .03 * 2, .04 * 1, made monotone: .04, .06, .06, .06.
    assert holm([0.04, 0.01, 0.03, 0.02]).tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    assert holm([0.3]).tolist() == [0.3]
    assert holm([]).tolist() == []


def test_bootstrap_p_by_hand():
    # 99 draws of which 4 are at most zero: 2 * (4 + 1) / (99 + 1).
    draws = np.concatenate([np.full(3, -0.1), [0.0], np.full(95, 0.2)])
    assert bootstrap_p(draws) == pytest.approx(0.1)
    assert bootstrap_p(-draws) == pytest.approx(0.1)
    assert bootstrap_p(np.zeros(99)) == 1.0
    assert bootstrap_p(np.ones(1999)) == pytest.approx(0.001)
