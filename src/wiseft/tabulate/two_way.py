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

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtrit

from wiseft.tabulate import schema
from wiseft.tabulate.comparisons import contrasts
from wiseft.tabulate.intervals import LEVEL, Interval
from wiseft.tabulate.models import FEWEST_MODELS, without_seed
from wiseft.tabulate.predictions import Point
from wiseft.tabulate.study import Study

Floats = npt.NDArray[np.float64]
Terms = tuple[Point, ...]
"""One point or, of a difference, the first and the second."""


def two_way_interval(
    values: Floats, parts: Iterable[Floats], level: float = LEVEL
) -> tuple[float, float]:
    """Return the interval of a mean over models and images.

    Args:
        values: the statistic of each of three models or more, shape (models,).
        parts: per stratum what each cluster adds to it (w_sc), shape (models, clusters).
    """
    n, mean = len(values), float(values.mean())
    of_models, of_images, uncertainty = values.var(ddof=1) / n, 0.0, 0.0
    for part in parts:
        k = part.shape[1]
        if k < 2:
            continue
        centred = part - part.mean(axis=1, keepdims=True)
        squares, total = n * (centred.mean(axis=0) ** 2).sum(), (centred**2).sum()
        # Mean squares of images and of the residual, times k / n.
        image, rest = (each * k / (k - 1) / n for each in (squares, (total - squares) / (n - 1)))
        of_images += image - rest
        uncertainty += (image**2 + rest**2 / (n - 1)) / (k - 1)
    of_images, uncertainty = (of_images, uncertainty) if of_images > 0 else (0.0, 0.0)
    variance = of_models + of_images
    if variance == 0:
        return mean, mean
    df = variance**2 / (uncertainty + of_models**2 / (n - 1))
    half = float(stdtrit(df, (1 + level) / 2) * np.sqrt(variance))
    return mean - half, mean + half


def over_models_and_images(
    study: Study, datasets: Sequence[str], terms: Iterable[Terms]
) -> tuple[Floats, Interval | None]:
    """Return the statistic of each model, (models,), and the interval of their mean.

    There is none for fewer than three models, one dataset with too few clusters, and a metric that
    is no share of units.

    Args:
        datasets: one, or those of an average.
        terms: points of all runs, a tuple for each.
    """
    mine = [study.primary[name] for name in datasets]
    models: dict[str, list[Terms]] = {}
    for each in terms:
        if all(point in one.column for point in each for one in mine):
            models.setdefault(str(study.runs[each[0].run]["model"]), []).append(each)
    few = any(one.too_few for one in mine)
    inferred = len(models) >= FEWEST_MODELS and not (few and len(mine) == 1)
    inferred = inferred and all(one.correct is not None for one in mine)
    values, parts = np.zeros(len(models)), dict[int, Floats]()
    for name, one in zip(datasets, mine, strict=True):
        for place, sign in enumerate((1, -1)[: len(next(iter(models.values()))[0])]):
            columns = [[one.column[each[place]] for each in of] for of in models.values()]
            own = np.array([one.values[at].mean() for at in columns])
            values += sign * own / len(mine)
            for stratum, (right, units) in study.cluster_sums(name).items() if inferred else ():
                sums = np.stack([right[at].mean(axis=0, dtype=float) for at in columns])
                part = sign * (sums - own[:, None] * units) / len(one.base_ids) / len(mine)
                parts[stratum] = parts.get(stratum, 0.0) + part
    if not inferred:
        return values, None
    method = schema.TWO_WAY_CONDITIONAL if few else schema.TWO_WAY
    return values, Interval(*two_way_interval(values, parts.values()), method)


def with_images(
    means: pd.DataFrame, study: Study, key: str, terms: Iterable[tuple[object, Terms]]
) -> pd.DataFrame:
    """Return means over models with two-way intervals where they have one.

    Args:
        means: rows of primary views, with `ci_low`, `ci_high` and `ci_method`.
        key: a column that, with combination, entry and method, says which points a row is about.
        terms: the key's value and the points of every run.
    """
    found: dict[tuple[object, ...], list[Terms]] = {}
    for value, each in terms:
        run = study.runs[each[0].run]
        line = without_seed(str(run["model"])), run["method"], run["variant"]
        found.setdefault((*line, each[0].combination, value), []).append(each)
    averages = {schema.AVERAGE_PREFIX + name: members for name, members in study.averages.items()}
    rows = means.to_dict("records")
    for row in rows:
        of = found[tuple(row[name] for name in ("model", "method", "variant", "combination", key))]
        datasets = averages.get(row["dataset"], [row["dataset"]])
        _, interval = over_models_and_images(study, datasets, of)
        row.update(interval._asdict() if interval else {})
    return pd.DataFrame(rows, columns=means.columns).astype(means.dtypes)


def table_means(means: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Return the tidy table's means over models, with two-way intervals for primary views; others
    and other splits keep theirs, because their predictions are not at hand.
    """
    settings, averages = study.settings, means["dataset"].str.startswith(schema.AVERAGE_PREFIX)
    views = means["dataset"].where(~averages, settings.reference).map(settings.view_of)
    primary = (means["split"] == settings.test_split) & (means["view"] == views)
    points = [(float(point.alpha), (point,)) for point in study.points]
    inferred = with_images(means[primary], study, "alpha", points)
    return schema.stacked([inferred, means[~primary]], schema.TABLE)


def contrast_means(rows: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Return comparisons, of which means over models have two-way intervals where they have one."""
    models, terms = rows["run"] == schema.ALL, [(each.name, each[1:]) for each in contrasts(study)]
    means = with_images(rows[models], study, "contrast", terms)
    return schema.stacked([rows[~models], means], schema.COMPARISONS)
