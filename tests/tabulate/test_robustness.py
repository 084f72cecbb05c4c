"""The baselines' fit and effective robustness."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import linregress
from scipy.stats import t as student_t

from wiseft.tabulate.robustness import baseline_fit, fits_frame
from wiseft.tabulate.schema import TABLE, conform


def baselines(pairs, **changes):
    """Return a table with one baseline for each (reference, natural) pair of accuracies."""
    rows = []
    for index, (x, y) in enumerate(pairs):
        shared = {
            "source": "measured",
            "experiment": "demo",
            "model": "tiny",
            "reference": "ref",
            "method": "from-scratch",
            "variant": f"n{index}",
            "run": f"tiny__ref__from-scratch__n{index}",
            "seed": 0,
            "combination": "weight",
            "alpha": 1.0,
            "view": "all",
            "split": "test",
            "metric": "accuracy",
            "n": 10,
            "selection": "grid",
        } | changes
        rows += [
            shared | {"dataset": "ref", "value": x},
            shared | {"dataset": "ref", "split": "held-out", "value": 0.5},
            shared | {"dataset": "avg:natural", "value": y},
        ]
    return conform(pd.DataFrame(rows, columns=list(TABLE)), TABLE)


POINTS = [(0.6, 0.15), (0.75, 0.2), (0.9, 0.28), (0.95, 0.3), (0.97, 0.41)]


def test_a_line_in_logits_is_found_again():
    x = np.array([0.6, 0.8, 0.9, 0.97])
    y = expit(-1.5 + 0.4 * logit(x))
    fit = baseline_fit(baselines(zip(x, y, strict=True)), "natural")
    assert fit is not None
    assert fit.slope == pytest.approx(0.4)
    assert fit.intercept == pytest.approx(-1.5)
    assert fit.r2 == pytest.approx(1)
    assert fit.residual_se == pytest.approx(0, abs=1e-9)
    assert (fit.n, fit.x_min, fit.x_max) == (4, 0.6, 0.97)
    assert fit.predict(0.85) == pytest.approx(expit(-1.5 + 0.4 * logit(0.85)))


def test_fit_and_band_equal_scipy():
    fit = baseline_fit(baselines(POINTS), "avg:natural")
    assert fit is not None
    x, y = logit(np.array(POINTS)).T
    line = linregress(x, y)
    assert fit.slope == pytest.approx(line.slope)
    assert fit.intercept == pytest.approx(line.intercept)
    assert fit.r2 == pytest.approx(line.rvalue**2)
    # At x = 0 in logits, i.e. accuracy 0.5, the mean line's error is the intercept's.
    half = student_t.ppf(0.975, 3) * line.intercept_stderr
    low, high = fit.band(0.5)
    assert logit([low, high]).tolist() == pytest.approx(
        [line.intercept - half, line.intercept + half]
    )
    # Its slope's standard error follows from the residuals'.
    assert fit.residual_se / np.sqrt(fit.x_ss) == pytest.approx(line.stderr)


def test_effective_robustness_by_hand_and_flag_of_extrapolation():
    x = np.array([0.5, 0.7, 0.9])
    fit = baseline_fit(baselines(zip(x, x, strict=True)), "natural")  # the line y = x
    assert fit is not None
    reference, shift = np.array([0.8, 0.95, 0.4]), np.array([0.9, 0.9, 0.4])
    assert (shift - fit.predict(reference)).tolist() == pytest.approx([0.1, -0.05, 0.0])
    assert fit.extrapolated(reference).tolist() == [False, True, True]


def test_excluded_methods_other_methods_and_saturated_accuracies_are_left_out():
    table = pd.concat(
        [
            baselines(POINTS),
            baselines([(0.9, 0.8)], variant="n9-polarity", run="p"),
            baselines([(1.0, 0.3)], variant="perfect", run="q"),
            baselines([(0.8, 0.0)], variant="hopeless", run="r"),
            baselines([(0.9, 0.9)], method="end-to-end", run="s"),
            baselines([(0.9, 0.9)], alpha=0.5, variant="other-alpha", run="t"),
            baselines([(0.9, 0.9)], selection="fixed", variant="selected", run="u"),
        ]
    )
    fit = baseline_fit(table, "natural", exclude=["from-scratch__n9-polarity"])
    assert fit == baseline_fit(baselines(POINTS), "natural")
    with_polarity = baseline_fit(table, "natural")
    assert with_polarity is not None
    assert with_polarity.n == 6


def test_seeds_of_a_baseline_are_one_point():
    table = pd.concat([baselines(POINTS), baselines([(0.62, 0.17)], seed=1)])
    fit = baseline_fit(table, "natural")
    assert fit is not None
    assert fit.n == 5
    assert fit.x_min == pytest.approx(0.61)


def test_fewer_than_three_baselines_have_no_fit():
    assert baseline_fit(baselines(POINTS[:2]), "natural") is None
    assert baseline_fit(baselines([(0.7, 0.2), (0.7, 0.3), (0.7, 0.4)]), "natural") is None
    assert fits_frame(baselines(POINTS[:2]), ["natural"], []).empty
    frame = fits_frame(baselines(POINTS), ["natural"], [])
    assert frame.loc[0, ["experiment", "reference", "average", "n"]].tolist() == [
        "demo",
        "ref",
        "avg:natural",
        5,
    ]
