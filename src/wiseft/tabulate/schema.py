"""Columns of the tables that this stage writes, and their only reader and writer.

Values and interval ends are fractions in [0, 1]; differences and regrets are differences of
fractions. Nothing here depends on host or time: equal frames give equal bytes. Beside every table
lies a file with its sum and its number of rows, without which it is not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from wiseft.base.io import atomic_path, require_file
from wiseft.base.names import AVERAGE_PREFIX as AVERAGE_PREFIX
from wiseft.errors import WiseftError
from wiseft.thetas.damage import check_sum, damage_of, sum_path, write_sum

MEASURED, PUBLISHED = "measured", "published"

Kind = Literal["str", "Int64", "float64"]
Schema = Mapping[str, Kind]
TEXT: Kind = "str"
INTEGER: Kind = "Int64"
FLOAT: Kind = "float64"

_TEXTS = (
    "source experiment model reference method variant run combination dataset view split metric "
    "ci_method selection contrast test average line x_view quantity against"
)
_INTEGERS = "seed n n_correct n_clusters n_better n_worse extrapolated admissible"
_KINDS: Schema = {
    **dict.fromkeys(_TEXTS.split(), TEXT),
    **dict.fromkeys(_INTEGERS.split(), INTEGER),
}
"""Types of columns by name, the same in all tables; what is not listed is a number."""


def _schema(columns: str, **others: Kind) -> Schema:
    """Return columns with their types.

    Args:
        columns: their names, with blanks between.
        others: types of columns that are an exception.
    """
    kinds = {**_KINDS, **others}
    return {name: kinds.get(name, FLOAT) for name in columns.split()}


CHOSEN = ("alpha", "value", "regret", "over_zero_shot", "over_fine_tuned")
"""What a choice of alpha gives, of which there are means over models with intervals."""
_POINT = "source experiment model reference method variant run seed combination alpha"
"""What tells a model at an alpha from others."""
TABLE = _schema(
    f"{_POINT} dataset view split metric value n n_correct ci_low ci_high ci_method selection"
)
COMPARISONS = _schema(
    "experiment model run method variant seed combination contrast dataset difference ci_low "
    "ci_high ci_method p_value p_holm test n n_clusters n_better n_worse low high",
    seed=TEXT,  # a number or `all`
)
SELECTION = _schema(
    "experiment model reference run method variant seed combination selection dataset alpha value "
    "oracle_alpha oracle_value regret over_zero_shot over_fine_tuned "
    f"{' '.join(f'{name}_ci_low {name}_ci_high' for name in CHOSEN)} ci_method n"
)
FITS = _schema("experiment reference average slope intercept r2 residual_se n x_min x_max")
EFFECTIVE = _schema(
    f"{_POINT} line dataset x_view x y beta effective_robustness extrapolated ci_low ci_high "
    "ci_method n"
)
TUNING = _schema(
    "experiment model method variant admissible quantity dataset against value ci_low ci_high "
    "ci_method n x_low x_high"
)
SELECTIONS = (
    *("grid", "fixed", "held-out", "held-out-1se", "unlabelled", "dawin"),
    *("oracle-column", "oracle-table13"),
)
CLOPPER_PEARSON = "clopper-pearson"
CLUSTER_BOOTSTRAP = "cluster-bootstrap"
BOOTSTRAP = "bootstrap"
"""Of means of scores, which need not lie between 0 and 1."""
UNPAIRED = "unpaired"
"""Of metrics whose samples are unknown: by normal draws, independent between alphas."""
CONDITIONAL = "cluster-bootstrap-conditional"
"""Of an average: on the clusters of the datasets that have too few of them."""
TWO_WAY = "two-way"
"""Of a mean over models: over models and test images (`wiseft.tabulate.two_way`)."""
TWO_WAY_CONDITIONAL = "two-way-conditional"
PAIR_PREFIX = "pair-with-"
"""Begin of `combination` where a measure is about two classifiers."""
TURNED = "neg_"
"""Begins the name of a metric of which less is better: its values are turned around."""
ROUNDING = 1e-6
"""What six decimals may take from a number."""
ALL = "all"
"""`seed` of a mean over seeds; `run` of one over models, which `wiseft.tabulate.models` makes."""


def conform(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Return the frame with exactly the schema's columns, order and types.

    Raises:
        WiseftError: if a column is missing or unknown, or holds values of another type.
    """
    missing = [name for name in schema if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in schema]
    if missing or unknown:
        raise WiseftError(
            f"the table must have the columns {', '.join(schema)}; "
            f"missing: {', '.join(missing) or 'none'}, unknown: {', '.join(unknown) or 'none'}"
        )
    columns: dict[str, pd.Series] = {}
    for name, kind in schema.items():
        column = frame[name]
        try:
            if kind == TEXT:
                column = column.astype(object).where(column.notna(), "")
            columns[name] = column.astype(kind)
        except (TypeError, ValueError) as error:
            raise WiseftError(f"column {name} must hold {kind} values: {error}") from None
    return pd.DataFrame(columns).reset_index(drop=True)


def stacked(frames: Sequence[pd.DataFrame], schema: Schema) -> pd.DataFrame:
    """Return frames, one below the other, as a table. Raises as `conform`."""
    return conform(pd.concat([conform(each, schema) for each in frames]), schema)


def frame_of(rows: Sequence[Mapping[str, Any]], schema: Schema) -> pd.DataFrame:
    """Return rows, maybe none, as a table; what one lacks is null. Raises as `conform`."""
    return conform(pd.DataFrame(rows, columns=list(schema)), schema)


def read(path: Path | str, schema: Schema, what: str) -> pd.DataFrame:
    """Read a table (`.parquet` or `.csv`) with its exact columns and types.

    Text columns are empty strings where they do not apply, numbers are null.

    Args:
        what: names the table in messages.

    Raises:
        WiseftError: if the file is absent.
        DamagedFile: if it differs from its sum or has none, is broken, or a column is missing,
            unknown or of another type.
    """
    path = require_file(path, what)
    rows = check_sum(path, what)
    with damage_of(path, sum_path(path)):
        frame = _parse(path, schema, what)
        if len(frame) != rows:
            raise WiseftError(f"{what} {path} has {len(frame)} rows; {rows} were written")
    return frame


def _parse(path: Path, schema: Schema, what: str) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
        else:
            texts = {name: "str" for name, kind in schema.items() if kind == TEXT}
            numbers = [name for name in schema if name not in texts]
            frame = pd.read_csv(
                path, dtype=texts, keep_default_na=False, na_values={name: [""] for name in numbers}
            )
    except (ValueError, OSError) as error:
        raise WiseftError(f"{what} {path} cannot be read ({error})") from None
    try:
        return conform(frame, schema)
    except WiseftError as error:
        raise WiseftError(f"{what} {path}: {error}") from None


def read_table(path: Path | str, means: bool = False) -> pd.DataFrame:
    """Read the tidy table. Raises as `read`, and DamagedFile if numbers contradict each other.

    `alpha` is null for `oracle-table13`, whose columns have different alphas.

    Args:
        means: whether rows that are means over models are read as well, which must not be taken
            for those of runs.
    """
    frame = read(path, TABLE, "table")
    with damage_of(Path(path), sum_path(Path(path))):
        _check_numbers(frame, f"table {path}")
    frame["alpha"] = frame["alpha"].round(3)
    return frame if means else frame[frame["run"] != ALL].reset_index(drop=True)


def _check_numbers(frame: pd.DataFrame, where: str) -> None:
    """Raise WiseftError unless values are their counts, and intervals are intervals."""
    value, low, high = frame["value"], frame["ci_low"], frame["ci_high"]
    method = frame["ci_method"]
    n_correct, n = frame["n_correct"].astype(float), frame["n"].astype(float)
    exact, resampled = method == CLOPPER_PEARSON, method.isin([CLUSTER_BOOTSTRAP, CONDITIONAL])
    ordered = (low >= -ROUNDING) & (low <= high) & (high <= 1 + ROUNDING)  # not of a NaN
    inside = (low <= value + ROUNDING) & (value <= high + ROUNDING)
    counted = n_correct.notna() & (n > 0)
    apart = counted & ~((value - n_correct / n).abs() <= ROUNDING)
    for wrong, what in (
        (apart, "value is not n_correct / n"),
        ((exact | resampled) & ~ordered, "interval has no ends in order between 0 and 1"),
        (exact & ~inside, "value lies outside of its exact interval"),
    ):
        if wrong.any():
            row = frame[wrong].iloc[0]
            name = "/".join(str(row[key]) for key in ("run", "dataset", "view", "alpha"))
            raise WiseftError(
                f"{where}: the {what} in row {frame.index[wrong][0] + 1} ({name}): {row['value']} "
                f"[{row['ci_low']}, {row['ci_high']}], {row['n_correct']} of {row['n']}"
            )


def write_csv(path: Path | str, frame: pd.DataFrame, schema: Schema) -> None:
    """Write a CSV and its sum, each atomically: six decimals, Unix line ends, null as empty."""
    with atomic_path(path) as temporary:
        conform(frame, schema).to_csv(
            temporary, index=False, float_format="%.6f", lineterminator="\n"
        )
    write_sum(Path(path), len(frame))


def write_parquet(path: Path | str, frame: pd.DataFrame, schema: Schema) -> None:
    """Write a Parquet file and its sum, each atomically, in full precision."""
    with atomic_path(path) as temporary:
        conform(frame, schema).to_parquet(temporary, index=False)
    write_sum(Path(path), len(frame))
