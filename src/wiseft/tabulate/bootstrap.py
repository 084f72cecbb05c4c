"""Cluster bootstrap of metrics: renditions of one image are resampled together.

The base ids are the clusters. Clusters that occur in the same datasets form a stratum, and each
stratum is resampled with replacement from itself: datasets that share base ids move together,
others independently, and a dataset keeps its number of clusters in every resample. All models
and alphas see the same resamples, so that differences between them are paired.

A :class:`Statistic` is the metric of one place at all points, in the form that is resampled.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from wiseft.tabulate.intervals import FEWEST_CLUSTERS
from wiseft.tabulate.predictions import Cell, Point

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Correct = npt.NDArray[np.bool_]
Predictions = list[npt.NDArray[np.int32]]

POINTS_A_BLOCK = 8  # of a metric of many classes: bounds the memory of a resample's sums

_CHUNK_BYTES = 64 * 2**20  # of float32 weights held at a time
_EXACT_IN_FLOAT32 = 2**24  # sums of integers up to here do not depend on their order


@dataclass(frozen=True)
class Block:
    """A metric of some points, as a function of sums over samples.

    Attributes:
        counts: what is summed: non-negative integers (samples, k), dense or sparse.
        value: from sums over resamples, (resamples, k), to the metric, (resamples, points).
    """

    counts: npt.NDArray[np.bool_] | sparse.csr_array
    value: Callable[[Floats], Floats]


class ClusterBootstrap:
    """Resamples of a set of datasets.

    Args:
        base_ids: per dataset the base id of each sample, shape (samples,).
        resamples: number of resamples.
        seed: of the resamples. Each stratum draws from a generator of its own, so that further
            datasets leave the resamples of the others as they are.
    """

    def __init__(
        self, base_ids: Mapping[str, npt.NDArray[np.str_]], resamples: int, seed: int
    ) -> None:
        self.resamples = resamples
        unique = {name: np.unique(base_ids[name]) for name in sorted(base_ids)}
        members: dict[str, list[str]] = {}
        for name, clusters in unique.items():
            for cluster in clusters.tolist():
                members.setdefault(cluster, []).append(name)
        by_stratum: dict[tuple[str, ...], list[str]] = {}
        for cluster in sorted(members):
            by_stratum.setdefault(tuple(members[cluster]), []).append(cluster)
        strata = sorted(by_stratum)
        self._sizes = [len(by_stratum[datasets]) for datasets in strata]
        self._seeds = [[seed, _hash(datasets)] for datasets in strata]
        position = {
            cluster: (index, place)
            for index, datasets in enumerate(strata)
            for place, cluster in enumerate(by_stratum[datasets])
        }
        self._places: dict[str, Integers] = {
            name: np.array([position[base] for base in base_ids[name].tolist()], dtype=np.int64)
            for name in unique
        }

    def draws(self, metrics: Mapping[str, Sequence[Block]]) -> dict[str, Floats]:
        """Return each dataset's metric, recomputed in every resample.

        Args:
            metrics: per dataset one block or more of its samples.

        Returns:
            Per dataset values of shape (resamples, points of all its blocks).
        """
        summed = {
            name: [(block.value, self.cluster_sums(name, block.counts)) for block in blocks]
            for name, blocks in metrics.items()
        }
        draws: dict[str, list[Floats]] = {name: [] for name in metrics}
        for weights in self._weights():
            for name, blocks in summed.items():
                values = [value(_resample(weights, parts)) for value, parts in blocks]
                draws[name].append(np.hstack(values))
        return {name: np.concatenate(parts) for name, parts in draws.items()}

    def cluster_sums(
        self, name: str, counts: npt.NDArray[np.bool_] | sparse.csr_array
    ) -> dict[int, npt.NDArray[np.floating] | sparse.csr_array]:
        """Return per stratum the sums of counts over each cluster of a dataset, (clusters, k)."""
        stratum_of, place = self._places[name].T
        parts: dict[int, npt.NDArray[np.floating] | sparse.csr_array] = {}
        for index in np.unique(stratum_of).tolist():
            chosen = np.flatnonzero(stratum_of == index)
            ordered = chosen[np.argsort(place[chosen], kind="stable")]
            starts = np.unique(place[ordered], return_index=True)[1]
            n_clusters = self._sizes[index]
            sizes = np.diff([*starts.tolist(), len(ordered)])
            exact = n_clusters * int(sizes.max()) < _EXACT_IN_FLOAT32
            kind = np.float32 if exact else np.float64
            if isinstance(counts, np.ndarray):
                sums = np.add.reduceat(counts[ordered], starts, axis=0, dtype=np.int32)
                parts[index] = sums.astype(kind)
            else:
                members = (np.ones(len(chosen), kind), (place[chosen], chosen))
                parts[index] = sparse.csr_array(members, (n_clusters, len(place))) @ counts
        return parts

    def _weights(self) -> Iterator[list[npt.NDArray[np.float32]]]:
        """Yield chunks of resamples: per stratum how often each cluster was drawn."""
        generators = [np.random.default_rng(seed) for seed in self._seeds]
        chunk = max(1, min(self.resamples, _CHUNK_BYTES // (4 * max(1, sum(self._sizes)))))
        for start in range(0, self.resamples, chunk):
            rows = min(chunk, self.resamples - start)
            yield [
                _multiplicities(generator, rows, clusters)
                for generator, clusters in zip(generators, self._sizes, strict=True)
            ]


def _hash(datasets: Sequence[str]) -> int:
    digest = hashlib.sha256("\n".join(datasets).encode()).digest()
    return int.from_bytes(digest[:8], "big")


def _resample(
    weights: list[npt.NDArray[np.float32]],
    parts: Mapping[int, npt.NDArray[np.floating] | sparse.csr_array],
) -> Floats:
    """Return the sums (resamples, k), which are exact integers."""
    by_stratum = [weights[index] @ matrix for index, matrix in parts.items()]
    return np.asarray(np.sum(by_stratum, axis=0, dtype=np.float64))


def _multiplicities(
    generator: np.random.Generator, rows: int, clusters: int
) -> npt.NDArray[np.float32]:
    drawn = generator.integers(0, clusters, size=(rows, clusters), dtype=np.int64)
    drawn += np.arange(rows)[:, None] * clusters
    counts = np.bincount(drawn.ravel(), minlength=rows * clusters)
    return counts.reshape(rows, clusters).astype(np.float32)


@dataclass(frozen=True)
class Known:
    """What stands in the place of clusters and blocks, where a metric is known otherwise.

    Attributes:
        n: samples; None: unknown.
        draws: from a number and a seed to as many draws of the metric, (draws, points); NaN
            without a standard error.
        ci_method: what intervals of these are called.
    """

    n: int | None
    draws: Callable[[int, int], Floats]
    ci_method: str


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
        known: in their place; None: there are blocks.
    """

    metric: str
    column: dict[Point, int]
    values: Floats
    base_ids: npt.NDArray[np.str_]
    clusters: npt.NDArray[np.str_]
    exact: bool
    correct: Correct | None
    blocks: list[Block]
    known: Known | None = None

    @property
    def n_clusters(self) -> int:
        """The number of clusters."""
        return len(np.unique(self.clusters))

    @property
    def too_few(self) -> bool:
        """Whether there are too few clusters for an interval; an exact one needs none."""
        return not self.exact and self.known is None and self.n_clusters < FEWEST_CLUSTERS

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
        blocks.append(Block(counts, functools.partial(_f1, len(classes))))
    return blocks


def _f1(n_classes: int, sums: Floats) -> Floats:
    """Return the macro F1 of sums: of what is actual, and at each point of hits and predictions."""
    by_class = sums.reshape(len(sums), -1, n_classes)
    return f1_of_counts(by_class[:, 1::2], by_class[:, 2::2], by_class[:, :1])


def _one_hot(place: npt.NDArray[np.integer], n: int) -> sparse.csr_array:
    """Return a row a sample with a one at its place; an empty row where that is negative."""
    rows = np.flatnonzero(place >= 0)
    ones = np.ones(len(rows), dtype=np.float32)
    return sparse.csr_array((ones, (rows, place[rows])), shape=(len(place), n))
