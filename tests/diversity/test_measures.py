"""Each formula on a case that was computed by hand; the steps stand beside it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from wiseft.study.diversity import measures
from wiseft.study.diversity.measures import Share

INF = float("inf")


def bools(text: str) -> NDArray[np.bool_]:
    return np.array([letter == "1" for letter in text])


def classes(*values: int) -> NDArray[np.int32]:
    return np.array(values, dtype=np.int32)


def test_prediction_diversity_counts_samples_that_exactly_one_gets_right() -> None:
    # Samples 2 (only f) and 4, 5 (only g) of five.
    assert measures.prediction_diversity(bools("11000"), bools("10011")) == Share(3, 5)
    assert measures.prediction_diversity(bools("1010"), bools("1010")).value == 0.0


def test_kappa_complement() -> None:
    # p_o = 2/4. f predicts 0 twice, 1 twice; g 0 three times, 2 once: p_e = (2*3 + 0 + 0)/16.
    found = measures.kappa_complement(classes(0, 0, 1, 1), classes(0, 0, 0, 2))
    assert found == pytest.approx((1 - 1 / 2) / (1 - 6 / 16))
    assert found == pytest.approx(0.8)


def test_kappa_complement_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    f, g = (rng.integers(0, 7, 200) for _ in range(2))
    g[:120] = f[:120]
    kappa = cohen_kappa_score(f, g)
    assert measures.kappa_complement(f, g) == pytest.approx(1 - kappa)


def test_kappa_complement_of_one_class_throughout_is_unknown() -> None:
    assert math.isnan(measures.kappa_complement(classes(3, 3), classes(3, 3)))


def test_kl_divergence() -> None:
    # Sample 1: p_f = (1/2, 1/2), p_g = (3/4, 1/4): KL = 1/2 ln(2/3) + 1/2 ln 2 = 1/2 ln(4/3).
    # Sample 2: p_f = (3/4, 1/4) = p_g: 0. Adding a constant to all logits changes nothing.
    f = np.array([[5.0, 5.0], [math.log(3) - 2, -2.0]])
    g = np.array([[math.log(3), 0.0], [math.log(3) + 7, 7.0]])
    assert measures.kl_divergence(f, g) == pytest.approx(0.5 * math.log(4 / 3) / 2)
    # The other way round: 3/4 ln(3/2) + 1/4 ln(1/2), another number.
    backwards = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    assert measures.kl_divergence(g, f) == pytest.approx(backwards)


def test_kl_divergence_where_classes_are_never_predicted() -> None:
    f = np.array([[0.0, 0.0, -INF]])
    g = np.array([[math.log(3), 0.0, -INF]])
    assert measures.kl_divergence(f, g) == pytest.approx(0.5 * math.log(4 / 3))
    assert measures.kl_divergence(np.zeros((1, 2)), np.array([[0.0, -INF]])) == INF


def test_kl_divergence_does_not_depend_on_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    f, g = np.random.default_rng(0).normal(size=(2, 11, 5))
    whole = measures.kl_divergence(f, g)
    monkeypatch.setattr(measures, "_ROWS", 4)
    assert measures.kl_divergence(f, g) == pytest.approx(whole)


def test_cka_complement() -> None:
    # Column means of f are 2, of g (1, 1). Centred: f = (-1, 1, 0), g = [[-1, 0], [0, -1], [1, 1]].
    # g'f = (1, -1): squared norm 2. f'f = 2. g'g = [[2, 1], [1, 2]]: norm sqrt(4 + 1 + 1 + 4).
    f = np.array([[1.0], [3.0], [2.0]])
    g = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    wanted = 1 - 2 / (2 * math.sqrt(10))
    assert measures.cka_complement(f, g) == pytest.approx(wanted)
    # It is symmetric and does not see scale, rotation or shift.
    turned = 3 * g @ np.array([[0.6, -0.8], [0.8, 0.6]]) + 5
    assert measures.cka_complement(turned, f) == pytest.approx(wanted)
    assert measures.cka_complement(g, turned) == pytest.approx(0, abs=1e-12)


def test_cka_leaves_out_classes_that_are_never_predicted() -> None:
    f = np.array([[1.0, -INF], [3.0, -INF], [2.0, -INF]])
    g = np.array([[1.0, 0.0], [0.0, 4.0], [2.0, 1.0]])
    assert measures.cka_complement(f, g) == measures.cka_complement(f[:, :1], g)
    assert math.isnan(measures.cka_complement(np.ones((3, 2)), g))


def test_cka_draws_many_samples_down(monkeypatch: pytest.MonkeyPatch) -> None:
    f, g = np.random.default_rng(0).normal(size=(2, 50, 3))
    whole = measures.cka_complement(f, g)
    monkeypatch.setattr(measures, "CKA_SAMPLES", 20)
    drawn = measures.cka_complement(f, g)
    assert drawn != whole
    assert drawn == measures.cka_complement(f, g)
    assert drawn != measures.cka_complement(f, g, seed=1)


def test_overrides_are_shares_of_the_samples_on_which_the_two_disagree() -> None:
    # They disagree on the last five: f wins on 2, g on 1, and 2 go to a third class.
    f = classes(0, 1, 0, 0, 0, 0, 0)
    g = classes(0, 1, 1, 1, 1, 1, 1)
    both = classes(0, 2, 0, 0, 1, 2, 2)
    assert measures.overrides(f, g, both) == (Share(2, 5), Share(1, 5))
    none = measures.overrides(f, f, f)[0]
    assert none.n == 0
    assert math.isnan(none.value)


def test_margin_is_the_mean_difference_of_the_two_largest_logits() -> None:
    largest, second = np.array([3.0, 1.0], np.float32), np.array([1.0, 0.5], np.float32)
    assert measures.margin(largest, second) == pytest.approx((2 + 0.5) / 2)
