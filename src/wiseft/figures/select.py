"""Rows of the tidy table as curves over alpha: what is drawn is what stands in the table.

Several runs (models or seeds) are drawn as their mean and each by itself. Their samples are never
pooled: an interval of the mean goes from the mean of the runs' lower ends to that of the upper
ends. That is no narrower than the interval of the mean accuracy over these models, since the
standard deviation of a mean is at most the mean of the standard deviations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from wiseft.base.names import BASELINE_METHOD
from wiseft.errors import WiseftError
from wiseft.figures.labels import SEPARATOR
from wiseft.tabulate.models import RUN, VALUES, of_runs
from wiseft.tabulate.schema import AVERAGE_PREFIX

FIXED_ALPHA = 0.5


class NoRow(WiseftError):
    """The table has no row of what is asked for: it has not been measured, or is named wrongly."""


def matching(table: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    """Return the rows as `rows`, maybe none.

    Raises:
        WiseftError: if a column is unknown.
    """
    try:
        return rows(table, **wanted)
    except NoRow:
        return table.iloc[:0]


def rows(table: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    """Return the rows whose columns equal the given values (or are in the given list).

    Raises:
        NoRow: if no row is left.
        WiseftError: if a column is unknown.
    """
    left = np.ones(len(table), dtype=bool)
    for column, value in wanted.items():
        if column not in table.columns:
            raise WiseftError(
                f"the table has no column {column!r}; its columns are {', '.join(table.columns)}"
            )
        here = table[column]
        keep = here.isin(value) if isinstance(value, list) else here == value
        before, left = left, left & keep.to_numpy(dtype=bool, na_value=False)
        if not left.any():
            there = sorted({str(item) for item in here[before]})
            raise NoRow(
                f"no row is left with {column} {value!r} after "
                f"{', '.join(_before(wanted, column)) or 'no other condition'}; there {column} is "
                f"{', '.join(there) or 'empty'}. Change the figure's options or the experiment"
            )
    return table[left]


def _before(wanted: dict[str, Any], column: str) -> list[str]:
    names = list(wanted)[: list(wanted).index(column)]
    return [f"{name} {wanted[name]!r}" for name in names]


def grid_rows(
    table: pd.DataFrame, source: str = "measured", split: str = "test", view: str = "all"
) -> pd.DataFrame:
    """Return the sweep: every alpha of the grid in one source, split and view (of one metric)."""
    return rows(table, source=source, selection="grid", split=split, view=view)


def reference_of(table: pd.DataFrame) -> str:
    """Return the one reference dataset of the table.

    Raises:
        WiseftError: if there are several.
    """
    names = sorted(table["reference"].unique())
    if len(names) != 1:
        raise WiseftError(
            f"a figure has one reference dataset, but the table has {', '.join(names) or 'none'}"
        )
    return str(names[0])


def shifts_of(table: pd.DataFrame) -> list[str]:
    """Return the datasets other than the reference and the averages, in the table's order."""
    names = table["dataset"].unique().tolist()
    reference = reference_of(table)
    return [n for n in names if n != reference and not n.startswith(AVERAGE_PREFIX)]


def methods_of(table: pd.DataFrame, methods: list[str] | None, needed: bool = True) -> list[str]:
    """Return the methods to draw, end-to-end first: all but the baselines, or those of the asked
    ones that are in the table.

    Raises:
        WiseftError: if there are none and some are asked for or needed.
    """
    there = [m for m in table["method"].unique().tolist() if m != BASELINE_METHOD]
    wanted = methods if methods is not None else sorted(there, key=_end_to_end_first)
    chosen = [method for method in wanted if method in there]
    if (wanted or needed) and not chosen:
        raise WiseftError(
            f"the methods to draw are {', '.join(wanted) or 'none'}, but the table has "
            f"{', '.join(there) or 'none but baselines'}"
        )
    return chosen


def _end_to_end_first(method: str) -> tuple[bool, str]:
    return method.split(SEPARATOR)[0] != "end-to-end", method


def curve(
    grid: pd.DataFrame, dataset: str, method: str, combination: str | None = "weight"
) -> pd.DataFrame:
    """Return a method's accuracies on a dataset: one row a run and alpha, sorted.

    Columns: model, variant, run, seed, alpha, value, ci_low, ci_high (fractions).

    Args:
        grid: rows of one source, split and view.
        combination: None: that of the rows, which are in one space.

    Raises:
        WiseftError: if there is no such row, if an alpha occurs twice in a run, or if the runs
            have different alphas (then a mean over runs would mix grids).
    """
    space = {} if combination is None else {"combination": combination}
    key = [*RUN, "alpha"]
    points = rows(of_runs(grid), method=method, **space, dataset=dataset)[[*key, *VALUES]]
    points = points.sort_values(key, ignore_index=True)
    if points.duplicated(key).any():
        raise WiseftError(
            f"dataset {dataset}, method {method} has several rows for one run and alpha; "
            "choose one source, split and view"
        )
    if points.groupby("alpha").size().nunique() != 1:
        raise WiseftError(
            f"the runs of method {method} have different alphas on dataset {dataset}; "
            "rerun the stage evaluate with one grid"
        )
    return points


def paired_curve(
    grid: pd.DataFrame, x_dataset: str, y_dataset: str, method: str, combination: str = "weight"
) -> pd.DataFrame:
    """Return two curves joined by run and alpha: columns as `curve`, with `_x` and `_y`.

    Raises:
        WiseftError: as `curve`, or if a run has an alpha for one of the two only.
    """
    x = curve(grid, x_dataset, method, combination)
    y = curve(grid, y_dataset, method, combination)
    joined = x.merge(y, on=[*RUN, "alpha"], suffixes=("_x", "_y"))
    if len(joined) != len(x) or len(joined) != len(y):
        raise WiseftError(
            f"method {method} has other runs or alphas on {x_dataset} than on {y_dataset}; "
            "rerun the stages evaluate and tabulate"
        )
    return joined
