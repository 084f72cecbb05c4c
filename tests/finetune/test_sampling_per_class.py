import numpy as np
import pytest

from wiseft.errors import WiseftError
from wiseft.images.subsets import draw_subset
from wiseft.study.config import FinetuneSettings
from wiseft.study.finetune.schedule import (
    draw_half,
    draw_per_class,
    draw_samples,
    epoch_order,
    sample_generator,
)

LABELS = np.array([0] * 40 + [1] * 7 + [2] * 25)


@pytest.mark.parametrize("size", [1, 5, 7])
def test_every_class_gives_as_many_distinct_samples(size):
    chosen = draw_per_class(LABELS, size, seed=3)
    assert np.bincount(LABELS[chosen]).tolist() == [size] * 3
    assert (np.diff(chosen) > 0).all()


def test_the_draw_is_the_seeds_and_larger_ones_hold_smaller_ones():
    assert np.array_equal(draw_per_class(LABELS, 3, 0), draw_per_class(LABELS, 3, 0))
    assert not np.array_equal(draw_per_class(LABELS, 3, 0), draw_per_class(LABELS, 3, 1))
    assert set(draw_per_class(LABELS, 3, 0)) < set(draw_per_class(LABELS, 6, 0))


def test_every_sample_of_a_class_may_be_drawn():
    drawn = [draw_per_class(LABELS, 1, seed)[1] for seed in range(60)]
    assert set(drawn) == set(range(40, 47))


def test_too_few_samples_of_a_class_are_named():
    with pytest.raises(WiseftError, match=r"samples_per_class is 8, but class 1 has 7.*lower it"):
        draw_per_class(LABELS, 8, 0)


def test_the_settings_say_which_samples():
    shots = FinetuneSettings(samples_per_class=2)
    assert np.array_equal(draw_samples(LABELS, shots, 5), draw_per_class(LABELS, 2, 5))
    some = FinetuneSettings(train_samples=9)
    assert np.array_equal(draw_samples(LABELS, some, 5), draw_subset(len(LABELS), 9, 5))
    assert len(draw_samples(LABELS, FinetuneSettings(), 5)) == len(LABELS)


def test_an_epoch_goes_through_them_shuffled_not_class_by_class():
    chosen = draw_per_class(LABELS, 7, 0)
    ordered = LABELS[epoch_order(chosen, 0, 0)]
    assert (np.diff(ordered) < 0).sum() > 2  # sorted by class it would be none


def test_random_numbers_of_a_sample_follow_from_seed_epoch_and_sample_alone():
    draws = {
        key: sample_generator(*key).random()
        for key in [(s, e, i) for s in range(3) for e in range(3) for i in range(20)]
    }
    assert len(set(draws.values())) == len(draws)
    assert sample_generator(1, 2, 3).random() == draws[1, 2, 3]


def test_the_two_halves_are_disjoint_and_together_everything():
    shots = FinetuneSettings(samples_per_class=7)
    first, second = (
        draw_samples(LABELS, shots.model_copy(update={"half": half}), 5) for half in (1, 2)
    )
    assert (len(first), len(second)) == (10, 11)
    assert set(first).isdisjoint(second)
    assert np.array_equal(np.sort([*first, *second]), draw_samples(LABELS, shots, 5))
    assert (np.diff(first) > 0).all()
    assert first[-1] > second[0]  # at random, and not the front and the back
    assert not np.array_equal(first, draw_half(draw_samples(LABELS, shots, 5), 1, 6))
