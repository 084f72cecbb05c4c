"""Rows of the tidy table: the grid of alphas, and averages of datasets with their intervals."""

from __future__ import annotations

import pandas as pd

from wiseft.tabulate.inputs import ACCURACY, RUN_FIELDS, Inputs
from wiseft.tabulate.intervals import clopper_pearson, percentile_interval
from wiseft.tabulate.schema import AVERAGE_PREFIX, SELECTIONS, TABLE, conform
from wiseft.tabulate.settings import TabulateSettings
from wiseft.tabulate.study import Point, Study

CLOPPER_PEARSON = "clopper-pearson"
CLUSTER_BOOTSTRAP = "cluster-bootstrap"


def grid_rows(inputs: Inputs, experiment: str) -> pd.DataFrame:
    """Return one row a metrics row, accuracies with their Clopper-Pearson interval."""
    frame = inputs.metrics.assign(source="measured", experiment=experiment, selection="grid")
    frame["alpha"] = frame["alpha"].astype(float)
    frame["n_correct"] = frame["n_correct"].astype("Int64")
    counted = (frame["metric"] == ACCURACY) & frame["n_correct"].notna()
    frame = frame.assign(ci_low=float("nan"), ci_high=float("nan"), ci_method="")
    low, high = clopper_pearson(
        frame.loc[counted, "n_correct"].to_numpy(float), frame.loc[counted, "n"].to_numpy(float)
    )
    frame.loc[counted, "ci_low"], frame.loc[counted, "ci_high"] = low, high
    frame.loc[counted, "ci_method"] = CLOPPER_PEARSON
    return conform(frame, TABLE)


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
                average_row(point, name, fields, settings, experiment)
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
    fields: dict[str, dict[str, str]],
    settings: TabulateSettings,
    experiment: str,
) -> dict[str, object]:
    """Return what all rows of an average have in common; numbers are left to the caller."""
    return {
        "source": "measured",
        "experiment": experiment,
        **fields[point.run],
        "run": point.run,
        "seed": point.seed,
        "combination": point.combination,
        "dataset": AVERAGE_PREFIX + name,
        "view": settings.view,
        "split": settings.test_split,
        "metric": ACCURACY,
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
