"""Rows of the tidy table: the grid of alphas, and averages of datasets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from wiseft.base.alphas import format_alpha
from wiseft.base.metrics import ACCURACY
from wiseft.tabulate import schema
from wiseft.tabulate.intervals import TOO_FEW, Interval
from wiseft.tabulate.predictions import Place, Point
from wiseft.tabulate.study import Study

MEAN = "mean"  # the metric of an average whose datasets are not all scored by accuracy


def grid_rows(study: Study) -> pd.DataFrame:
    """Return one row a metrics row with its interval."""
    found = [study.interval_of(row) for row in study.metrics.to_dict("records")]
    frame = study.metrics.join(pd.DataFrame(found, columns=list(Interval._fields)))
    frame = frame.assign(source="measured", experiment=study.experiment, selection="grid")
    frame["alpha"] = frame["alpha"].astype(float)
    return schema.conform(frame, schema.TABLE)


def cluster_rows(grid: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Return the accuracy of each cluster where there are too few for an interval.

    They stand in views `<view>/<cluster>`, without intervals.

    Args:
        grid: the rows of all metrics.
    """
    rows: list[dict[Any, Any]] = []
    for row in grid[grid["ci_method"] == TOO_FEW].to_dict("records"):
        cell = study.cells.get(Place(row["dataset"], row["split"], row["view"]))
        if row["metric"] != ACCURACY or cell is None:
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
    return schema.frame_of(rows, schema.TABLE)


def average_rows(study: Study) -> pd.DataFrame:
    """Return one row for each point and average; `n` counts the samples of all its datasets."""
    rows = [
        average_row(name, dict.fromkeys(members, point), study) | {"alpha": float(point.alpha)}
        for point in study.points
        for name, members in study.averages.items()
    ]
    return schema.frame_of(rows, schema.TABLE)


def average_row(name: str, points: Mapping[str, Point], study: Study) -> dict[str, Any]:
    """Return a row of an average without its alpha.

    An average is over the primary views of its datasets, whose names may differ; its rows stand
    in the view that the reference, which it is held against, has. Its metric is `accuracy` if all
    its datasets are scored by it, else `mean`.

    Args:
        points: the point of each of its datasets, of one sweep; intervals take them as given.
    """
    settings, point = study.settings, next(iter(points.values()))
    interval = study.average_interval(study.average_draws(points), name)
    metrics = {study.primary[member].metric for member in points}
    return {
        **study.runs[point.run],
        "source": "measured",
        "run": point.run,
        "seed": point.seed,
        "combination": point.combination,
        "dataset": schema.AVERAGE_PREFIX + name,
        "view": settings.view_of(settings.reference),
        "split": settings.test_split,
        "metric": ACCURACY if metrics == {ACCURACY} else MEAN,
        "value": study.average(points),
        "n": study.n_samples(*points),
        "n_correct": None,
        **interval._asdict(),
        "selection": "grid",
    }


def sort_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows in the one order of the table: runs, then selections, then datasets."""
    rank = {name: place for place, name in enumerate(schema.SELECTIONS)}

    def order(column: pd.Series) -> pd.Series:
        if column.name == "run":  # means over models stand behind the runs
            return column.map(lambda run: (run == schema.ALL, run))
        return column.map(rank) if column.name == "selection" else column

    key = ["source", "run", "model", "method", "variant", "seed", "combination", "selection"]
    key += ["split", "dataset", "view", "metric", "alpha"]
    return frame.sort_values(key, key=order, kind="stable", ignore_index=True)
