"""The test samples of one experiment: metrics, averages and their bootstrap draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wiseft.errors import WiseftError
from wiseft.tabulate.bootstrap import ClusterBootstrap, Statistic, statistic
from wiseft.tabulate.inputs import RUN_FIELDS, Inputs
from wiseft.tabulate.intervals import TOO_FEW, Interval, exact_interval, percentile_interval
from wiseft.tabulate.predictions import PER_SAMPLE, Place, Point
from wiseft.tabulate.schema import BOOTSTRAP, CLUSTER_BOOTSTRAP, CONDITIONAL, UNPAIRED
from wiseft.tabulate.settings import TabulateSettings

Floats = npt.NDArray[np.float64]
_FIELDS = [name for name in RUN_FIELDS if name not in ("run", "seed")]


class Study:
    """Per dataset its primary metric at every point, with common resamples for all.

    Args:
        experiment: its name.
        settings: statistics of the experiment.
        inputs: what was read.

    Attributes:
        runs: experiment, model, reference, method and variant of each run.
        places: where the primary metric of each dataset is measured, by name.
        primary: that metric.
        points: those of one model each.

    Raises:
        WiseftError: if a point lacks the reference or a dataset that an average names.
    """

    def __init__(self, experiment: str, settings: TabulateSettings, inputs: Inputs) -> None:
        self.experiment, self.settings = experiment, settings
        self.metrics, self.cells = inputs.metrics, inputs.cells
        self.averages: Mapping[str, list[str]] = settings.averages
        first = self.metrics.drop_duplicates("run").set_index("run")[_FIELDS]
        self.runs = {str(run): {"experiment": experiment, **row} for run, row in first.iterrows()}
        self.places = {
            place.dataset: place
            for place in sorted(self.cells.keys() | inputs.statistics.keys())
            if place[1:] == (settings.test_split, settings.view_of(place.dataset))
        }
        self._statistics: dict[Place, Statistic] = {
            place: statistic(cell) for place, cell in self.cells.items()
        } | inputs.statistics
        self.primary = {name: self._statistics[place] for name, place in self.places.items()}
        found = {point for each in self.primary.values() for point in each.column}
        self.points = sorted(point for point in found if point.alpha != PER_SAMPLE)
        self._check_complete()
        resamples = settings.bootstrap.resamples, settings.bootstrap.seed
        sampled = {name: each for name, each in self.primary.items() if each.known is None}
        resampled = {name: each.resampled for name, each in sampled.items()}
        self._sums: dict[str, dict[int, tuple[Floats, Floats]]] = {}
        self._bootstrap = ClusterBootstrap(resampled, *resamples)
        common = self._bootstrap.draws({name: each.blocks for name, each in sampled.items()})
        self._draws = {self.places[name]: draws for name, draws in common.items()}
        for place, each in self._statistics.items():
            if each.known is not None:
                self._draws[place] = each.known.draws(*resamples)
        # Nothing is paired with what is not primary, so it has resamples of its own.
        for place in sorted(self._statistics.keys() - self._draws.keys()):
            mine = self._statistics[place]
            if not mine.exact:
                alone = ClusterBootstrap({place.dataset: mine.resampled}, *resamples)
                self._draws |= {place: alone.draws({place.dataset: mine.blocks})[place.dataset]}

    def _check_complete(self) -> None:
        settings = self.settings
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

    def has(self, point: Point, dataset: str) -> bool:
        """Whether the dataset was evaluated at this point."""
        return dataset in self.primary and point in self.primary[dataset].column

    def value(self, point: Point, dataset: str) -> float:
        """Return the primary metric of one dataset, a fraction."""
        mine = self.primary[dataset]
        return float(mine.values[mine.column[point]])

    def average(self, points: Mapping[str, Point]) -> float:
        """Return the mean of the metrics of datasets, each of equal weight and at its point."""
        return float(np.mean([self.value(point, name) for name, point in points.items()]))

    def draws(self, point: Point, place: Place) -> Floats:
        """Return the metric in each resample, shape (resamples,), at a place that has draws:
        primary, or without exact intervals.
        """
        return self._draws[place][:, self._statistics[place].column[point]]

    def cluster_sums(self, dataset: str) -> dict[int, tuple[Floats, Floats]]:
        """Return, per stratum of the bootstrap, how many units of each cluster of a dataset are
        right (points, clusters) and how many there are (clusters,).

        The metric must be a share of right units.
        """
        if dataset not in self._sums:
            (block,) = self.primary[dataset].blocks
            sums = self._bootstrap.cluster_sums(dataset, block.counts)
            turned = {at: np.ascontiguousarray(np.asarray(each).T) for at, each in sums.items()}
            self._sums[dataset] = {at: (each[:-1], each[-1]) for at, each in turned.items()}
        return self._sums[dataset]

    def average_draws(self, points: Mapping[str, Point]) -> Floats:
        """Return the average, recomputed in each resample, shape (resamples,)."""
        draws = [self.draws(point, self.places[name]) for name, point in points.items()]
        return np.asarray(np.mean(draws, axis=0))

    def bootstrapped(self, place: Place) -> bool:
        """Whether the intervals at a place are those of draws."""
        return place in self._draws and not self._statistics[place].exact

    def interval(self, draws: Floats, place: Place) -> Interval:
        """Return the interval of draws at a place; without ends where it has too few clusters."""
        if self._statistics[place].too_few:
            return Interval(float("nan"), float("nan"), TOO_FEW)
        return _interval(draws, [self._statistics[place]])

    def interval_of(self, row: Mapping[Any, Any]) -> Interval:
        """Return the interval of a row of metrics, whose alpha is text.

        It is Clopper-Pearson's for shares of independent samples or base ids, and else the cluster
        bootstrap's; where there are too few clusters there is none.
        """
        point = Point(row["run"], row["seed"], row["combination"], row["alpha"])
        place = Place(row["dataset"], row["split"], row["view"])
        if self.bootstrapped(place):
            return self.interval(self.draws(point, place), place)
        return exact_interval(row["n_correct"], row["n"])

    def average_interval(self, draws: Floats, name: str) -> Interval:
        """Return the interval of draws of an average, which says whether it is conditional."""
        few = any(self.primary[member].too_few for member in self.averages[name])
        interval = _interval(draws, [self.primary[member] for member in self.averages[name]])
        return interval._replace(ci_method=CONDITIONAL) if few else interval

    def n_clusters(self, *datasets: str) -> int | None:
        """Return the number of distinct clusters in the datasets together; None: unknown."""
        if any(self.primary[name].known for name in datasets):
            return self.n_samples(*datasets)
        return len(np.unique(np.concatenate([self.primary[name].clusters for name in datasets])))

    def n_samples(self, *datasets: str) -> int | None:
        """Return the number of test samples of the datasets together; None: unknown.

        Of `all-frames-accuracy` it is base ids, of `worst-group-accuracy` all groups' samples.
        """
        members = [self.primary[name] for name in datasets]
        each = [one.known.n if one.known else len(one.base_ids) for one in members]
        return None if None in each else sum(n or 0 for n in each)


def _interval(draws: Floats, of: Sequence[Statistic]) -> Interval:
    """Return the percentile interval of draws; without ends and method if these are NaN."""
    low, high = map(float, percentile_interval(draws))
    known = [each.known.ci_method for each in of if each.known is not None]
    method = sorted([CLUSTER_BOOTSTRAP, *known], key=[CLUSTER_BOOTSTRAP, BOOTSTRAP, UNPAIRED].index)
    return Interval(low, high, "" if np.isnan(low) else method[-1])
