"""The cluster bootstrap."""

import numpy as np
import pytest

from wiseft.tabulate import bootstrap as module
from wiseft.tabulate.bootstrap import ClusterBootstrap, shares
from wiseft.tabulate.intervals import percentile_interval


def ids(prefix, n):
    return np.array([f"{prefix}{index}" for index in range(n)])


def accuracies(resampled, correct):
    """Draws of accuracies; `correct`: bool (samples, points) per dataset."""
    return resampled.draws({name: [shares(each)] for name, each in correct.items()})


def width(draws):
    low, high = percentile_interval(draws)
    return float(high - low)


def test_spread_of_one_dataset_is_the_binomial_standard_error():
    n, p = 400, 0.7
    right = np.arange(n) < n * p
    draws = accuracies(ClusterBootstrap({"a": ids("a", n)}, 4000, 0), {"a": right[:, None]})["a"]
    assert draws.shape == (4000, 1)
    assert draws.mean() == pytest.approx(p, abs=0.002)
    assert draws.std() == pytest.approx(np.sqrt(p * (1 - p) / n), rel=0.05)


def test_datasets_with_equal_base_ids_move_together():
    n = 200
    right = (np.arange(n) % 4 > 0)[:, None]
    shared = ClusterBootstrap({"a": ids("x", n), "b": ids("x", n)}, 500, 0)
    draws = accuracies(shared, {"a": right, "b": right})
    assert np.array_equal(draws["a"], draws["b"])
    apart = ClusterBootstrap({"a": ids("a", n), "b": ids("b", n)}, 500, 0)
    draws = accuracies(apart, {"a": right, "b": right})
    assert abs(np.corrcoef(draws["a"][:, 0], draws["b"][:, 0])[0, 1]) < 0.15


def test_sharing_base_ids_widens_the_interval_of_an_average():
    n = 300
    right = (np.arange(n) % 3 > 0)[:, None]

    def average_width(first, second):
        resampled = ClusterBootstrap({"a": first, "b": second}, 2000, 1)
        draws = accuracies(resampled, {"a": right, "b": right})
        return width((draws["a"] + draws["b"])[:, 0] / 2)

    ratio = average_width(ids("x", n), ids("x", n)) / average_width(ids("a", n), ids("b", n))
    assert ratio == pytest.approx(np.sqrt(2), rel=0.08)


def test_repeated_base_ids_within_a_dataset_widen_its_interval():
    n = 400
    base = np.array([f"x{index // 4}" for index in range(n)])  # four copies of 100 images
    right = (np.arange(n) // 4 % 2 == 0)[:, None]
    clustered = ClusterBootstrap({"a": base}, 2000, 0)
    plain = ClusterBootstrap({"a": ids("a", n)}, 2000, 0)
    ratio = width(accuracies(clustered, {"a": right})["a"][:, 0]) / width(
        accuracies(plain, {"a": right})["a"][:, 0]
    )
    assert ratio == pytest.approx(2, rel=0.1)


def test_a_resample_is_a_ratio_of_counts_done_by_hand(monkeypatch):
    # Clusters x0 (two samples, one right) and x1 (one sample, right), drawn (2, 0), then (1, 1).
    monkeypatch.setattr(
        module, "_multiplicities", lambda *_: np.array([[2, 0], [1, 1]], dtype=np.float32)
    )
    resampled = ClusterBootstrap({"a": np.array(["x1", "x0", "x0"])}, 2, 0)
    draws = accuracies(resampled, {"a": np.array([[True], [True], [False]])})["a"]
    assert draws[:, 0].tolist() == pytest.approx([2 / 4, 2 / 3])


def test_a_partly_shared_dataset_keeps_its_number_of_clusters():
    resampled = ClusterBootstrap({"all": ids("x", 50), "few": ids("x", 2)}, 200, 0)
    draws = accuracies(
        resampled, {"all": np.ones((50, 1), dtype=bool), "few": np.array([[True], [True]])}
    )
    assert np.all(draws["few"] == 1.0)  # a resample without any of its samples would be NaN


def test_chunks_and_further_datasets_do_not_change_the_draws(monkeypatch):
    right = (np.arange(60) % 3 > 0)[:, None]
    alone = accuracies(ClusterBootstrap({"a": ids("a", 60)}, 50, 3), {"a": right})["a"]
    two = ClusterBootstrap({"a": ids("a", 60), "b": ids("b", 9)}, 50, 3)
    assert np.array_equal(accuracies(two, {"a": right})["a"], alone)
    monkeypatch.setattr(module, "_CHUNK_BYTES", 60 * 4 * 7)
    chunked = accuracies(ClusterBootstrap({"a": ids("a", 60)}, 50, 3), {"a": right})["a"]
    assert np.array_equal(chunked, alone)
    other = accuracies(ClusterBootstrap({"a": ids("a", 60)}, 50, 4), {"a": right})["a"]
    assert not np.array_equal(other, alone)


def test_order_of_samples_does_not_matter():
    right, base = (np.arange(60) % 3 > 0)[:, None], ids("a", 60)
    order = np.random.default_rng(0).permutation(60)
    draws = accuracies(ClusterBootstrap({"a": base}, 50, 0), {"a": right})["a"]
    shuffled = accuracies(ClusterBootstrap({"a": base[order]}, 50, 0), {"a": right[order]})["a"]
    assert np.array_equal(draws, shuffled)


def test_coverage_of_a_clustered_average():
    """Of 300 simulated pairs of correlated datasets, about 95 % of the intervals hold the truth."""
    rng = np.random.default_rng(7)
    images, truth = 150, 0.7
    base = ids("x", images)
    resampled = ClusterBootstrap({"a": base, "b": base}, 400, 0)
    hardness = rng.random((images, 300))
    # Two renditions of an image are right together 80 % of the time by the same hardness.
    same = rng.random((images, 300)) < 0.8
    other = rng.random((images, 300))
    a = hardness < truth
    b = np.where(same, hardness, other) < truth
    draws = accuracies(resampled, {"a": a, "b": b})
    low, high = percentile_interval((draws["a"] + draws["b"]) / 2)
    covered = ((low <= truth) & (truth <= high)).mean()
    assert 0.91 <= covered <= 0.98
