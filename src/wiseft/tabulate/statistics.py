"""The metric of one place at all points, in the form that the bootstrap resamples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from wiseft.base.metrics import (
    ACCURACY,
    ALL_FRAMES,
    MACRO_F1,
    all_right,
    f1_of_counts,
    group_places,
    worst_of_counts,
)
from wiseft.tabulate.bootstrap import Block
from wiseft.tabulate.intervals import FEWEST_CLUSTERS
from wiseft.tabulate.predictions import Cell, Point

POINTS_A_BLOCK = 8  # of a metric of many classes: bounds the memory of a resample's sums

Floats = npt.NDArray[np.float64]
Correct = npt.NDArray[np.bool_]
Predictions = list[npt.NDArray[np.int32]]


@dataclass(frozen=True)
class Statistic:
    """A metric at one place.

    Attributes:
        column: the place of each point in values and draws.
        values: the metric at each point.
        base_ids: text (units,); units are samples or, of `all-frames-accuracy`, base ids.
        clusters: text (units,): what each unit was drawn with.
        exact: whether the metric is a share of units that were drawn independently.
        correct: bool (units, points) for a metric that is a share of right units; else None.
        blocks: the same for the bootstrap.
    """

    metric: str
    column: dict[Point, int]
    values: Floats
    base_ids: npt.NDArray[np.str_]
    clusters: npt.NDArray[np.str_]
    exact: bool
    correct: Correct | None
    blocks: list[Block]

    @property
    def n_clusters(self) -> int:
        """The number of clusters."""
        return len(np.unique(self.clusters))

    @property
    def too_few(self) -> bool:
        """Whether there are too few clusters for an interval; an exact one needs none."""
        return not self.exact and self.n_clusters < FEWEST_CLUSTERS

    @property
    def resampled(self) -> npt.NDArray[np.str_]:
        """What is resampled, text (units,): clusters, or, of too few, what is within them."""
        return self.base_ids if self.too_few else self.clusters


def statistic(cell: Cell) -> Statistic:
    """Return the metric of a cell at all its points."""
    predictions = list(cell.predictions.values())
    column = {point: place for place, point in enumerate(cell.predictions)}
    values = np.array([cell.measure(point).value for point in cell.predictions])
    base_ids, clusters, correct = cell.truth.base_ids, cell.clusters, None
    if cell.metric == MACRO_F1:
        blocks = _macro_f1(cell, predictions)
    else:
        right = np.column_stack([cell.truth.right(prediction) for prediction in predictions])
        if cell.metric == ACCURACY:
            correct = right
        if cell.metric == ALL_FRAMES:
            frames = [all_right(each, base_ids) for each in right.T]
            correct = np.column_stack([each for _, each in frames])
            base_ids, first = np.unique(base_ids, return_index=True)
            clusters = clusters[first]
        blocks = [_worst_group(cell, right) if correct is None else shares(correct)]
    return Statistic(cell.metric, column, values, base_ids, clusters, cell.exact, correct, blocks)


def shares(correct: Correct) -> Block:
    """Return the shares of right units as a block.

    Args:
        correct: bool (units, points).
    """
    counts = np.column_stack([correct, np.ones(len(correct), dtype=bool)])
    return Block(counts, lambda sums: sums[:, :-1] / sums[:, -1:])


def _worst_group(cell: Cell, right: Correct) -> Block:
    assert cell.truth.groups is not None
    names, place = group_places(cell.truth.groups, cell.ignore)
    n_points, n_groups = right.shape[1], len(names)
    inside = place[:, None] == np.arange(n_groups)
    counts = (right[:, :, None] & inside[:, None, :]).reshape(len(right), -1)

    def value(sums: Floats) -> Floats:
        n_correct = sums[:, :-n_groups].reshape(-1, n_points, n_groups)
        return worst_of_counts(n_correct, sums[:, None, -n_groups:])

    return Block(np.column_stack([counts, inside]), value)


def _macro_f1(cell: Cell, predictions: Predictions) -> list[Block]:
    classes, label = np.unique(cell.truth.labels, return_inverse=True)
    actual = _one_hot(label, len(classes))
    blocks = []
    for start in range(0, len(predictions), POINTS_A_BLOCK):
        parts = [actual]
        for prediction in predictions[start : start + POINTS_A_BLOCK]:
            place = np.searchsorted(classes, prediction)
            place[place == len(classes)] = 0
            # A prediction of a class that does not occur is right nowhere and counts nowhere.
            place = np.where(classes[place] == prediction, place, -1)
            hit = np.where(place == label, label, -1)
            parts += [_one_hot(hit, len(classes)), _one_hot(place, len(classes))]
        counts = sparse.csr_array(sparse.hstack(parts, format="csr"))
        blocks.append(Block(counts, _F1(len(classes))))
    return blocks


@dataclass(frozen=True)
class _F1:
    """The macro F1 of sums of actual, and for each point of hits and predictions by class."""

    n_classes: int

    def __call__(self, sums: Floats) -> Floats:
        by_class = sums.reshape(len(sums), -1, self.n_classes)
        return f1_of_counts(by_class[:, 1::2], by_class[:, 2::2], by_class[:, :1])


def _one_hot(place: npt.NDArray[np.integer], n: int) -> sparse.csr_array:
    """Return a row a sample with a one at its place; an empty row where that is negative."""
    rows = np.flatnonzero(place >= 0)
    ones = np.ones(len(rows), dtype=np.float32)
    return sparse.csr_array((ones, (rows, place[rows])), shape=(len(place), n))
