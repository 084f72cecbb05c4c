"""The metrics, and the counts that they are made of (paper, section 3).

Every metric is a function of counts that are summed over samples; so the stage tabulate recomputes
it from the sums over a resample with the functions that the stage evaluate calls on the whole.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wiseft.errors import WiseftError

ACCURACY = "accuracy"
WORST_GROUP = "worst-group-accuracy"
MACRO_F1 = "macro-f1"
ALL_FRAMES = "all-frames-accuracy"
METRICS = (ACCURACY, WORST_GROUP, MACRO_F1, ALL_FRAMES)

OUTSIDE = -1
"""The prediction, and the mapped label, of a sample that a view does not cover."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """What the predictions of n samples are held against.

    Attributes:
        labels: int64 (n,).
        base_ids: text (n,); frames of one video, or renditions of one image, share theirs.
        others: int64 (pairs, 2), a sample's index and a further label that counts as right;
            None for none anywhere.
        groups: (n,), the group of every sample, null for none; None where no group is needed.
    """

    labels: Integers
    base_ids: NDArray[np.str_]
    others: Integers | None = None
    groups: NDArray[np.object_] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: NDArray[np.bool_]) -> Truth:
        """Return the samples where `chosen`, bool (n,), is true."""
        others = self.others
        if others is not None:
            others = others[chosen[others[:, 0]]]
            others = np.column_stack([np.cumsum(chosen)[others[:, 0]] - 1, others[:, 1]])
        return replace(
            self,
            labels=self.labels[chosen],
            base_ids=self.base_ids[chosen],
            others=others,
            groups=None if self.groups is None else self.groups[chosen],
        )

    def right(self, prediction: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return whether each prediction (n,) is the label or one of the further labels."""
        right = np.asarray(prediction == self.labels)
        if self.others is not None:
            sample, label = self.others.T
            right[sample[prediction[sample] == label]] = True
        return right


@dataclass(frozen=True)
class Outcome:
    """A metric over samples.

    Attributes:
        n: samples; of `all-frames-accuracy` base ids; of `worst-group-accuracy` the samples of
            the worst group.
        n_correct: how many of them are right; None for `macro-f1`, which counts nothing.
        groups: `n` and `n_correct` of each group; None but for `worst-group-accuracy`.
    """

    value: float
    n: int
    n_correct: int | None
    groups: dict[str, dict[str, int]] | None = None


def pairs_of(other_labels: Sequence[Sequence[int]] | None) -> Integers | None:
    """Return further labels, a list a sample, in the form that `Truth` has them."""
    if other_labels is None:
        return None
    pairs = [(index, label) for index, labels in enumerate(other_labels) for label in labels]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2) if pairs else None


def measure(
    metric: str, prediction: NDArray[np.integer], truth: Truth, ignore: Collection[str] = ()
) -> Outcome:
    """Return a metric of predictions, int (n,), all of which a view covers.

    Args:
        metric: one of `METRICS`.
        ignore: groups that `worst-group-accuracy` leaves out.

    Raises:
        WiseftError: if there is no sample, or none in a group that counts; if `macro-f1` meets
            samples of several right labels.
    """
    if len(truth) == 0:
        raise WiseftError("there is no sample to measure")
    if metric == ACCURACY:
        return _share(truth.right(prediction))
    if metric == ALL_FRAMES:
        return _share(all_right(truth.right(prediction), truth.base_ids)[1])
    if metric == MACRO_F1:
        return _macro_f1(prediction, truth)
    if metric == WORST_GROUP:
        return _worst_group(truth.right(prediction), truth, ignore)
    raise WiseftError(f"unknown metric {metric}; valid: {', '.join(METRICS)}")


def all_right(
    right: NDArray[np.bool_], base_ids: NDArray[np.str_]
) -> tuple[NDArray[np.str_], NDArray[np.bool_]]:
    """Return the sorted distinct base ids, and whether all samples of each are right."""
    unique, place = np.unique(base_ids, return_inverse=True)
    wrong = np.bincount(place, weights=~right, minlength=len(unique))
    return unique, wrong == 0


def group_places(
    groups: NDArray[np.object_], ignore: Collection[str] = ()
) -> tuple[list[str], Integers]:
    """Return the sorted names of the groups that count, and for each sample its group's place.

    The place is `OUTSIDE` for a sample without a group or of an ignored one.

    Raises:
        WiseftError: if no sample is in a group that counts.
    """
    names = np.array([_text(value) for value in groups.tolist()], dtype=object)
    wanted = sorted({name for name in names.tolist() if name is not None and name not in ignore})
    if not wanted:
        left_out = f" but {', '.join(sorted(ignore))}, which count nothing" if ignore else ""
        raise WiseftError(f"no sample has a group{left_out}; there is no worst group")
    place = {name: index for index, name in enumerate(wanted)}
    return wanted, np.array([place.get(name, OUTSIDE) for name in names.tolist()], dtype=np.int64)


def worst_of_counts(n_correct: NDArray[Any], n: NDArray[Any]) -> Floats:
    """Return the lowest accuracy over the last axis, of groups with at least one sample."""
    shares = np.where(n > 0, n_correct / np.maximum(n, 1), np.inf)
    return np.asarray(shares.min(axis=-1), dtype=np.float64)


def f1_of_counts(
    true_positives: NDArray[Any], predicted: NDArray[Any], actual: NDArray[Any]
) -> Floats:
    """Return the mean F1 over the last axis, of classes with at least one sample.

    Equal to scikit-learn's `f1_score(average="macro", labels=np.unique(y_true))`.

    Args:
        true_positives: samples of the class that are predicted so.
        predicted: samples that are predicted so.
        actual: samples of the class.
    """
    scores = 2 * true_positives / np.maximum(predicted + actual, 1)
    occurs = actual > 0
    return np.asarray((scores * occurs).sum(axis=-1) / occurs.sum(axis=-1), dtype=np.float64)


def _share(right: NDArray[np.bool_]) -> Outcome:
    n, n_correct = len(right), int(right.sum())
    return Outcome(n_correct / n, n, n_correct)


def _macro_f1(prediction: NDArray[np.integer], truth: Truth) -> Outcome:
    if truth.others is not None and len(truth.others):
        raise WiseftError("macro-f1 needs one right label a sample, but some samples have several")
    classes, actual = np.unique(truth.labels, return_counts=True)
    top = int(max(classes.max(), prediction.max())) + 1
    predicted = np.bincount(prediction, minlength=top)[classes]
    hits = np.bincount(truth.labels[truth.right(prediction)], minlength=top)[classes]
    return Outcome(float(f1_of_counts(hits, predicted, actual)), len(truth), None)


def _worst_group(right: NDArray[np.bool_], truth: Truth, ignore: Collection[str]) -> Outcome:
    if truth.groups is None:
        raise WiseftError(f"{WORST_GROUP} needs the samples' groups, but there are none")
    names, place = group_places(truth.groups, ignore)
    counts = place != OUTSIDE
    n = np.bincount(place[counts], minlength=len(names))
    n_correct = np.bincount(place[counts], weights=right[counts], minlength=len(names))
    value = float(worst_of_counts(n_correct, n))
    worst = int(np.argmin(n_correct / n))
    groups = {
        name: {"n": int(n[index]), "n_correct": int(n_correct[index])}
        for index, name in enumerate(names)
    }
    return Outcome(value, int(n[worst]), int(n_correct[worst]), groups)


def _text(value: Any) -> str | None:
    """Return a group's value as text; None for null, which pandas writes as None or NaN."""
    if value is None or value != value:
        return None
    return str(value)
