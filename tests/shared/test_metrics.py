"""The metrics, against scikit-learn and against counts done by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from wiseft.base.metrics import Outcome, Truth, all_right, group_places, measure, pairs_of
from wiseft.errors import WiseftError


def truth(labels, base_ids=None, others=None, groups=None) -> Truth:
    labels = np.asarray(labels, dtype=np.int64)
    base = [str(index) for index in range(len(labels))] if base_ids is None else base_ids
    return Truth(
        labels,
        np.asarray(base, dtype=str),
        pairs_of(others),
        None if groups is None else np.array(groups, dtype=object),
    )


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=60))
def test_macro_f1_is_scikit_learns_over_the_labels_that_occur(pairs) -> None:
    labels, prediction = np.array(pairs).T
    expected = f1_score(
        labels, prediction, average="macro", labels=np.unique(labels), zero_division=0
    )
    found = measure("macro-f1", prediction, truth(labels))
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert (found.n, found.n_correct, found.groups) == (len(labels), None, None)


def test_macro_f1_by_hand() -> None:
    # Class 0: 2 of 3 found, 2 of 3 predictions right: 2/3. Class 5: 1 of 1 of 3 predicted: 1/2.
    # Class 2 never occurs: the one prediction of it costs class 0 a recall and has no F1.
    found = measure("macro-f1", np.array([0, 0, 2, 5]), truth([0, 0, 0, 5]))
    assert found.value == pytest.approx((0.8 + 1) / 2)


def test_accuracy_takes_any_of_the_right_labels() -> None:
    samples = truth([0, 1, 2, 3], others=[[], [4, 5], [4], []])
    assert samples.right(np.array([4, 5, 5, 3])).tolist() == [False, True, False, True]
    assert measure("accuracy", np.array([4, 5, 5, 3]), samples) == Outcome(0.5, 4, 2)


def test_a_selection_of_samples_keeps_their_other_labels() -> None:
    samples = truth([0, 1, 2, 3], others=[[7], [8], [], [9]], groups=["a", "b", "c", "d"])
    chosen = samples.take(np.array([False, True, True, True]))
    assert chosen.right(np.array([8, 7, 9])).tolist() == [True, False, True]
    assert chosen.groups.tolist() == ["b", "c", "d"]
    assert chosen.base_ids.tolist() == ["1", "2", "3"]
    assert len(samples.take(np.zeros(4, dtype=bool))) == 0


def test_frames_of_a_base_id_count_together() -> None:
    samples = truth([1, 1, 1, 1, 1], base_ids=["v2", "v1", "v2", "v1", "v3"])
    found = measure("all-frames-accuracy", np.array([1, 1, 0, 1, 1]), samples)
    assert found == Outcome(2 / 3, 3, 2)
    names, right = all_right(np.array([True, True, False, True, True]), samples.base_ids)
    assert (names.tolist(), right.tolist()) == (["v1", "v2", "v3"], [True, False, True])


def test_worst_group_leaves_out_what_is_ignored_and_who_has_no_group() -> None:
    groups = ["Asia", "Asia", "Other", "Africa", "Africa", "Africa", None, float("nan")]
    samples = truth([0] * 8, groups=groups)
    prediction = np.array([0, 1, 1, 0, 0, 1, 1, 1])
    found = measure("worst-group-accuracy", prediction, samples, ["Other"])
    assert found.groups == {
        "Africa": {"n": 3, "n_correct": 2},
        "Asia": {"n": 2, "n_correct": 1},
    }
    assert (found.value, found.n, found.n_correct) == (0.5, 2, 1)
    everywhere = measure("worst-group-accuracy", prediction, samples)
    assert (everywhere.value, everywhere.n, everywhere.n_correct) == (0.0, 1, 0)


def test_groups_that_are_numbers_are_named_by_their_text() -> None:
    names, places = group_places(np.array([3, 10, 3], dtype=object), ["10"])
    assert (names, places.tolist()) == (["3"], [0, -1, 0])


@pytest.mark.parametrize(
    ("metric", "changes", "ignore", "message"),
    [
        ("accuracy", {"labels": []}, [], "there is no sample"),
        ("precision", {}, [], "unknown metric precision; valid: accuracy"),
        ("macro-f1", {"others": [[1], []]}, [], "one right label a sample"),
        ("worst-group-accuracy", {}, [], "needs the samples' groups"),
        ("worst-group-accuracy", {"groups": ["a", "a"]}, ["a"], "no sample has a group but a"),
        ("worst-group-accuracy", {"groups": [None, None]}, [], "no sample has a group;"),
    ],
)
def test_what_cannot_be_measured(metric, changes, ignore, message) -> None:
    samples = truth(**{"labels": [0, 1], **changes})
    with pytest.raises(WiseftError, match=message):
        measure(metric, np.zeros(len(samples), dtype=int), samples, ignore)
