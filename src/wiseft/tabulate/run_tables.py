"""Tables of single runs, without means over models: all that a sweep of one model needs."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from wiseft.errors import WiseftError
from wiseft.tabulate import schema
from wiseft.tabulate.comparisons import comparison_rows
from wiseft.tabulate.inputs import Inputs
from wiseft.tabulate.selection import selection_rows
from wiseft.tabulate.settings import TabulateSettings
from wiseft.tabulate.study import Study
from wiseft.tabulate.table import average_rows, cluster_rows, grid_rows, sort_table


class RunTables(NamedTuple):
    """The tidy table and the comparisons, in the columns of `schema`."""

    table: pd.DataFrame
    comparisons: pd.DataFrame


def run_tables(settings: TabulateSettings, inputs: Inputs) -> RunTables:
    """Make the tables of a sweep. Raises as `study_of`."""
    study = study_of("sweep", settings, inputs)
    table = pd.concat(rows_of_runs(study), ignore_index=True)
    return RunTables(sort_table(schema.conform(table, schema.TABLE)), comparison_rows(study))


def study_of(experiment: str, settings: TabulateSettings, inputs: Inputs) -> Study:
    """Return the samples of an experiment.

    Raises:
        WiseftError: as `Study`, or if a run was fine-tuned on another reference than the settings
            name.
    """
    other = inputs.metrics[inputs.metrics["reference"] != settings.reference]
    if len(other):
        raise WiseftError(
            f"the reference of the experiment is {settings.reference}, but run "
            f"{other['run'].iloc[0]} was fine-tuned on {other['reference'].iloc[0]}; give runs of "
            "one reference"
        )
    return Study(experiment, settings, inputs)


def rows_of_runs(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of all measured points of the tidy table, and those of chosen alphas."""
    rows = grid_rows(study)
    grid = pd.concat([rows, average_rows(study)], ignore_index=True)
    single = pd.concat([grid, cluster_rows(rows, study)], ignore_index=True)
    return single, selection_rows(grid, study)
