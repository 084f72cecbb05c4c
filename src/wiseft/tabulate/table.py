"""Rows of the tidy table: the grid of alphas, and averages of datasets with their intervals."""

from __future__ import annotations

from typing import Any

import pandas as pd

from wiseft.metrics import ACCURACY, ALL_FRAMES
from wiseft.tabulate.inputs import BOOTSTRAPPED, RUN_FIELDS, Inputs, Place, Point
from wiseft.tabulate.intervals import clopper_pearson, percentile_interval
from wiseft.tabulate.schema import AVERAGE_PREFIX, SELECTIONS, TABLE, conform
from wiseft.tabulate.settings import TabulateSettings
from wiseft.tabulate.study import Study

CLOPPER_PEARSON = "clopper-pearson"
CLUSTER_BOOTSTRAP = "cluster-bootstrap"


def grid_rows(inputs: Inputs, study: Study, experiment: str) -> pd.DataFrame:
    """Return one row a metrics row with its interval.

    It is Clopper-Pearson's for what counts right samples or base ids; a metric that is no such
    share is recomputed in every resample of the cluster bootstrap.
    """
    frame = inputs.metrics.assign(source="measured", experiment=experiment, selection="grid")
    frame["n_correct"] = frame["n_correct"].astype("Int64")
    frame = frame.assign(ci_low=float("nan"), ci_high=float("nan"), ci_method="")
    counted = frame["metric"].isin([ACCURACY, ALL_FRAMES])
    low, high = clopper_pearson(
        frame.loc[counted, "n_correct"].to_numpy(float), frame.loc[counted, "n"].to_numpy(float)
    )
    frame.loc[counted, "ci_low"], frame.loc[counted, "ci_high"] = low, high
    frame.loc[counted, "ci_method"] = CLOPPER_PEARSON
    resampled = frame["metric"].isin(BOOTSTRAPPED)
    bounds = [_bootstrapped(row, study) for row in frame[resampled].to_dict("records")]
    frame.loc[resampled, "ci_low"] = [low for low, _ in bounds]
    frame.loc[resampled, "ci_high"] = [high for _, high in bounds]
    frame.loc[resampled, "ci_method"] = CLUSTER_BOOTSTRAP
    frame["alpha"] = frame["alpha"].astype(float)
    return conform(frame, TABLE)


def _bootstrapped(row: dict[Any, Any], study: Study) -> tuple[float, float]:
    point = Point(row["run"], row["seed"], row["combination"], row["alpha"])
    place = Place(row["dataset"], row["split"], row["view"])
    low, high = percentile_interval(study.draws_at(point, place))
    return float(low), float(high)


def average_rows(
    inputs: Inputs, study: Study, settings: TabulateSettings, experiment: str
) -> pd.DataFrame:
    """Return one row for each point and average; `n` counts the samples of all its datasets."""
    fields = run_fields(inputs)
    rows = []
    for point in study.points:
        for name, members in study.averages.items():
            low, high = percentile_interval(study.average_draws(point, name))
            rows.append(
                average_row(point, name, study, fields, settings, experiment)
                | {
                    "alpha": float(point.alpha),
                    "value": study.average(point, name),
                    "n": study.n_samples(*members),
                    "ci_low": float(low),
                    "ci_high": float(high),
                }
            )
    return conform(pd.DataFrame(rows, columns=list(TABLE)), TABLE)


def average_row(
    point: Point,
    name: str,
    study: Study,
    fields: dict[str, dict[str, str]],
    settings: TabulateSettings,
    experiment: str,
) -> dict[str, object]:
    """Return what all rows of an average have in common; numbers are left to the caller.

    An average is over the primary views of its datasets, whose names may differ; its rows stand
    in the view that the reference, which it is held against, has.
    """
    return {
        "source": "measured",
        "experiment": experiment,
        **fields[point.run],
        "run": point.run,
        "seed": point.seed,
        "combination": point.combination,
        "dataset": AVERAGE_PREFIX + name,
        "view": settings.view_of(settings.reference),
        "split": settings.test_split,
        "metric": study.average_metric(name),
        "n_correct": None,
        "ci_method": CLUSTER_BOOTSTRAP,
        "selection": "grid",
    }


def run_fields(inputs: Inputs) -> dict[str, dict[str, str]]:
    """Return model, reference, method and variant of each run."""
    names = [name for name in RUN_FIELDS if name not in ("run", "seed")]
    first = inputs.metrics.drop_duplicates("run").set_index("run")[names]
    return {str(run): dict(row) for run, row in first.iterrows()}


def sort_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows in the one order of the table: runs, then selections, then datasets."""
    rank = {name: place for place, name in enumerate(SELECTIONS)}
    key = ["source", "run", "seed", "combination", "selection", "split", "dataset", "view"]
    return frame.sort_values(
        [*key, "metric", "alpha"],
        key=lambda column: column.map(rank) if column.name == "selection" else column,
        kind="stable",
        ignore_index=True,
    )
