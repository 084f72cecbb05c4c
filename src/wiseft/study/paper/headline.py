"""The numbers that matter, as plain text: zero-shot, fixed alpha and fine-tuned side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from wiseft.base.alphas import format_alpha
from wiseft.base.metrics import ALL_FRAMES, MACRO_F1, WORST_GROUP
from wiseft.base.templates import percent
from wiseft.figures.labels import SEPARATOR
from wiseft.figures.line_names import by_line, in_one_space, line_names
from wiseft.figures.select import FIXED_ALPHA, curve, grid_rows, methods_of, reference_of
from wiseft.tabulate.models import FEWEST_MODELS, VALUES, each_run, of_models, prediction_interval
from wiseft.tabulate.robustness import average_name
from wiseft.tabulate.roles import renamed
from wiseft.tabulate.schema import AVERAGE_PREFIX
from wiseft.tabulate.settings import own_shift, split_roles
from wiseft.tabulate.table import MEAN

WITHOUT_LABELS = ["unlabelled", "dawin"]
"""Choices that are made of what is reported alone, so that they tell what that is."""

POINTS = {"zero-shot": 0.0, f"α = {FIXED_ALPHA}": FIXED_ALPHA, "fine-tuned": 1.0}
DEFAULT_AVERAGES = ("shifts", "natural")
_METRICS = {
    WORST_GROUP: "worst-group accuracy",
    MACRO_F1: "macro F1",
    ALL_FRAMES: "all frames right",
    MEAN: "mean of metrics",
}


class Cell(NamedTuple):
    """One accuracy (fractions): mean, smallest and largest of the runs; interval of the mean.

    Of several models the mean and its interval are over these (null of two), else the interval is
    conditional on the model. `new` is where one new pre-training is expected (NaN of two models).
    """

    mean: float
    low: float
    high: float
    ci_low: float
    ci_high: float
    runs: int
    models: int
    new: tuple[float, float]

    @property
    def inferred(self) -> bool:
        """Whether the interval says what other pre-trainings would give."""
        return self.models >= FEWEST_MODELS


def cell(grid: pd.DataFrame, dataset: str, method: str, alpha: float) -> Cell:
    """Return a method's accuracy on a dataset at an alpha of the grid.

    Args:
        grid: rows of one source, split, view and space; of means over models too, if there are.

    Raises:
        WiseftError: if the table has no such row.
    """
    at = grid[grid["alpha"] == alpha]
    runs = curve(at, dataset, method, combination=None)
    means = of_models(at)
    means = means[(means["dataset"] == dataset) & (means["method"] == method)]
    shown = means if len(means) else runs
    value, low, high = (float(shown[name].mean()) for name in VALUES)
    models = int(means["n"].iloc[0]) if len(means) else 1
    smallest, largest = float(runs["value"].min()), float(runs["value"].max())
    new = prediction_interval(runs.groupby("model")["value"].mean())
    return Cell(value, smallest, largest, low, high, len(each_run(runs)), models, new)


def averages_of(table: pd.DataFrame) -> list[str]:
    """Return the names of the averages in the table, without their prefix."""
    names = table["dataset"].unique().tolist()
    return [n.removeprefix(AVERAGE_PREFIX) for n in names if n.startswith(AVERAGE_PREFIX)]


def targets_of(
    grid: pd.DataFrame, reference: str, averages: Sequence[str], split: str, near: str
) -> tuple[dict[str, str], str]:
    """Return the datasets of the reference, its own shift and averages by label, and the metric.

    Args:
        grid: rows of primary views, by roles; where their metrics differ, labels have them.
        split: the test split.
        near: the reference's split in distribution; empty: the test split.
    """
    found = {f"reference ({reference}{f', {near}' if near else ''})": reference}
    if near:
        found[f"shift ({reference}, {split})"] = own_shift(reference, split)
    found |= {f"average of {name}": average_name(name) for name in averages}
    metrics = grid.drop_duplicates("dataset").set_index("dataset")["metric"]
    words = {label: _METRICS.get(str(metrics.get(n)), "accuracy") for label, n in found.items()}
    if len(set(words.values())) == 1:
        return found, next(iter(words.values()))
    return {f"{label}, {words[label]}": name for label, name in found.items()}, "metric"


def headline_metrics(table: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """Return accuracies (fractions, means) by method, dataset and alpha 0, 0.5 and 1.

    Datasets are the reference, its own shift and the averages: few numbers, to be compared between
    versions. Of three models or more, `<alpha> t-low` and `<alpha> t-high` are the ends of the
    interval over models.

    Raises:
        WiseftError: if the table lacks the accuracies.
    """
    grid, near = _lines(table)
    datasets = targets_of(grid, reference_of(grid), averages_of(grid), "test", near)[0].values()
    return {
        method: {
            dataset: _leaves([cell(grid, dataset, method, alpha) for alpha in POINTS.values()])
            for dataset in datasets
        }
        for method in methods_of(grid, None, needed=False)
    }


def _leaves(cells: list[Cell]) -> dict[str, float]:
    found = {}
    for name, number in zip(map(format_alpha, POINTS.values()), cells, strict=True):
        found[name] = number.mean
        if number.inferred:
            found |= {f"{name} t-low": number.ci_low, f"{name} t-high": number.ci_high}
    return {name: round(number, 6) for name, number in found.items()}


def sweep_of(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the test split's sweep by roles, and the reference's split in distribution, if it is
    another one.

    Raises:
        WiseftError: if the table has none.
    """
    table, near = by_role(table)
    return in_one_space(grid_rows(table, "measured", "test", "all")), near


def _lines(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return what `sweep_of` does, with a name for each model and variant of a method."""
    grid, near = sweep_of(table)
    return by_line(grid, line_names(grid)), near


def headline(table: pd.DataFrame) -> str:
    """Return three lines (reference, shifts, natural) under a line that names metric and columns.

    Without averages of these names, each average of the table has a line.

    A reference whose test split is a shift of it has a line for each split.

    They are about the leading method, and stand there for each of its models and variants. Of
    models trained from scratch alone there are the accuracies at the one alpha that they have.

    Args:
        table: the tidy table.

    Raises:
        WiseftError: if the table lacks the accuracies.
    """
    grid, near = _lines(table)
    methods = methods_of(grid, None, needed=False)
    there = averages_of(grid)
    chosen = [name for name in DEFAULT_AVERAGES if name in there] or there
    targets, metric = targets_of(grid, reference_of(grid), chosen, "test", near)
    if not methods:
        return _baselines_text(grid, targets)
    leading = methods[0].split(SEPARATOR)[0]
    same = [name for name in methods if name.split(SEPARATOR)[0] == leading]
    head = f"{metric} (%)" if near else f"{metric} (%), test"
    return "\n".join(_text(grid, method, targets, head, len(same) > 1) for method in same)


def _text(
    grid: pd.DataFrame, method: str, targets: dict[str, str], title: str, several: bool
) -> str:
    width, column = max(map(len, targets)), 12
    first = cell(grid, next(iter(targets.values())), method, FIXED_ALPHA)
    if first.models > 1:
        title, column = f"{title}, {method}, mean of {first.models} models", 20
        if first.inferred:
            title += " [95 % interval], and where one new model is expected (95 %)"
    elif first.runs > 1 or several:
        title += f", {method}" + (f", mean of {first.runs} runs" if first.runs > 1 else "")
    lines = [title, " " * width + "".join(f"{name:>{column}}" for name in POINTS)]
    for label, dataset in targets.items():
        numbers = [cell(grid, dataset, method, alpha) for alpha in POINTS.values()]
        lines.append(f"{label:<{width}}" + "".join(f"{_short(one):>{column}}" for one in numbers))
        if first.inferred:
            new = [f"[{percent(one.new[0])}, {percent(one.new[1])}]" for one in numbers]
            lines.append(f"{'one new model':>{width}}" + "".join(f"{e:>{column}}" for e in new))
    return "\n".join(lines)


def _short(number: Cell) -> str:
    ends = f" [{percent(number.ci_low)}, {percent(number.ci_high)}]" if number.inferred else ""
    return percent(number.mean) + ends


def _baselines_text(grid: pd.DataFrame, targets: dict[str, str]) -> str:
    """Return a line for each model trained from scratch."""
    means = grid.groupby(["variant", "dataset"], sort=False)["value"].mean()
    lines = ["accuracy (%), trained from scratch"]
    for variant in grid["variant"].unique():
        values = [f"{label} {100 * means[variant, d]:.1f}" for label, d in targets.items()]
        lines.append(f"{variant or 'default'}: {', '.join(values)}")
    return "\n".join(lines)


def by_role(table: pd.DataFrame, test_split: str = "test") -> tuple[pd.DataFrame, str]:
    """Return a tidy table by roles, and the reference's split in distribution; empty: the test one.

    The reference's own shift has rows of its primary view alone, under the reference's view.
    """
    mine = table[table["dataset"] == table["reference"]]
    mine = mine[mine["selection"].isin(WITHOUT_LABELS)]
    near, far = (mine[(mine["split"] == test_split) == is_test] for is_test in (False, True))
    if near.empty or far.empty:
        return table, ""
    reference, split, view = near[["dataset", "split", "view"]].iloc[0]
    rows = renamed(table, split_roles(reference, split, test_split))
    shift = rows["dataset"] == own_shift(reference, test_split)
    rows = rows[~shift | (rows["view"] == far["view"].iloc[0])]
    return rows.assign(view=rows["view"].mask(shift, view)), str(split)
