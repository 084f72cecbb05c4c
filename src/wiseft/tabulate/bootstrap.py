"""Cluster bootstrap of metrics: renditions of one image are resampled together.

The base ids are the clusters. Clusters that occur in the same datasets form a stratum, and each
stratum is resampled with replacement from itself: datasets that share base ids move together,
others independently, and a dataset keeps its number of clusters in every resample. All models
and alphas see the same resamples, so that differences between them are paired.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_CHUNK_BYTES = 64 * 2**20  # of float32 weights held at a time
_EXACT_IN_FLOAT32 = 2**24  # sums of integers up to here do not depend on their order


@dataclass(frozen=True)
class _Stratum:
    datasets: tuple[str, ...]
    n_clusters: int


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

    def draws(self, metrics: Mapping[str, Sequence[Block]]) -> dict[str, Floats]:
        """Return each dataset's metric, recomputed in every resample.

        Args:
            metrics: per dataset one block or more of its samples.

        Returns:
            Per dataset values of shape (resamples, points of all its blocks).
        """
        sums = {
            name: [self._cluster_sums(name, block.counts) for block in blocks]
            for name, blocks in metrics.items()
        }
        draws: dict[str, list[Floats]] = {name: [] for name in metrics}
        for weights in self._weights():
            for name, blocks in metrics.items():
                values = [
                    block.value(_resample(weights, parts))
                    for block, parts in zip(blocks, sums[name], strict=True)
                ]
                draws[name].append(np.hstack(values))
        return {name: np.concatenate(parts) for name, parts in draws.items()}

    def _cluster_sums(
        self, name: str, counts: npt.NDArray[np.bool_] | sparse.csr_array
    ) -> dict[int, npt.NDArray[np.floating] | sparse.csr_array]:
        """Return per stratum the sums of the counts over each cluster."""
        stratum_of, place = self._places[name].T
        parts: dict[int, npt.NDArray[np.floating] | sparse.csr_array] = {}
        for index in np.unique(stratum_of).tolist():
            chosen = np.flatnonzero(stratum_of == index)
            ordered = chosen[np.argsort(place[chosen], kind="stable")]
            starts = np.unique(place[ordered], return_index=True)[1]
            n_clusters = self._strata[index].n_clusters
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
