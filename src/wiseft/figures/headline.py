"""The numbers that matter, as plain text: zero-shot, fixed alpha and fine-tuned side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from wiseft.alphas import format_alpha
from wiseft.figures.select import (
    FIXED_ALPHA,
    SEPARATOR,
    by_line,
    curve,
    each_run,
    grid_rows,
    in_one_space,
    line_names,
    methods_of,
    reference_of,
)
from wiseft.tabulate.robustness import average_name
from wiseft.tabulate.schema import AVERAGE_PREFIX

POINTS = {"zero-shot": 0.0, f"α = {FIXED_ALPHA}": FIXED_ALPHA, "fine-tuned": 1.0}
DEFAULT_AVERAGES = ("shifts", "natural")


class Cell(NamedTuple):
    """One accuracy (fractions): mean, smallest and largest of the runs; interval of the mean."""

    mean: float
    low: float
    high: float
    ci_low: float
    ci_high: float
    runs: int


def cell(grid: pd.DataFrame, dataset: str, method: str, alpha: float) -> Cell:
    """Return a method's accuracy on a dataset at an alpha of the grid.

    Args:
        grid: rows of one source, split, view and space.

    Raises:
        WiseftError: if the table has no such row.
    """
    runs = curve(grid[grid["alpha"] == alpha], dataset, method, combination=None)
    value = runs["value"]
    return Cell(
        float(value.mean()),
        float(value.min()),
        float(value.max()),
        float(runs["ci_low"].mean()),
        float(runs["ci_high"].mean()),
        len(each_run(runs)),
    )


def averages_of(table: pd.DataFrame) -> list[str]:
    """Return the names of the averages in the table, without their prefix."""
    names = table["dataset"].unique().tolist()
    return [n.removeprefix(AVERAGE_PREFIX) for n in names if n.startswith(AVERAGE_PREFIX)]


def headline_metrics(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """Return accuracies (fractions, means over runs) by method, dataset and alpha 0, 0.5 and 1.

    Datasets are the reference and the averages: few numbers, to be compared between versions.

    Raises:
        WiseftError: if the table lacks the accuracies.
    """
    grid = _lines(table)
    datasets = [reference_of(grid), *(average_name(name) for name in averages_of(grid))]
    return {
        method: {
            dataset: {
                format_alpha(alpha): round(cell(grid, dataset, method, alpha).mean, 6)
                for alpha in POINTS.values()
            }
            for dataset in datasets
        }
        for method in methods_of(grid, None, needed=False)
    }


def _lines(table: pd.DataFrame) -> pd.DataFrame:
    """Return the test split's sweep, with a name for each model and variant of a method."""
    grid = in_one_space(grid_rows(table, "measured", "test", "all"))
    return by_line(grid, line_names(grid))


def headline(table: pd.DataFrame, averages: Sequence[str] | None = None) -> str:
    """Return three lines (reference, shifts, natural) under a line that names the columns.

    They are about the leading method, and stand there for each of its models and variants. Of
    models trained from scratch alone there are the accuracies at the one alpha that they have.

    Args:
        table: the tidy table.
        averages: averages to show; by default `shifts` and `natural`, else all of the table.

    Raises:
        WiseftError: if the table lacks the accuracies.
    """
    grid = _lines(table)
    methods = methods_of(grid, None, needed=False)
    there = averages_of(grid)
    chosen = averages or [name for name in DEFAULT_AVERAGES if name in there] or there
    reference = reference_of(grid)
    targets = {f"reference ({reference})": reference}
    targets |= {f"average of {name}": average_name(name) for name in chosen}
    if not methods:
        return _baselines_text(grid, targets)
    leading = methods[0].split(SEPARATOR)[0]
    same = [name for name in methods if name.split(SEPARATOR)[0] == leading]
    return "\n".join(_text(grid, method, targets, several=len(same) > 1) for method in same)


def _text(grid: pd.DataFrame, method: str, targets: dict[str, str], several: bool) -> str:
    width = max(map(len, targets))
    runs = cell(grid, next(iter(targets.values())), method, FIXED_ALPHA).runs
    title = "accuracy (%)"
    if runs > 1:
        title = f"accuracy (%), {method}, mean of {runs} runs"
    elif several:
        title = f"accuracy (%), {method}"
    lines = [title, " " * width + "".join(f"{name:>12}" for name in POINTS)]
    for label, dataset in targets.items():
        values = [cell(grid, dataset, method, alpha).mean for alpha in POINTS.values()]
        lines.append(f"{label:<{width}}" + "".join(f"{100 * value:12.1f}" for value in values))
    return "\n".join(lines)


def _baselines_text(grid: pd.DataFrame, targets: dict[str, str]) -> str:
    """Return a line for each model trained from scratch."""
    means = grid.groupby(["variant", "dataset"], sort=False)["value"].mean()
    lines = ["accuracy (%), trained from scratch"]
    for variant in grid["variant"].unique():
        values = [f"{label} {100 * means[variant, d]:.1f}" for label, d in targets.items()]
        lines.append(f"{variant or 'default'}: {', '.join(values)}")
    return "\n".join(lines)
