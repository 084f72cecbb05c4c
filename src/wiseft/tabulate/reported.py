"""Metrics that another program's evaluation reported, in the form that the statistics take.

Scores of samples are compared in pairs: right and wrong samples as predictions of images are, other
scores by the bootstrap of their mean. Of counts, or of a metric with its standard error, the
samples are unknown. Alphas are then taken as independent and normally distributed, which makes
intervals of differences too wide rather than too narrow. A metric of which less is better is turned
around, as in scikit-learn: its name begins with `neg_`, its values are negative.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from wiseft.base.metrics import ACCURACY, Truth
from wiseft.base.validation import suggest
from wiseft.errors import WiseftError
from wiseft.tabulate import schema
from wiseft.tabulate.bootstrap import Known, Statistic
from wiseft.tabulate.few_evaluations import Score
from wiseft.tabulate.inputs import Inputs
from wiseft.tabulate.predictions import WEIGHT, Cell, Place, Point
from wiseft.tabulate.selection import binomial_error
from wiseft.tabulate.settings import PRIMARY

RESULTS: schema.Schema = {
    **dict.fromkeys(("set", "metric", "id"), schema.TEXT),
    **dict.fromkeys(("value", "stderr"), schema.FLOAT),
    **dict.fromkeys(("n", "n_correct", "higher_is_better"), schema.INTEGER),
}
"""Columns of what one evaluation reported: a row a sample (with its `id`) or a metric."""
SCORE = "score"
"""The metric of scores without a name."""
Floats = npt.NDArray[np.float64]


def check_alike(first: pd.DataFrame, other: pd.DataFrame, at: tuple[str, str]) -> None:
    """Check that two evaluations are of the same sets, metrics and samples.

    Args:
        first: in the columns of `RESULTS`.
        other: likewise.
        at: what both are called.

    Raises:
        WiseftError: if a set, metric or sample is in one of them alone, or `n` or direction differ.
    """
    one, two = (frame.set_index(["set", "metric", "id"]) for frame in (first, other))
    for key in sorted(one.index.symmetric_difference(two.index))[:1]:
        name, metric, sample = key
        here, there = at if key in one.index else at[::-1]
        what = f"the sample {sample!r} of {metric} on {name}" if sample else f"{metric} on {name}"
        raise WiseftError(
            f"the evaluation reported {what} at {here}, but not at {there}; it must report the "
            "same sets, metrics and samples every time"
        )
    fixed = ["n", "higher_is_better"]
    same = one[fixed].fillna(0) == two[fixed].reindex(one.index).fillna(0)
    for name, metric, _ in same.index[~same.all(axis=1)][:1]:
        raise WiseftError(
            f"`n` or `higher_is_better` of {metric} on {name} is not the same at {at[0]} and "
            f"{at[1]}; evaluate the same samples every time"
        )


def chosen(frame: pd.DataFrame, sets: Sequence[str], metrics: Sequence[str]) -> dict[str, str]:
    """Return the metric of each set.

    Args:
        frame: what an evaluation reported.
        sets: that have a role.
        metrics: a set takes the first of these that it has; none are needed if it has one alone.

    Raises:
        WiseftError: if a set is unknown, or has none or several of the metrics.
    """
    found = frame.groupby("set", sort=False)["metric"].unique()
    taken = {}
    for name in sets:
        if name not in found:
            raise WiseftError(
                f"the evaluation reported no set {name}; {suggest(name, map(str, found.index))}"
            )
        own = list(found[name])
        wanted = [each for each in metrics if each in own] or (own if len(own) == 1 else [])
        if not wanted or (metrics and wanted[0] not in metrics):
            listed, asked = ", ".join(own), f", not {' or '.join(metrics)}" if metrics else ""
            raise WiseftError(f"the set {name} has {listed}{asked}; choose one by --metric NAME")
        taken[name] = wanted[0]
    for each in metrics:
        if each not in set(frame["metric"]):
            raise WiseftError(
                f"no set has the metric {each}; {suggest(each, map(str, frame['metric'].unique()))}"
            )
    return taken


def of_set(frame: pd.DataFrame, name: str, metric: str) -> pd.DataFrame:
    """Return the rows of a set and metric, in the order of the ids."""
    rows = frame[(frame["set"] == name) & (frame["metric"] == metric)]
    return rows.sort_values("id", kind="stable", ignore_index=True)


def known_n(rows: pd.DataFrame) -> int | None:
    """Return the samples of a set; None: unknown. Rows as of `of_set`."""
    if rows["id"].iloc[0]:
        return len(rows)
    return None if pd.isna(rows["n"].iloc[0]) else int(rows["n"].iloc[0])


def score_of(rows: pd.DataFrame) -> Score:
    """Return a set's metric and its standard error; rows as of `of_set`."""
    value, n, stderr = float(rows["value"].mean()), known_n(rows), rows["stderr"].iloc[0]
    if rows["id"].iloc[0]:
        error = float(rows["value"].std(ddof=0)) / math.sqrt(len(rows))
    else:
        error = float(stderr) if n is None else binomial_error(value, n)
    better = bool(rows["higher_is_better"].iloc[0])
    return Score(value, None if math.isnan(error) else error, better)


def reported(
    sets: Mapping[tuple[str, str], Mapping[str, pd.DataFrame]], run: Mapping[str, Any]
) -> Inputs:
    """Return what the tables are made of.

    Args:
        sets: by dataset and split, what was reported at each alpha, as of `of_set`, alike.
        run: the values of `RUN_FIELDS`.
    """
    rows: list[dict[str, Any]] = []
    cells, statistics = {}, {}
    for (dataset, split), frames in sets.items():
        points = [Point(run["run"], run["seed"], WEIGHT, alpha) for alpha in frames]
        place, first = Place(dataset, split, PRIMARY), next(iter(frames.values()))
        values = np.column_stack([frame["value"].to_numpy(float) for frame in frames.values()])
        metric, n = str(first["metric"].iloc[0]), known_n(first)
        if not first["higher_is_better"].iloc[0]:
            metric, values = schema.TURNED + metric, -values
        right: Sequence[int | None] = [None] * len(points)
        if first["id"].iloc[0] and np.isin(values, (0, 1)).all():
            metric = ACCURACY if metric == SCORE else metric
            cells[place] = _cell(points, dataset + "/" + first["id"], values)
            right = [int(each) for each in values.sum(axis=0)]
        else:
            found = _statistic(metric, points, [*frames.values()], values, "\n".join(place))
            statistics[place] = found
            if found.exact:
                right = [int(frame["n_correct"].iloc[0]) for frame in frames.values()]
        for point, mean, k in zip(points, values.mean(axis=0), right, strict=True):
            row = {**run, **place._asdict(), "combination": WEIGHT, "alpha": point.alpha}
            value = float(mean) if k is None or n is None else k / n
            rows.append(row | {"metric": metric, "value": value, "n": n, "n_correct": k})
    frame = pd.DataFrame(rows)
    frame[["n", "n_correct"]] = frame[["n", "n_correct"]].astype("Int64")
    return Inputs(frame, cells, statistics)


def _cell(points: Sequence[Point], ids: pd.Series, right: Floats) -> Cell:
    """Return samples that are right (1) or wrong at each point, as predictions of label 1.

    Args:
        ids: other ones in every set, or the bootstrap draws samples of two sets together.
    """
    names = ids.to_numpy(dtype=str)
    truth = Truth(np.ones(len(ids), np.int64), names)
    predictions = dict(zip(points, right.T.astype(np.int32), strict=True))
    return Cell(ACCURACY, (), names, truth, names, predictions)


def _statistic(
    metric: str, points: Sequence[Point], frames: Sequence[pd.DataFrame], values: Floats, seed: str
) -> Statistic:
    """Return a metric that is no share of known samples.

    Args:
        values: (samples, points), or (1, points) where samples are unknown.
        seed: of draws, with the bootstrap's.
    """
    means, n = values.mean(axis=0), len(values)
    errors = np.array([score_of(frame).stderr for frame in frames], dtype=float)
    stream = [*hashlib.sha256(seed.encode()).digest()[:8]]

    def resampled(number: int, seed: int) -> Floats:
        generator, even = np.random.default_rng([seed, *stream]), np.full(n, 1 / n)
        return np.array([generator.multinomial(n, even) @ values / n for _ in range(number)])

    def drawn(number: int, seed: int) -> Floats:
        generator, even = np.random.default_rng([seed, *stream]), (np.arange(number) + 0.5) / number
        each = [generator.permutation(norm.ppf(even)) for _ in means]
        return means + errors * np.column_stack(each)

    sampled, known_as = bool(frames[0]["id"].iloc[0]), known_n(frames[0])
    how = (resampled, schema.BOOTSTRAP) if sampled else (drawn, schema.UNPAIRED)
    exact, none = not sampled and known_as is not None, np.array([], dtype=str)
    column, known = {point: at for at, point in enumerate(points)}, Known(known_as, *how)
    return Statistic(metric, column, means, none, none, exact, None, [], known)
