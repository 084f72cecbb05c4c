"""The stage as one call: files in, tables out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from wiseft.errors import WiseftError
from wiseft.tabulate import schema
from wiseft.tabulate.comparisons import comparison_rows
from wiseft.tabulate.inputs import Inputs, read_inputs
from wiseft.tabulate.models import model_rows
from wiseft.tabulate.robustness import fits_frame
from wiseft.tabulate.roles import renamed
from wiseft.tabulate.selection import selection_frame, selection_rows
from wiseft.tabulate.settings import TabulateSettings
from wiseft.tabulate.study import Study
from wiseft.tabulate.table import average_rows, cluster_rows, diversity_rows, grid_rows, sort_table
from wiseft.tabulate.tuning import tuning_rows
from wiseft.tabulate.two_way import table_means


@dataclass(frozen=True)
class Tables:
    """Everything that is known about an experiment, in the columns of `schema`."""

    table: pd.DataFrame
    comparisons: pd.DataFrame
    selection: pd.DataFrame
    fits: pd.DataFrame
    tuning: pd.DataFrame


def tabulate(
    experiment: str,
    settings: TabulateSettings,
    metrics: Sequence[Path],
    predictions: Sequence[Path],
    diversity: Sequence[Path] = (),
) -> Tables:
    """Make all tables of an experiment from its metrics, predictions and diversity files.

    Raises:
        WiseftError: if files are missing, broken or contradict each other, or lack what the
            settings ask for.
    """
    return tables_of(experiment, settings, read_inputs(metrics, predictions, settings), diversity)


def tables_of(
    experiment: str, settings: TabulateSettings, inputs: Inputs, diversity: Sequence[Path] = ()
) -> Tables:
    """Make all tables of what was read, or reported. Raises as `tabulate`."""
    _check_reference(inputs.metrics, settings.reference)
    study = Study(experiment, settings, inputs)
    rows = grid_rows(study)
    grid = pd.concat([rows, average_rows(study)], ignore_index=True)
    selected = selection_rows(grid, study)
    single = pd.concat([grid, cluster_rows(rows, study)], ignore_index=True)
    parts = [single, table_means(model_rows(single), study), selected]
    if diversity:
        parts.append(diversity_rows(diversity, experiment))
    table = sort_table(schema.conform(pd.concat(parts, ignore_index=True), schema.TABLE))
    comparisons = comparison_rows(study)
    own_names = renamed(table, settings.roles, back=True)
    return Tables(
        table=sort_table(schema.conform(own_names, schema.TABLE)) if settings.roles else table,
        comparisons=comparisons,
        selection=selection_frame(table, settings),
        fits=fits_frame(single, list(settings.averages), settings.fit_exclude),
        tuning=tuning_rows(single, comparisons, settings, inputs),
    )


def _check_reference(metrics: pd.DataFrame, reference: str) -> None:
    other = metrics[metrics["reference"] != reference]
    if len(other):
        raise WiseftError(
            f"the reference of the experiment is {reference}, but run {other['run'].iloc[0]} was "
            f"fine-tuned on {other['reference'].iloc[0]}; give runs of one reference"
        )


def write_tables(
    tables: Tables,
    *,
    parquet: Path,
    csv: Path,
    comparisons: Path,
    selection: Path,
    fits: Path,
    tuning: Path | None = None,
) -> None:
    """Write the tidy table (Parquet in full precision, CSV with six decimals) and the others."""
    schema.write_parquet(parquet, tables.table, schema.TABLE)
    schema.write_csv(csv, tables.table, schema.TABLE)
    schema.write_csv(comparisons, tables.comparisons, schema.COMPARISONS)
    schema.write_csv(selection, tables.selection, schema.SELECTION)
    schema.write_csv(fits, tables.fits, schema.FITS)
    if tuning is not None:
        schema.write_csv(tuning, tables.tuning, schema.TUNING)
