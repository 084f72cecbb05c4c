"""The logit scale: its ticks, its limits and its inverse."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.special import expit, logit

from wiseft.errors import WiseftError
from wiseft.figures.axes import accuracy_axes, draw_identity, logit_limits, percent_text
from wiseft.figures.labels import logit_ticks
from wiseft.figures.marks import draw_interval


def test_a_narrow_range_gets_even_steps() -> None:
    assert logit_ticks(0.735, 0.845) == pytest.approx([0.74, 0.76, 0.78, 0.80, 0.82, 0.84])


def test_a_wide_range_gets_round_numbers_with_room() -> None:
    ticks = logit_ticks(0.58, 0.996)
    assert {0.60, 0.80, 0.90, 0.95, 0.98, 0.99, 0.995} <= {round(tick, 4) for tick in ticks}
    gaps = np.diff(logit(ticks))
    assert gaps.min() >= (logit(0.996) - logit(0.58)) / 10.5


@pytest.mark.parametrize("seed", range(20))
def test_ticks_are_inside_sorted_and_never_crowded(seed: int) -> None:
    low, high = np.sort(expit(np.random.default_rng(seed).uniform(-4, 6, 2)))
    ticks = logit_ticks(low, high)
    assert ticks == sorted(ticks)
    assert all(low <= tick <= high for tick in ticks)
    assert len(ticks) <= 11


def test_tick_labels_are_percent() -> None:
    ax = Figure().subplots()
    accuracy_axes(ax, (0.58, 0.996), (0.1, 0.9))
    ax.figure.canvas.draw()
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels[0] == "60"
    assert labels[-1] == "99.5"
    assert [percent_text(v) for v in (0.07, 0.995, 1.0)] == ["7", "99.5", "100"]
    assert len(ax.get_xticks(minor=True)) == 0


def test_equal_odds_ratios_are_equally_far_on_the_axis() -> None:
    ax = Figure().subplots()
    accuracy_axes(ax, (0.1, 0.9), (0.1, 0.9))
    x = ax.transData.transform([(p, 0.5) for p in (0.2, 0.5, 0.8)])[:, 0]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1])


def test_limits_hold_all_values_and_skip_what_has_no_logit() -> None:
    low, high = logit_limits([[0.5, 0.0], np.array([0.9, 1.0, np.nan])])
    assert 0 < low < 0.5
    assert 0.9 < high < 1
    with pytest.raises(WiseftError, match="strictly between 0 and 1"):
        logit_limits([[0.0, 1.0]])


def test_identity_only_where_it_passes_and_without_moving_the_view() -> None:
    ax = Figure().subplots()
    accuracy_axes(ax, (0.9, 0.99), (0.7, 0.8))
    assert not draw_identity(ax)
    accuracy_axes(ax, (0.6, 0.99), (0.2, 0.8))
    assert draw_identity(ax)
    assert ax.get_xlim() == (0.6, 0.99)
    assert ax.get_ylim() == (0.2, 0.8)
    (line,) = ax.lines
    assert list(line.get_xdata()) == list(line.get_ydata()) == [0.6, 0.8]


@pytest.mark.parametrize("ends", [(0.759, 0.884), (0.605, 0.75), (0.853, 0.885), (0.55, 0.9)])
def test_a_panel_of_a_wide_figure_has_at_least_three_ticks_with_room(ends: tuple[float, float]):
    ticks = logit_ticks(*ends, most=7)
    gaps = np.diff(logit(ticks)) / float(logit(ends[1]) - logit(ends[0]))
    assert len(ticks) >= 3
    assert gaps.min() > 0.1  # of an axis of 1.6 in, more than two digits of 7 pt take


def test_an_interval_up_to_1_goes_to_the_edge_of_a_logit_axis() -> None:
    """It has no end there: neither bar nor lower cap would be where it belongs."""
    ax = Figure().subplots()
    accuracy_axes(ax, (0.9, 0.999), (0.8, 0.99))
    point = {"value_x": 0.99, "ci_low_x": 0.97, "ci_high_x": 1.0}
    point |= {"value_y": 0.9, "ci_low_y": 0.85, "ci_high_y": 0.95}
    draw_interval(ax, point, "black")
    across, up = (each.get_segments()[0] for each in ax.containers[0].lines[2])
    assert across[:, 0] == pytest.approx([0.97, 0.999])
    assert up[:, 1] == pytest.approx([0.85, 0.95])
