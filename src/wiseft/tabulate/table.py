"""Rows of the tidy table: the grid of alphas, and averages of datasets with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from wiseft.base.alphas import format_alpha
from wiseft.base.metrics import ACCURACY
from wiseft.tabulate.inputs import RUN_FIELDS, Inputs
from wiseft.tabulate.intervals import CLOPPER_PEARSON, TOO_FEW, Interval, clopper_pearson
from wiseft.tabulate.predictions import Place, Point
from wiseft.tabulate.schema import ALL, AVERAGE_PREFIX, SELECTIONS, TABLE, conform, frame_of
from wiseft.tabulate.settings import TabulateSettings
from wiseft.tabulate.study import Study


def grid_rows(inputs: Inputs, study: Study, experiment: str) -> pd.DataFrame:
    """Return one row a metrics row with its interval.

    It is Clopper-Pearson's for shares of independent samples or base ids, and else the cluster
    bootstrap's; where there are too few clusters there is none.
    """
    frame = inputs.metrics.assign(source="measured", experiment=experiment, selection="grid")
    frame["n_correct"] = frame["n_correct"].astype("Int64")
    frame = frame.assign(ci_low=float("nan"), ci_high=float("nan"), ci_method="")
    places = [Place(*key) for key in frame[["dataset", "split", "view"]].itertuples(index=False)]
    resampled = np.array([study.bootstrapped(place) for place in places])
    exact = frame[~resampled]
    low, high = clopper_pearson(exact["n_correct"].to_numpy(float), exact["n"].to_numpy(float))
    columns = ["ci_low", "ci_high", "ci_method"]
    frame.loc[~resampled, columns[:2]] = np.column_stack([low, high])
    frame.loc[~resampled, "ci_method"] = CLOPPER_PEARSON
    rows = frame[resampled].to_dict("records")
    intervals = [bootstrapped(row, study) for row in rows]
    for name, values in zip(columns, zip(*intervals, strict=True), strict=bool(intervals)):
        frame.loc[resampled, name] = list(values)
    frame["alpha"] = frame["alpha"].astype(float)
    return conform(frame, TABLE)


def bootstrapped(row: dict[Any, Any], study: Study) -> Interval:
    """Return the bootstrap's interval of a row, whose alpha is text."""
    point = Point(row["run"], row["seed"], row["combination"], row["alpha"])
    place = Place(row["dataset"], row["split"], row["view"])
    return study.interval(study.draws_at(point, place), place)


def cluster_rows(grid: pd.DataFrame, inputs: Inputs) -> pd.DataFrame:
    """Return the accuracy of each cluster where there are too few for an interval.

    They stand in views `<view>/<cluster>`, without intervals.

    Args:
        grid: the rows of all metrics.
    """
    rows: list[dict[Any, Any]] = []
    for row in grid[grid["ci_method"] == TOO_FEW].to_dict("records"):
        cell = inputs.cells[Place(row["dataset"], row["split"], row["view"])]
        if row["metric"] != ACCURACY:
            continue
        point = Point(row["run"], row["seed"], row["combination"], format_alpha(row["alpha"]))
        right = cell.truth.right(cell.predictions[point])
        names, cluster = np.unique(cell.clusters, return_inverse=True)
        n, n_correct = np.bincount(cluster), np.bincount(cluster, weights=right).astype(int)
        rows += [
            {**row, "view": f"{row['view']}/{name}", "n": n[i], "n_correct": n_correct[i]}
            | {"value": n_correct[i] / n[i]}
            for i, name in enumerate(names)
        ]
    return frame_of(rows, TABLE)


def average_rows(
    inputs: Inputs, study: Study, settings: TabulateSettings, experiment: str
) -> pd.DataFrame:
    """Return one row for each point and average; `n` counts the samples of all its datasets."""
    fields = run_fields(inputs, experiment)
    rows = []
    for point in study.points:
        for name in study.averages:
            points = dict.fromkeys(study.averages[name], point)
            row = average_row(name, points, study, settings)
            rows.append(row | {"alpha": float(point.alpha)})
    return frame_of([fields[row["run"]] | row for row in rows], TABLE)


def average_row(
    name: str, points: Mapping[str, Point], study: Study, settings: TabulateSettings
) -> dict[str, Any]:
    """Return a row of an average without its alpha.

    An average is over the primary views of its datasets, whose names may differ; its rows stand
    in the view that the reference, which it is held against, has.

    Args:
        points: the point of each of its datasets, of one sweep; intervals take them as given.
    """
    draws = np.mean([study.draws(point, member) for member, point in points.items()], axis=0)
    value = float(np.mean([study.value(point, member) for member, point in points.items()]))
    low, high, method = study.average_interval(draws, name)
    point = next(iter(points.values()))
    return {
        "source": "measured",
        "run": point.run,
        "seed": point.seed,
        "combination": point.combination,
        "dataset": AVERAGE_PREFIX + name,
        "view": settings.view_of(settings.reference),
        "split": settings.test_split,
        "metric": study.average_metric(name),
        "value": value,
        "n": study.n_samples(*study.averages[name]),
        "n_correct": None,
        "ci_low": low,
        "ci_high": high,
        "ci_method": method,
        "selection": "grid",
    }


def run_fields(inputs: Inputs, experiment: str) -> dict[str, dict[str, Any]]:
    """Return experiment, model, reference, method and variant of each run."""
    names = [name for name in RUN_FIELDS if name not in ("run", "seed")]
    first = inputs.metrics.drop_duplicates("run").set_index("run")[names]
    return {str(run): {"experiment": experiment, **row} for run, row in first.iterrows()}


def sort_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows in the one order of the table: runs, then selections, then datasets."""
    rank = {name: place for place, name in enumerate(SELECTIONS)}

    def order(column: pd.Series) -> pd.Series:
        if column.name == "run":  # means over models stand behind the runs
            return column.map(lambda run: (run == ALL, run))
        return column.map(rank) if column.name == "selection" else column

    key = ["source", "run", "model", "method", "variant", "seed", "combination", "selection"]
    key += ["split", "dataset", "view", "metric", "alpha"]
    return frame.sort_values(key, key=order, kind="stable", ignore_index=True)
