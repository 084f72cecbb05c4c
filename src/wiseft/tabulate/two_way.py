"""Intervals of means over models that count models and test images together.

Models (pre-training seeds) and images are crossed random effects. T_s is the statistic of model s,
of S models, the mean over its fine-tuning seeds: a share of right samples, an average of shares, or
a difference of two points. To first order it is a sum over independent clusters of images,
T_s = const + sum_c w_sc, with

    w_sc = sum over datasets d of (right samples of d in c - T_sd * samples of d in c) / (n_d D),

where n_d is the number of samples of d and D that of datasets: a ratio's linear form, which counts
clusters of unequal sizes (Cochran 1977, Sampling Techniques, section 6.4). With w_sc = model + b_c
+ e_sc, mean(T_s) has the variance var(model) / S + sum_c var(b) + sum_c var(e) / S. The variance of
T_s between models, over S, estimates the first and the last term. In each stratum of K clusters
(the bootstrap's), an analysis of variance without replicates has the mean squares MS_I of images
and MS_E of the residual, whose expectations are S var(b) + var(e) and var(e), so that
K (MS_I - MS_E) / S estimates the middle one. Its sum over strata is no less than 0; a stratum of
one cluster adds nothing, as it varies in no resample.

This is Obuchowski and Rockette's analysis of readers (here models) and cases (images) for a single
mean. The degrees of freedom are those of Hillis 2007 (Statistics in Medicine 26:596),
var^2 / ((var(T_s) / S)^2 / (S - 1)), with Satterthwaite's further terms for the mean squares of
images, which matter where few clusters carry weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtrit

from wiseft.tabulate.intervals import LEVEL, Interval
from wiseft.tabulate.models import FEWEST_MODELS, without_seed
from wiseft.tabulate.predictions import Point
from wiseft.tabulate.schema import AVERAGE_PREFIX, TABLE, stacked
from wiseft.tabulate.study import Study

TWO_WAY = "two-way"
TWO_WAY_CONDITIONAL = "two-way-conditional"
"""Of an average: on the clusters of the datasets that have too few of them."""
Floats = npt.NDArray[np.float64]
Terms = tuple[Point, ...]
"""One point or, of a difference, the first and the second."""
ByModel = Mapping[str, Sequence[Terms]]
"""The points of each model, one a fine-tuning seed."""


def two_way_interval(
    values: Floats, parts: Iterable[Floats], level: float = LEVEL
) -> tuple[float, float]:
    """Return the interval of a mean over models and images.

    Args:
        values: the statistic of each of three models or more, shape (models,).
        parts: per stratum what each cluster adds to it (w_sc), shape (models, clusters).
    """
    n = len(values)
    of_models = values.var(ddof=1) / n
    of_images, uncertainty = 0.0, 0.0
    for part in parts:
        clusters = part.shape[1]
        if clusters < 2:
            continue
        centred = part - part.mean(axis=1, keepdims=True)
        images = n * (centred.mean(axis=0) ** 2).sum()
        mean_square = images / (clusters - 1)
        residual = ((centred**2).sum() - images) / ((clusters - 1) * (n - 1))
        of_images += clusters * (mean_square - residual) / n
        uncertainty += (clusters * mean_square / n) ** 2 / (clusters - 1)
        uncertainty += (clusters * residual / n) ** 2 / ((clusters - 1) * (n - 1))
    if of_images <= 0:
        of_images = uncertainty = 0.0
    uncertainty += of_models**2 / (n - 1)
    variance = of_models + of_images
    if variance == 0:
        return float(values.mean()), float(values.mean())
    half = stdtrit(variance**2 / uncertainty, (1 + level) / 2) * np.sqrt(variance)
    return float(values.mean() - half), float(values.mean() + half)


class Images:
    """The test images of a study, as parts of statistics."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._sums = cache(self._sums_of)

    def _sums_of(self, dataset: str) -> dict[int, tuple[Floats, Floats]]:
        """Return per stratum the right units (points, clusters) and all units (clusters,)."""
        sums = self._study.cluster_sums(dataset)
        return {
            at: (np.ascontiguousarray(each[:, :-1].T), each[:, -1]) for at, each in sums.items()
        }

    def interval(self, datasets: Sequence[str], points: ByModel) -> Interval | None:
        """Return the interval of an average of datasets, or of its difference between points.

        Args:
            datasets: one, or those of an average.
            points: of each model.

        Returns:
            None for fewer than three models, one dataset with too few clusters, or a metric that is
            no share of units.
        """
        mine = [self._study.primary[name] for name in datasets]
        few = any(each.too_few for each in mine)
        there = self._evaluated(datasets, points)
        if len(there) < FEWEST_MODELS or (few and len(mine) == 1):
            return None
        if any(each.correct is None for each in mine):
            return None
        parts: dict[int, Floats] = {}
        for name in datasets:
            for at, part in self._parts(name, there).items():
                parts[at] = parts.get(at, 0.0) + part / len(mine)
        ends = two_way_interval(self.values(datasets, points), parts.values())
        return Interval(*ends, TWO_WAY_CONDITIONAL if few else TWO_WAY)

    def _evaluated(self, datasets: Sequence[str], points: ByModel) -> list[list[Terms]]:
        """Return the points of models that were evaluated on all of the datasets."""
        has = self._study.has
        found = [
            [terms for terms in each if all(has(p, name) for p in terms for name in datasets)]
            for each in points.values()
        ]
        return [each for each in found if each]

    def values(self, datasets: Sequence[str], points: ByModel) -> Floats:
        """Return the statistic of each model, the mean over its seeds, shape (models,)."""

        def value(terms: Terms) -> float:
            first, *others = (self._study.average(dict.fromkeys(datasets, p)) for p in terms)
            return first - sum(others)

        there = self._evaluated(datasets, points)
        return np.array([np.mean([value(terms) for terms in each]) for each in there])

    def _parts(self, name: str, points: list[list[Terms]]) -> dict[int, Floats]:
        """Return per stratum what clusters add to a dataset's statistic, (models, clusters)."""
        mine, parts = self._study.primary[name], dict[int, Floats]()
        for term, sign in enumerate((1, -1)[: len(points[0][0])]):
            columns = [[mine.column[terms[term]] for terms in each] for each in points]
            own = np.array([mine.values[each].mean() for each in columns])
            for at, (right, units) in self._sums(name).items():
                sums = np.stack([right[each].mean(axis=0, dtype=float) for each in columns])
                part = sign * (sums - own[:, None] * units) / len(mine.base_ids)
                parts[at] = parts.get(at, 0.0) + part
        return parts


def table_means(means: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Return the tidy table's means over models, with two-way intervals for primary views.

    Other views and splits keep the interval over models: their predictions are not at hand.
    """
    points: dict[tuple[object, ...], list[Terms]] = {}
    for point in study.points:
        points.setdefault((point.combination, float(point.alpha)), []).append((point,))
    settings, averages = study.settings, means["dataset"].str.startswith(AVERAGE_PREFIX)
    views = means["dataset"].where(~averages, settings.reference).map(settings.view_of)
    primary = (means["split"] == settings.test_split) & (means["view"] == views)
    found = _with_images(means[primary], study, ["combination", "alpha"], points)
    return stacked([found, means[~primary]], TABLE)


def difference_means(
    means: pd.DataFrame, study: Study, contrasts: Iterable[tuple[str, Point, Point]]
) -> pd.DataFrame:
    """Return means over models of differences, with two-way intervals.

    Args:
        means: in the columns of `schema.COMPARISONS`.
        contrasts: the name, the first and the second point of every contrast of every run.
    """
    points: dict[tuple[object, ...], list[Terms]] = {}
    for name, *terms in contrasts:
        points.setdefault((name,), []).append(tuple(terms))
    return _with_images(means, study, ["contrast"], points)


def _with_images(
    means: pd.DataFrame,
    study: Study,
    key: Sequence[str],
    points: Mapping[tuple[object, ...], Sequence[Terms]],
) -> pd.DataFrame:
    """Return means over models with two-way intervals where they have one.

    Args:
        key: columns that, with entry and method of the models, say which points a row is about.
        points: these of all runs, by the values of the key.
    """
    by_model: dict[tuple[object, ...], dict[str, list[Terms]]] = {}
    for at, of_runs in points.items():
        for terms in of_runs:
            run = study.runs[terms[0].run]
            name = str(run["model"])
            whole = (without_seed(name), run["method"], run["variant"], *at)
            by_model.setdefault(whole, {}).setdefault(name, []).append(terms)
    images, rows = Images(study), means.to_dict("records")
    averages = {AVERAGE_PREFIX + name: members for name, members in study.averages.items()}
    for row in rows:
        of = by_model[tuple(row[name] for name in ("model", "method", "variant", *key))]
        found = images.interval(averages.get(row["dataset"], [row["dataset"]]), of)
        if found is not None:
            row.update(found._asdict())
    return pd.DataFrame(rows, columns=means.columns).astype(means.dtypes)
