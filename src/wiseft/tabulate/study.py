"""The test samples of one experiment: metrics, averages and their bootstrap draws."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from wiseft.base.metrics import ACCURACY
from wiseft.errors import WiseftError
from wiseft.tabulate.bootstrap import ClusterBootstrap
from wiseft.tabulate.inputs import Inputs
from wiseft.tabulate.intervals import (
    CLUSTER_BOOTSTRAP,
    CONDITIONAL,
    TOO_FEW,
    Interval,
    percentile_interval,
)
from wiseft.tabulate.predictions import PER_SAMPLE, Place, Point
from wiseft.tabulate.settings import TabulateSettings
from wiseft.tabulate.statistics import Statistic, statistic

MEAN = "mean"  # the metric of an average whose datasets are not all scored by accuracy

Floats = npt.NDArray[np.float64]
Correct = npt.NDArray[np.bool_]


class Study:
    """Per dataset its primary metric at every point, with common resamples for all. `points` are
    those of one model each.

    Args:
        inputs: what was read.
        settings: statistics of the experiment.

    Raises:
        WiseftError: if a point lacks the reference or a dataset that an average names.
    """

    def __init__(self, inputs: Inputs, settings: TabulateSettings) -> None:
        self.averages: Mapping[str, list[str]] = settings.averages
        self._place = {
            place.dataset: place
            for place in sorted(inputs.cells)
            if place == _primary(place.dataset, settings)
        }
        self.datasets = list(self._place)
        self._statistics: dict[Place, Statistic] = {
            place: statistic(cell) for place, cell in inputs.cells.items()
        }
        primary = {name: self._statistics[place] for name, place in self._place.items()}
        found = {point for each in primary.values() for point in each.column}
        self.points = sorted(point for point in found if point.alpha != PER_SAMPLE)
        self._check_complete(settings)
        resamples = settings.bootstrap.resamples, settings.bootstrap.seed
        self.bootstrap = ClusterBootstrap({n: s.resampled for n, s in primary.items()}, *resamples)
        common = self.bootstrap.draws({name: each.blocks for name, each in primary.items()})
        self._draws = {self._place[name]: draws for name, draws in common.items()}
        # Nothing is paired with what is not primary, so it has resamples of its own.
        for place in sorted(self._statistics.keys() - self._draws.keys()):
            mine = self._statistics[place]
            if not mine.exact:
                alone = ClusterBootstrap({place.dataset: mine.resampled}, *resamples)
                self._draws |= {place: alone.draws({place.dataset: mine.blocks})[place.dataset]}

    def _check_complete(self, settings: TabulateSettings) -> None:
        asked = {settings.reference: "is the reference"}
        for average, members in self.averages.items():
            for name in members:
                asked.setdefault(name, f"belongs to the average {average}")
        if not self.points:
            raise WiseftError(
                f"no prediction has the split {settings.test_split} and a primary view (of the "
                f"reference: {settings.view_of(settings.reference)}); set test_split and views to "
                "what was evaluated"
            )
        for name, why in asked.items():
            for point in self.points:
                if not self.has(point, name):
                    raise WiseftError(
                        f"dataset {name} {why}, but run {point.run}, seed {point.seed} has no "
                        f"predictions of its split {settings.test_split} for "
                        f"{point.combination}/{settings.view_of(name)}/{point.alpha}; evaluate it, "
                        "or take the dataset out of the experiment"
                    )

    def metric(self, dataset: str) -> str:
        """Return the primary metric of a dataset."""
        return self._statistics[self._place[dataset]].metric

    def average_metric(self, name: str) -> str:
        """Return `accuracy` if all datasets of an average are scored by it, else `mean`."""
        metrics = {self.metric(member) for member in self.averages[name]}
        return ACCURACY if metrics == {ACCURACY} else MEAN

    def has(self, point: Point, dataset: str) -> bool:
        """Whether the dataset was evaluated at this point."""
        place = self._place.get(dataset)
        return place is not None and point in self._statistics[place].column

    def correct(self, point: Point, dataset: str) -> Correct | None:
        """Return whether each unit is right, or None for a metric that is no share of any."""
        mine = self._statistics[self._place[dataset]]
        return None if mine.correct is None else mine.correct[:, mine.column[point]]

    def value(self, point: Point, dataset: str) -> float:
        """Return the primary metric of one dataset, a fraction."""
        mine = self._statistics[self._place[dataset]]
        return float(mine.values[mine.column[point]])

    def average(self, point: Point, name: str) -> float:
        """Return the mean of the metrics of an average's datasets, each of equal weight."""
        return float(np.mean([self.value(point, member) for member in self.averages[name]]))

    def draws(self, point: Point, dataset: str) -> Floats:
        """Return the dataset's primary metric in each resample, shape (resamples,)."""
        return self.draws_at(point, self._place[dataset])

    def draws_at(self, point: Point, place: Place) -> Floats:
        """Return the metric at a place that has draws: primary, or without exact intervals."""
        return self._draws[place][:, self._statistics[place].column[point]]

    def average_draws(self, point: Point, name: str) -> Floats:
        """Return the average, recomputed in each resample, shape (resamples,)."""
        members = self.averages[name]
        return np.asarray(np.mean([self.draws(point, member) for member in members], axis=0))

    def exact(self, dataset: str) -> bool:
        """Whether a dataset's primary metric is a share of units that were drawn independently."""
        return self._statistics[self._place[dataset]].exact

    def bootstrapped(self, place: Place) -> bool:
        """Whether the intervals at a place are those of the cluster bootstrap."""
        return place in self._draws and not self._statistics[place].exact

    def interval(self, draws: Floats, place: Place) -> Interval:
        """Return the interval of draws at a place; without ends where it has too few clusters."""
        if self._statistics[place].too_few:
            return Interval(float("nan"), float("nan"), TOO_FEW)
        low, high = percentile_interval(draws)
        return Interval(float(low), float(high), CLUSTER_BOOTSTRAP)

    def primary_interval(self, draws: Floats, dataset: str) -> Interval:
        """Return the interval of draws of a dataset's primary metric."""
        return self.interval(draws, self._place[dataset])

    def average_interval(self, draws: Floats, name: str) -> Interval:
        """Return the interval of draws of an average, which says whether it is conditional."""
        members = (self._statistics[self._place[member]] for member in self.averages[name])
        few = any(member.too_few for member in members)
        method = CONDITIONAL if few else CLUSTER_BOOTSTRAP
        low, high = percentile_interval(draws)
        return Interval(float(low), float(high), method)

    def n_clusters(self, *datasets: str) -> int:
        """Return the number of distinct clusters in the datasets together."""
        clusters = [self._statistics[self._place[name]].clusters for name in datasets]
        return len(np.unique(np.concatenate(clusters)))

    def n_samples(self, *datasets: str) -> int:
        """Return the number of test samples of the datasets together.

        Of `all-frames-accuracy` it is base ids, of `worst-group-accuracy` all groups' samples.
        """
        return sum(len(self._statistics[self._place[name]].base_ids) for name in datasets)


def _primary(dataset: str, settings: TabulateSettings) -> Place:
    return Place(dataset, settings.test_split, settings.view_of(dataset))
