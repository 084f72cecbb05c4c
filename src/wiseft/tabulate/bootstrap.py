"""Cluster bootstrap of accuracies: renditions of one image are resampled together.

The base ids are the clusters. Clusters that occur in the same datasets form a stratum, and each
stratum is resampled with replacement from itself: datasets that share base ids move together,
others independently, and a dataset keeps its number of clusters in every resample. All models
and alphas see the same resamples, so that differences between them are paired.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Correct = npt.NDArray[np.bool_]

_CHUNK_BYTES = 64 * 2**20  # of float32 weights held at a time
_EXACT_IN_FLOAT32 = 2**24  # sums of integers up to here do not depend on their order


@dataclass(frozen=True)
class _Stratum:
    datasets: tuple[str, ...]
    n_clusters: int


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
        self.seed = seed
        unique = {name: np.unique(base_ids[name]) for name in sorted(base_ids)}
        members: dict[str, list[str]] = {}
        for name, clusters in unique.items():
            for cluster in clusters.tolist():
                members.setdefault(cluster, []).append(name)
        by_stratum: dict[tuple[str, ...], list[str]] = {}
        for cluster in sorted(members):
            by_stratum.setdefault(tuple(members[cluster]), []).append(cluster)
        self._strata = [_Stratum(key, len(by_stratum[key])) for key in sorted(by_stratum)]
        position = {
            cluster: (index, place)
            for index, stratum in enumerate(self._strata)
            for place, cluster in enumerate(by_stratum[stratum.datasets])
        }
        self._places: dict[str, Integers] = {
            name: np.array([position[base] for base in base_ids[name].tolist()], dtype=np.int64)
            for name in unique
        }

    def n_clusters(self, *datasets: str) -> int:
        """Return the number of distinct base ids in the datasets together."""
        wanted = set(datasets)
        return sum(
            stratum.n_clusters
            for stratum in self._strata
            if not wanted.isdisjoint(stratum.datasets)
        )

    def is_clustered(self, dataset: str) -> bool:
        """Whether several samples of the dataset share a base id."""
        return self.n_clusters(dataset) < len(self._places[dataset])

    def accuracies(self, correct: Mapping[str, Correct]) -> dict[str, Floats]:
        """Return each dataset's accuracy in every resample.

        Args:
            correct: per dataset whether predictions are right, shape (samples, columns).

        Returns:
            Per dataset accuracies of shape (resamples, columns).
        """
        hits = {name: self._cluster_sums(name, values) for name, values in correct.items()}
        draws: dict[str, list[Floats]] = {name: [] for name in correct}
        for weights in self._weights():
            for name, parts in hits.items():
                by_stratum = [weights[index] @ matrix for index, matrix in parts.items()]
                sums = np.asarray(np.sum(by_stratum, axis=0, dtype=np.float64))
                draws[name].append(sums[:, :-1] / sums[:, -1:])
        return {name: np.concatenate(parts) for name, parts in draws.items()}

    def _cluster_sums(self, name: str, correct: Correct) -> dict[int, npt.NDArray[np.floating]]:
        """Return per stratum the right predictions of each cluster, last column: its size."""
        stratum_of, place = self._places[name].T
        with_size = np.column_stack([correct, np.ones(len(correct), dtype=bool)])
        parts: dict[int, npt.NDArray[np.floating]] = {}
        for index in np.unique(stratum_of).tolist():
            chosen = np.flatnonzero(stratum_of == index)
            ordered = chosen[np.argsort(place[chosen], kind="stable")]
            starts = np.unique(place[ordered], return_index=True)[1]
            sums = np.add.reduceat(with_size[ordered], starts, axis=0, dtype=np.int32)
            largest = self._strata[index].n_clusters * int(sums[:, -1].max())
            exact = largest < _EXACT_IN_FLOAT32
            parts[index] = sums.astype(np.float32) if exact else sums.astype(np.float64)
        return parts

    def _weights(self) -> Iterator[list[npt.NDArray[np.float32]]]:
        """Yield chunks of resamples: per stratum how often each cluster was drawn."""
        generators = [self._generator(stratum) for stratum in self._strata]
        total = sum(stratum.n_clusters for stratum in self._strata)
        chunk = max(1, min(self.resamples, _CHUNK_BYTES // (4 * total)))
        for start in range(0, self.resamples, chunk):
            rows = min(chunk, self.resamples - start)
            yield [
                _multiplicities(generator, rows, stratum.n_clusters)
                for generator, stratum in zip(generators, self._strata, strict=True)
            ]

    def _generator(self, stratum: _Stratum) -> np.random.Generator:
        digest = hashlib.sha256("\n".join(stratum.datasets).encode()).digest()
        return np.random.default_rng([self.seed, int.from_bytes(digest[:8], "big")])


def _multiplicities(
    generator: np.random.Generator, rows: int, clusters: int
) -> npt.NDArray[np.float32]:
    drawn = generator.integers(0, clusters, size=(rows, clusters), dtype=np.int64)
    drawn += np.arange(rows)[:, None] * clusters
    counts = np.bincount(drawn.ravel(), minlength=rows * clusters)
    return counts.reshape(rows, clusters).astype(np.float32)
