"""The stage as one call: files in, tables out.

Beside what runs have there are means over models, fits, and measures of diversity, which are about
two classifiers. Their row belongs to the run of the second one, and `combination` is
`pair-with-<first>`, e.g. `pair-with-zero-shot`. They are no point of a sweep: `selection` is empty,
and `alpha` is that of the ensemble where the measure is about one, else null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from wiseft.errors import DamagedFile
from wiseft.tabulate import schema
from wiseft.tabulate.comparisons import comparison_rows
from wiseft.tabulate.inputs import RUN_FIELDS, read_inputs
from wiseft.tabulate.intervals import exact_interval
from wiseft.tabulate.models import model_rows, of_runs, over_models
from wiseft.tabulate.robustness import fits_frame
from wiseft.tabulate.roles import renamed
from wiseft.tabulate.run_tables import rows_of_runs, study_of
from wiseft.tabulate.selection import SWEEP
from wiseft.tabulate.settings import TabulateSettings
from wiseft.tabulate.table import sort_table
from wiseft.tabulate.tuning import tuning_rows
from wiseft.tabulate.two_way import contrast_means, table_means
from wiseft.thetas.damage import read_checked

PAIR_FORMAT = 1
_PAIR_FIELDS = (*RUN_FIELDS, "dataset", "view", "split")


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
    inputs = read_inputs(metrics, predictions, settings)
    study = study_of(experiment, settings, inputs)
    single, selected = rows_of_runs(study)
    parts = [single, table_means(model_rows(single), study), selected]
    if diversity:
        parts.append(diversity_rows(diversity, experiment))
    table = sort_table(schema.conform(pd.concat(parts, ignore_index=True), schema.TABLE))
    comparisons = contrast_means(comparison_rows(study), study)
    own_names = renamed(table, settings.roles, back=True)
    return Tables(
        table=sort_table(schema.conform(own_names, schema.TABLE)) if settings.roles else table,
        comparisons=comparisons,
        selection=selection_frame(table, settings),
        fits=fits_frame(single, list(settings.averages), settings.fit_exclude),
        tuning=tuning_rows(single, comparisons, settings, inputs),
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


def diversity_rows(files: Sequence[Path], experiment: str) -> pd.DataFrame:
    """Return the rows of files that `wiseft diversity` wrote.

    Shares of samples get Clopper and Pearson's interval, the other measures none.

    Raises:
        WiseftError: if a file is missing.
        DamagedFile: if one is broken, damaged or of another format.
    """
    said = {"source": "measured", "experiment": experiment}
    rows = [said | row for path in files for row in _rows_of(path)]
    for row in rows:
        if row.get("n_correct") is not None and row["n"] > 0:
            row |= exact_interval(row["n_correct"], row["n"])._asdict()
    return schema.frame_of(rows, schema.TABLE)


def _rows_of(path: Path) -> list[dict[str, Any]]:
    content = read_checked(path, "measures of diversity")
    if content.get("format") != PAIR_FORMAT:
        raise DamagedFile(f"{path} is no file of measures of diversity, format {PAIR_FORMAT}", path)
    missing = [name for name in (*_PAIR_FIELDS, "first", "rows") if name not in content]
    if missing:
        raise DamagedFile(f"{path} lacks {', '.join(missing)}", path)
    shared = {name: content[name] for name in _PAIR_FIELDS}
    shared["combination"] = schema.PAIR_PREFIX + str(content["first"])
    return [shared | row for row in content["rows"]]


def selection_frame(table: pd.DataFrame, settings: TabulateSettings) -> pd.DataFrame:
    """Return the chosen alphas and what they give, for the reference, its own shift and averages.

    `regret` is the oracle-column value minus the selection's, on the same test samples: 0 for
    the oracle itself, never negative for a rule that chooses one alpha, and never positive for
    `oracle-table13`; `unlabelled` chooses one for each dataset and `dawin` one for each sample, so
    theirs may be either. For
    `oracle-column`, alpha is that column's own. `over_zero_shot` and `over_fine_tuned` are the
    selection's value minus that of the end. Means over models, with intervals, have run `all`.

    Args:
        table: the tidy table.
    """
    named = [schema.AVERAGE_PREFIX + name for name in settings.averages]
    views = dict.fromkeys([settings.reference, *named], settings.view_of(settings.reference))
    views |= {name: settings.view_of(name) for name, _ in settings.roles.values()}
    rows = of_runs(table)
    rows = rows[
        (rows["split"] == settings.test_split) & (rows["view"] == rows["dataset"].map(views))
    ]
    grid, key = rows[rows["selection"] == "grid"], [*SWEEP, "dataset"]
    oracle = rows.loc[rows["selection"] == "oracle-column", [*key, "alpha", "value"]]
    oracle = oracle.rename(columns={"alpha": "oracle_alpha", "value": "oracle_value"})
    joined = rows[~rows["selection"].isin(["grid", ""])]
    joined = joined.merge(oracle, on=key, how="left", validate="many_to_one")
    joined["regret"] = joined["oracle_value"] - joined["value"]
    for end, alpha in (("zero_shot", 0.0), ("fine_tuned", 1.0)):
        at = grid.loc[grid["alpha"] == alpha, [*key, "value"]].rename(columns={"value": end})
        joined = joined.merge(at, on=key, how="left", validate="many_to_one")
        joined[f"over_{end}"] = joined["value"] - joined[end]
    joined = joined.assign(ci_method="", n=None).reindex(columns=list(schema.SELECTION))
    means = over_models(
        joined,
        ["experiment", "reference", "method", "variant", "combination", "selection", "dataset"],
        [*schema.CHOSEN, "oracle_alpha", "oracle_value"],
    ).reindex(columns=list(schema.SELECTION))
    return schema.stacked([joined, means], schema.SELECTION)
