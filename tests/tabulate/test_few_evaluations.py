"""Where to evaluate next, on curves that are known."""

import numpy as np
import pytest

from wiseft.errors import WiseftError
from wiseft.tabulate.few_evaluations import HELD_OUT, ONE_ERROR, Score, choices, next_alpha, unseen
from wiseft.tabulate.selection import choose_alpha

GRID = [round(0.05 * i, 2) for i in range(21)]
N = 5000


def peak(alpha):
    return 0.85 - 0.3 * (alpha - 0.35) ** 2


def plateau(alpha):
    return 0.6 + 0.3 * min(1.0, alpha / 0.62)


def rise_that_slows(alpha):
    return 0.9 - 0.2 * np.exp(-5 * alpha)


def fall(alpha):
    return 0.9 - 0.1 * alpha


CURVES = [peak, plateau, rise_that_slows, fall]


def error(value):
    return float(np.sqrt(value * (1 - value) / N))


def scores(values, higher_is_better=True):
    found = {}
    for alpha, value in values.items():
        shown = value if higher_is_better else 1 - value
        found[alpha] = {"val": Score(shown, error(value), higher_is_better), "other": Score(0.0)}
    return found


def asked(whole, budget, grid=GRID):
    """Return what is evaluated, in its order."""
    measured = {}
    while (alpha := next_alpha(grid, measured, "val", budget)) is not None:
        assert alpha not in measured
        measured[alpha] = whole[alpha]
    return measured


@pytest.mark.parametrize("curve", CURVES)
def test_seven_evaluations_choose_as_twenty_one(curve):
    whole = scores({alpha: curve(alpha) for alpha in GRID})
    few = asked(whole, 7)
    assert len(few) == 7
    assert choices(few, "val") == choices(whole, "val")


@pytest.mark.parametrize("budget", range(1, 22))
def test_a_budget_is_used_and_kept(budget):
    few = list(asked(scores({alpha: peak(alpha) for alpha in GRID}), budget))
    assert len(few) == budget
    assert few[:3] == [0.0, 1.0, 0.5][:budget]
    assert set(few) <= set(GRID)


def test_a_larger_budget_only_adds_and_the_grid_ends_it():
    whole = scores({alpha: plateau(alpha) for alpha in GRID})
    everything = list(asked(whole, 1000))
    assert sorted(everything) == GRID
    assert list(asked(whole, 9)) == everything[:9]


@pytest.mark.parametrize("curve", CURVES)
def test_lower_is_better_asks_for_the_same(curve):
    values = {alpha: curve(alpha) for alpha in GRID}
    lower = scores(values, higher_is_better=False)
    assert list(asked(lower, 9)) == list(asked(scores(values), 9))
    assert choices(lower, "val") == choices(scores(values), "val")


def test_the_order_of_grid_and_results_is_nothing():
    whole = scores({alpha: peak(alpha) for alpha in GRID})
    measured = asked(whole, 6)
    backwards = dict(reversed(measured.items()))
    expected = next_alpha(GRID, measured, "val", 7)
    assert next_alpha(GRID[::-1], backwards, "val", 7) == expected


def test_the_gap_beside_the_best_is_halved_on_its_better_side():
    measured = scores({0.0: 0.70, 0.5: 0.90, 1.0: 0.80})
    assert next_alpha(GRID, measured, "val", 7) == 0.75
    measured = scores({0.0: 0.80, 0.5: 0.90, 1.0: 0.70})
    assert next_alpha(GRID, measured, "val", 7) == 0.25


def test_then_where_the_curve_comes_within_one_standard_error_of_the_best():
    # Between 0.5 and 1 the cubic is nearly a line: it passes 0.9 - 0.05 at about 0.75.
    measured = scores({0.0: 0.6, 0.5: 0.8, 0.95: 0.89, 1.0: 0.9})
    measured[1.0]["val"] = Score(0.9, 0.05)
    asked_for = next_alpha(GRID, measured, "val", 7)
    assert 0.65 <= asked_for <= 0.8
    measured[1.0]["val"] = Score(0.9, 0.0)  # the best alone will do, and its gap is used up
    assert next_alpha(GRID, measured, "val", 7) == 0.25


def test_without_errors_both_choices_are_the_best():
    measured = {alpha: {"val": Score(peak(alpha))} for alpha in GRID}
    assert choices(measured, "val") == {HELD_OUT: 0.35, ONE_ERROR: 0.35}
    few = asked(measured, 7)
    assert choices(few, "val")[HELD_OUT] == 0.35


def test_choices_are_those_of_the_library():
    values = {alpha: peak(alpha) for alpha in GRID}
    expected = {rule: choose_alpha(values, N, rule) for rule in (HELD_OUT, ONE_ERROR)}
    assert choices(scores(values), "val") == expected


@pytest.mark.parametrize("curve", CURVES)
def test_noise_costs_little(curve):
    random, lost = np.random.default_rng(3), []
    for _ in range(20):
        values = {alpha: random.binomial(N, curve(alpha)) / N for alpha in GRID}
        whole = scores(values)
        few, all_of_it = (choices(each, "val") for each in (asked(whole, 7), whole))
        lost += [100 * (curve(all_of_it[rule]) - curve(few[rule])) for rule in few]
    assert np.mean(lost) <= 0.2


def test_equal_values_everywhere_widen_no_doubt():
    whole = scores(dict.fromkeys(GRID, 0.5))
    assert choices(asked(whole, 7), "val") == {HELD_OUT: 0.0, ONE_ERROR: 0.0}


def test_uneven_grids_and_scales_beyond_one():
    grid = [0.0, 0.1, 0.4, 0.45, 0.8, 1.5, 2.0]
    whole = scores({alpha: plateau(alpha) for alpha in grid})
    few = list(asked(whole, 7, grid))
    assert few[:3] == [0.0, 2.0, 0.45]
    assert sorted(few) == grid
    assert next_alpha([0.3], {}, "val", 3) == 0.3


def test_alphas_outside_of_the_grid_count_and_are_used():
    measured = scores({0.0: 0.7, 1.0: 0.8, 0.5: 0.9, 0.51: 0.9, 0.333: 0.85})
    assert next_alpha(GRID, measured, "val", 5) is None
    assert next_alpha(GRID, measured, "val", 6) in GRID
    assert choices(measured, "val")[HELD_OUT] == 0.5


@pytest.mark.parametrize(
    ("score", "match"),
    [
        (None, "at alpha 0.5 the held-out set val has no value"),
        (Score(float("nan")), "has nan"),
        (Score(0.8, float("inf")), "has 0.8 [+]- inf"),
    ],
)
def test_a_value_that_is_missing_is_named(score, match):
    measured = scores({0.0: 0.7, 0.5: 0.8, 1.0: 0.8})
    measured[0.5] = {} if score is None else {"val": score}
    with pytest.raises(WiseftError, match=match):
        next_alpha(GRID, measured, "val", 7)
    with pytest.raises(WiseftError, match=match):
        choices(measured, "val")


def test_nothing_evaluated_is_no_choice():
    with pytest.raises(WiseftError, match="no alpha was evaluated"):
        choices({}, "val")


def test_what_was_not_seen_is_said():
    grid = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert unseen(grid, [0.0, 0.5, 0.7, 0.95, 1.0]) == (
        "7 of 11 alphas were not evaluated (0.1 to 0.4, 0.6, 0.8, 0.9): "
        "the choices are among the others, and the curves between those are not known."
    )
    assert unseen(grid, grid) == ""
