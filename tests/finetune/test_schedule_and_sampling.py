import math

import numpy as np
import pytest

from wiseft.errors import WiseftError
from wiseft.images.subsets import draw_subset
from wiseft.study.finetune.schedule import (
    check_classes,
    epoch_order,
    learning_rate,
    random_half,
    step_seed,
    warmup_length,
)


def test_learning_rate_rises_linearly_then_falls_as_a_cosine():
    rates = [learning_rate(step, 8, 2, 1.0) for step in range(8)]
    cosine = [(1 + math.cos(math.pi * i / 6)) / 2 for i in range(6)]
    assert rates == pytest.approx([0.5, 1.0, *cosine])
    assert rates[2] == 1.0
    assert rates[-1] == pytest.approx(0.0669873)


def test_learning_rate_without_warmup_begins_at_the_peak():
    assert learning_rate(0, 4, 0, 3e-5) == 3e-5


def test_warmup_as_in_the_paper_is_500_steps_whatever_the_length():
    assert warmup_length(25000, 500, None) == 500
    assert warmup_length(160, 500, None) == 500
    # A training that ends in its warm-up has no cosine.
    assert [learning_rate(s, 2, 4, 1.0) for s in range(2)] == [0.25, 0.5]


def test_warmup_can_be_bounded():
    assert warmup_length(160, 100, 0.1) == 16
    assert warmup_length(5000, 100, 0.1) == 100
    assert warmup_length(5, 100, 0.1) == 0


def test_subset_is_drawn_by_the_seed_without_replacement():
    chosen = draw_subset(100, 30, seed=1)
    assert len(set(chosen.tolist())) == 30
    assert (np.diff(chosen) > 0).all()
    assert chosen.min() >= 0
    assert chosen.max() < 100
    assert np.array_equal(chosen, draw_subset(100, 30, seed=1))
    assert not np.array_equal(chosen, draw_subset(100, 30, seed=2))


def test_subset_is_uniform():
    counts = np.zeros(20)
    for seed in range(500):
        counts[draw_subset(20, 5, seed)] += 1
    # Each sample is in a quarter of the subsets; five standard errors of a count are 48.
    assert (abs(counts - 125) < 48).all()


def test_no_size_means_all_and_too_large_a_size_is_an_error():
    assert np.array_equal(draw_subset(4, None, 0), np.arange(4))
    with pytest.raises(WiseftError, match="train_samples is 5, but the train split has 4"):
        draw_subset(4, 5, 0)


def test_order_is_a_permutation_of_each_epoch():
    indices = np.array([3, 5, 8, 13, 21, 34])
    orders = [epoch_order(indices, 0, epoch) for epoch in range(4)]
    assert all(sorted(order) == indices.tolist() for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert np.array_equal(orders[2], epoch_order(indices, 0, 2))
    assert not np.array_equal(orders[0], epoch_order(indices, 1, 0))


def test_inversion_of_a_sample_depends_on_seed_epoch_and_sample_alone():
    long, short = random_half(2000, 0, 1), random_half(10, 0, 1)
    assert np.array_equal(long[:10], short)
    assert 0.45 < long.mean() < 0.55
    assert not np.array_equal(long, random_half(2000, 0, 2))
    assert not np.array_equal(long, random_half(2000, 1, 1))


def test_step_seeds_differ():
    assert len({step_seed(seed, step) for seed in range(3) for step in range(100)}) == 300


def test_missing_classes_are_named():
    check_classes(np.array([0, 1, 2, 1]), ["a", "b", "c"])
    with pytest.raises(WiseftError, match=r"the 2 training samples have none of the class b;"):
        check_classes(np.array([0, 2]), ["a", "b", "c"])
    with pytest.raises(WiseftError, match=r"1, 2, 3, 4, 5 and 4 more"):
        check_classes(np.array([0]), [str(i) for i in range(10)])
