"""Metrics that another program's evaluation reported, in the form that the statistics take.

Scores of samples are compared in pairs: shares of right samples as an evaluation of images is,
other scores by the bootstrap of their mean. Of counts, or of a metric with its standard error, the
samples are unknown; so alphas are taken as independent, which makes intervals of their differences
too wide rather than too narrow. A metric of which less is better is turned around, as in
scikit-learn: its name begins with `neg_`, its values are negative, and more is better everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from wiseft.base.metrics import ACCURACY, Truth
from wiseft.base.validation import suggest
from wiseft.errors import WiseftError
from wiseft.tabulate import schema
from wiseft.tabulate.bootstrap import Block, Known, Statistic
from wiseft.tabulate.inputs import Inputs
from wiseft.tabulate.intervals import Interval, exact_interval
from wiseft.tabulate.predictions import WEIGHT, Cell, Place, Point
from wiseft.tabulate.settings import PRIMARY

RESULTS: schema.Schema = {
    **dict.fromkeys(("set", "metric", "id"), schema.TEXT),
    **dict.fromkeys(("value", "stderr"), schema.FLOAT),
    **dict.fromkeys(("n", "n_correct", "higher_is_better"), schema.INTEGER),
}
"""Columns of what one evaluation reported: a row a sample (with its `id`) or a metric."""
SCORE, TURNED = "score", "neg_"
"""The metric of scores without a name; the beginning of the name of one that was turned around."""
_NORMAL = 1.959964
"""Standard errors to each side of a 95 % interval."""
_KEY = ["set", "metric"]
Floats = npt.NDArray[np.float64]


def check_alike(first: pd.DataFrame, other: pd.DataFrame, at: tuple[str, str]) -> None:
    """Check that two evaluations are of the same sets, metrics and samples.

    Args:
        first: in the columns of `RESULTS`.
        other: likewise.
        at: what both are called.

    Raises:
        WiseftError: if a set or metric is in one of them alone, or has other samples or direction.
    """
    parts = [dict(iter(frame.groupby(_KEY))) for frame in (first, other)]
    for (one, two), (here, there) in (((0, 1), at), ((1, 0), at[::-1])):
        if odd := sorted(parts[one].keys() - parts[two].keys()):
            name, metric = odd[0]
            whole = name not in {key[0] for key in parts[two]}
            what = f"the set {name}" if whole else f"{metric} of the set {name}"
            raise WiseftError(
                f"the evaluation reported {what} at {here}, but not at {there}; it must report the "
                "same sets and metrics every time"
            )
    for (name, metric), one in parts[0].items():
        two, where = parts[1][name, metric], f"of {metric} on {name}"
        if odd := sorted(set(one["id"]) ^ set(two["id"])):
            more = f" ({len(odd):,} such ids)" if len(odd) > 1 else ""
            raise WiseftError(
                f"the evaluations at {at[0]} and {at[1]} are {where} of other samples: the id "
                f"{odd[0]!r} is in one of them alone{more}; evaluate the same samples every time"
            )
        for column in ("n", "higher_is_better"):
            if list(one[column].dropna().unique()) != list(two[column].dropna().unique()):
                raise WiseftError(
                    f"`{column}` {where} is {one[column].iloc[0]} at {at[0]}, but "
                    f"{two[column].iloc[0]} at {at[1]}; it must be the same every time"
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


def reported(
    results: Mapping[str, pd.DataFrame],
    places: Mapping[str, tuple[str, str]],
    metrics: Mapping[str, str],
    run: Mapping[str, Any],
) -> Inputs:
    """Return what the tables are made of.

    Args:
        results: what was reported at each alpha, alike (`check_alike`).
        places: dataset and split that each set becomes.
        metrics: of each set.
        run: the values of `RUN_FIELDS`.
    """
    rows: list[dict[str, Any]] = []
    cells, statistics = {}, {}
    points = {alpha: Point(run["run"], run["seed"], WEIGHT, alpha) for alpha in results}
    for name, (dataset, split) in places.items():
        frames = {alpha: of_set(frame, name, metrics[name]) for alpha, frame in results.items()}
        place = Place(dataset, split, PRIMARY)
        first = next(iter(frames.values()))
        turned = not first["higher_is_better"].iloc[0]
        metric = TURNED * turned + metrics[name]
        sign = -1.0 if turned else 1.0
        values = np.column_stack(
            [sign * frame["value"].to_numpy(float) for frame in frames.values()]
        )
        n: int | None = len(first)
        correct: list[int | None] = [None] * len(frames)
        if not first["id"].iloc[0]:
            found = _known(list(points.values()), metric, list(frames.values()), values[0], place)
            statistics[place], n = found, found.n
            if found.exact:
                correct = [int(frame["n_correct"].iloc[0]) for frame in frames.values()]
        elif np.isin(values, (0, 1)).all():
            metric = ACCURACY if metric == SCORE else metric
            cells[place] = _cell(points.values(), first["id"], values)
            correct = [int(each) for each in values.sum(axis=0)]
        else:
            statistics[place] = _mean(list(points.values()), metric, first["id"], values)
        for at, (alpha, k) in enumerate(zip(frames, correct, strict=True)):
            value = float(values[:, at].mean()) if k is None or n is None else k / n
            row = {"split": split, "view": PRIMARY, "combination": WEIGHT, "alpha": alpha}
            row |= {"metric": metric, "value": value, "n": n, "n_correct": k}
            rows.append({**run, "dataset": dataset, **row})
    frame = pd.DataFrame(rows)
    frame[["n", "n_correct"]] = frame[["n", "n_correct"]].astype("Int64")
    return Inputs(frame, cells, statistics)


def of_set(frame: pd.DataFrame, name: str, metric: str) -> pd.DataFrame:
    """Return the rows of a set and metric, in the order of the ids."""
    rows = frame[(frame["set"] == name) & (frame["metric"] == metric)]
    return rows.sort_values("id", kind="stable", ignore_index=True)


def _cell(points: Any, ids: pd.Series, right: Floats) -> Cell:
    """Return samples that are right (1) or wrong at each point, as predictions of label 1."""
    names = ids.to_numpy(dtype=str)
    truth = Truth(np.ones(len(ids), np.int64), names)
    predictions = dict(zip(points, right.T.astype(np.int32), strict=True))
    return Cell(ACCURACY, (), names, truth, names, predictions)


def _mean(points: list[Point], metric: str, ids: pd.Series, scores: Floats) -> Statistic:
    """Return the mean of scores (samples, points)."""
    names, column = ids.to_numpy(dtype=str), {point: at for at, point in enumerate(points)}
    counts = np.column_stack([scores, np.ones(len(scores))])
    block = Block(counts, lambda sums: sums[:, :-1] / sums[:, -1:])
    means, own = scores.mean(axis=0), schema.BOOTSTRAP
    return Statistic(metric, column, means, names, names, False, None, [block], ci_method=own)


def _known(
    points: list[Point], metric: str, frames: list[pd.DataFrame], values: Floats, place: Place
) -> Statistic:
    """Return a metric of which counts or standard errors are known, or it alone."""
    rows = [frame.iloc[0] for frame in frames]
    n = None if pd.isna(rows[0]["n"]) else int(rows[0]["n"])
    errors = np.array([row["stderr"] for row in rows], dtype=float)
    counted = not pd.isna(rows[0]["n_correct"])
    stream = [*hashlib.sha256("\n".join(place).encode()).digest()[:8]]
    if counted and n is not None:
        right = np.array([int(row["n_correct"]) for row in rows])
        intervals = [exact_interval(k, n) for k in right]
        # Jeffreys' posterior, whose quantiles are an interval of a share with good coverage.
        shape = (right + 0.5, n - right + 0.5)
    else:
        half = _NORMAL * errors
        method = ["" if np.isnan(each) else schema.STANDARD_ERROR for each in errors]
        intervals = list(map(Interval, values - half, values + half, method))

    def draws(number: int, seed: int) -> Floats:
        generator, size = np.random.default_rng([seed, *stream]), (number, len(points))
        drawn = generator.beta(*shape, size) if counted else generator.normal(values, errors, size)
        return np.asarray(drawn)

    column, none = {point: at for at, point in enumerate(points)}, np.array([], dtype=str)
    known = Known(n, intervals, errors, draws)
    name = ACCURACY if counted else metric
    own = schema.UNPAIRED
    return Statistic(name, column, values, none, none, counted, None, [], own, known)
