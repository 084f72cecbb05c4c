"""The test samples of one experiment: accuracies, averages and their bootstrap draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wiseft.errors import WiseftError
from wiseft.tabulate.bootstrap import ClusterBootstrap
from wiseft.tabulate.inputs import Inputs
from wiseft.tabulate.settings import TabulateSettings

Floats = npt.NDArray[np.float64]
Correct = npt.NDArray[np.bool_]


class Point(NamedTuple):
    """One model of the sweep: all that an accuracy on a dataset depends on."""

    run: str
    seed: int
    combination: str
    alpha: str


class Study:
    """Per point and dataset whether predictions are right, with common resamples for all.

    Args:
        inputs: what was read.
        settings: statistics of the experiment.

    Raises:
        WiseftError: if a point lacks the reference or a dataset that an average names.
    """

    def __init__(self, inputs: Inputs, settings: TabulateSettings) -> None:
        self.averages: Mapping[str, list[str]] = settings.averages
        self._correct: dict[str, dict[Point, Correct]] = {}
        for owner, by_dataset in sorted(inputs.correct.items()):
            for dataset, by_column in by_dataset.items():
                mine = self._correct.setdefault(dataset, {})
                mine.update({Point(*owner, *column): by_column[column] for column in by_column})
        self.points = sorted({point for mine in self._correct.values() for point in mine})
        self.datasets = sorted(self._correct)
        self._check_complete(settings)
        self.bootstrap = ClusterBootstrap(
            {name: inputs.samples[name].base_ids for name in self.datasets},
            settings.bootstrap.resamples,
            settings.bootstrap.seed,
        )
        self._column = {
            name: {point: place for place, point in enumerate(self._correct[name])}
            for name in self.datasets
        }
        self._draws = self.bootstrap.accuracies(
            {name: np.column_stack(list(self._correct[name].values())) for name in self.datasets}
        )

    def _check_complete(self, settings: TabulateSettings) -> None:
        asked = {settings.reference: "is the reference"}
        for average, members in self.averages.items():
            for name in members:
                asked.setdefault(name, f"belongs to the average {average}")
        if not self.points:
            raise WiseftError(
                f"no prediction has the split {settings.test_split} and the view {settings.view}; "
                "set test_split and view to what was evaluated"
            )
        for name, why in asked.items():
            for point in self.points:
                if point not in self._correct.get(name, {}):
                    raise WiseftError(
                        f"dataset {name} {why}, but run {point.run}, seed {point.seed} has no "
                        f"predictions of its split {settings.test_split} for "
                        f"{point.combination}/{settings.view}/{point.alpha}; evaluate it, or take "
                        "the dataset out of the experiment"
                    )

    def has(self, point: Point, dataset: str) -> bool:
        """Whether the dataset was evaluated at this point."""
        return point in self._correct[dataset]

    def correct(self, point: Point, dataset: str) -> Correct:
        """Return whether each prediction is right, shape (samples,)."""
        return self._correct[dataset][point]

    def accuracy(self, point: Point, dataset: str) -> float:
        """Return the accuracy on one dataset, a fraction."""
        return float(self.correct(point, dataset).mean())

    def average(self, point: Point, name: str) -> float:
        """Return the mean of the accuracies of an average's datasets, each of equal weight."""
        return float(np.mean([self.accuracy(point, member) for member in self.averages[name]]))

    def draws(self, point: Point, dataset: str) -> Floats:
        """Return the dataset's accuracy in each resample, shape (resamples,)."""
        return self._draws[dataset][:, self._column[dataset][point]]

    def average_draws(self, point: Point, name: str) -> Floats:
        """Return the average, recomputed in each resample, shape (resamples,)."""
        members = self.averages[name]
        return np.asarray(np.mean([self.draws(point, member) for member in members], axis=0))

    def n_samples(self, *datasets: str) -> int:
        """Return the number of test samples of the datasets together."""
        return sum(len(next(iter(self._correct[name].values()))) for name in datasets)
