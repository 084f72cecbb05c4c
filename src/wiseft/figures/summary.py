"""The summary of an experiment in Markdown: every number from the stage tabulate's tables."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from wiseft.figures.headline import POINTS, Cell, cell
from wiseft.figures.select import (
    FIXED_ALPHA,
    SEPARATOR,
    average_dataset,
    by_line,
    grid_rows,
    has_output_space,
    in_one_space,
    line_names,
    methods_of,
)
from wiseft.figures.style import METHODS
from wiseft.tabulate.intervals import TOO_FEW
from wiseft.tabulate.robustness import BASELINE_METHOD
from wiseft.tabulate.schema import ALL, AVERAGE_PREFIX
from wiseft.tabulate.settings import TabulateSettings

SIGNIFICANCE = 0.05
SELECTION_TEXT = {
    "fixed": f"fixed, α = {FIXED_ALPHA}",
    "held-out": "best on held-out reference samples",
    "held-out-1se": "smallest within one standard error of that",
    "oracle-column": "**oracle**: best on each column's own test labels",
    "oracle-table13": "**oracle**: average of per-dataset optima (test labels)",
}
CONTRAST_TEXT = {
    "weight-vs-output": f"α = {FIXED_ALPHA}, weight space against output space",
    "0.500-vs-0.000": f"α = {FIXED_ALPHA} against zero-shot",
    "0.500-vs-1.000": f"α = {FIXED_ALPHA} against fine-tuned",
}
HONESTY = """## How to read the numbers

- Intervals are 95 % and **conditional on the trained models**: they say how far the numbers would
  move with other test samples, not with other training runs. What training varies is shown as the
  range over runs; runs are never pooled into the sample count.
- Renditions of one image are resampled together (cluster bootstrap), so averages over datasets
  that share images are not taken for independent. A dataset of fewer than ten clusters (typefaces
  of four families) has no interval: its clusters are shown one by one, and the intervals of
  averages that contain it hold for these clusters alone.
- Compare with **both** ends. A gain over the fine-tuned model on an average of shifts is no gain
  over the zero-shot model; see each average, and the natural datasets by themselves.
- An **oracle** chooses α by the test labels. It bounds what a choice could reach and is no way to
  choose; α = 0.5 and the held-out choices look at no shifted sample.
- Values are in percent; differences, regrets and effective robustness in percentage points.
"""


@dataclass(frozen=True)
class Tables:
    """The tables of the stage tabulate, as its readers return them."""

    table: pd.DataFrame
    comparisons: pd.DataFrame
    selection: pd.DataFrame
    fits: pd.DataFrame
    effective: pd.DataFrame


def summary(experiment: str, tables: Tables, settings: TabulateSettings) -> str:
    """Return the summary as Markdown.

    Raises:
        WiseftError: if the table lacks what the settings name.
    """
    grid = grid_rows(
        tables.table, "measured", settings.test_split, settings.view_of(settings.reference)
    )
    names = line_names(grid)
    grid = by_line(grid, names)
    comparisons, selection = by_line(tables.comparisons, names), by_line(tables.selection, names)
    methods = methods_of(grid, None, needed=False)
    targets = {f"reference ({settings.reference})": settings.reference}
    targets |= {f"average of {name}": average_dataset(name) for name in settings.averages}
    parts = [
        f"# {experiment}: summary\n",
        _inventory(grid, settings),
        _headline_section(grid, methods, targets),
        _baselines_section(grid, targets),
        _averages_section(comparisons, targets),
        _datasets_section(comparisons, settings),
        _clusters_section(by_line(tables.table, names), methods, settings),
        _selection_section(selection, targets),
        _robustness_section(by_line(tables.effective, names), methods, tables.fits, settings),
        HONESTY,
    ]
    return "\n".join(part for part in parts if part)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all but the first column are aligned to the right."""
    lines = ["| " + " | ".join(head) + " |"]
    lines.append("| --- |" + " ---: |" * (len(head) - 1))
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def percent(value: float) -> str:
    """Return a fraction as percent with one decimal."""
    return f"{100 * value:.1f}"


def points(value: float) -> str:
    """Return a difference of fractions in signed percentage points."""
    text = f"{100 * value:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def p_text(value: float) -> str:
    """Return a p value with two significant digits."""
    if np.isnan(value):
        return ""
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def _title(name: str) -> str:
    """Return the title of a line: its method's label, and what else its name says."""
    method, *rest = name.split(SEPARATOR)
    label = METHODS[method].label if method in METHODS else method
    return SEPARATOR.join([label, *rest])


def _inventory(grid: pd.DataFrame, settings: TabulateSettings) -> str:
    methods = methods_of(grid, None, needed=False)
    swept = grid[grid["method"].isin(methods)] if methods else grid
    models = ", ".join(sorted(swept["model"].unique()))
    seeds = ", ".join(str(seed) for seed in sorted(swept["seed"].unique()))
    averages = "; ".join(f"{name} = {', '.join(m)}" for name, m in settings.averages.items())
    what, training = ("Zero-shot models", "Fine-tuning") if methods else ("Models", "Training")
    return (
        f"Reference: {settings.reference}. {what}: {models}. {training} seeds: {seeds}. "
        f"Split: {settings.test_split}. "
        f"Averages: {averages}.\n"
    )


def _cell_text(found: Cell) -> str:
    if found.low == found.high:  # one run, or runs that share this point, as zero-shot does
        if np.isnan(found.ci_low):
            return percent(found.mean)
        return f"{percent(found.mean)} [{percent(found.ci_low)}, {percent(found.ci_high)}]"
    return f"{percent(found.mean)} ({percent(found.low)} to {percent(found.high)})"


def _headline_section(grid: pd.DataFrame, methods: list[str], targets: dict[str, str]) -> str:
    if not methods:
        return ""
    rows = []
    main = in_one_space(grid)
    for method in methods:
        for label, dataset in targets.items():
            cells = [cell(main, dataset, method, alpha) for alpha in POINTS.values()]
            rows.append([_title(method), label, *map(_cell_text, cells)])
        if has_output_space(grid, method):
            output = grid[grid["combination"] == "output"]
            title = f"output-space ensemble, {method}"
            for label, dataset in targets.items():
                found = cell(output, dataset, method, FIXED_ALPHA)
                rows.append([title, label, "", _cell_text(found), ""])
    runs = cell(main, next(iter(targets.values())), methods[0], FIXED_ALPHA).runs
    what = "In square brackets: 95 % interval."
    if runs > 1:
        what += f" In parentheses: smallest to largest of {runs} runs."
    table = markdown_table(["method", "accuracy (%)", *POINTS], rows)
    reading = "\n".join(_reading(main, methods[0], label, d) for label, d in targets.items())
    return f"## Accuracy\n\n{what}\n\n{table}\n{_title(methods[0])}, in words:\n\n{reading}\n"


def _baselines_section(grid: pd.DataFrame, targets: dict[str, str]) -> str:
    """Return the accuracies of the models from scratch, the weakest on the reference first."""
    found = grid[grid["method"] == BASELINE_METHOD]
    if found.empty:
        return ""
    rows = []
    for variant, part in found.groupby("variant"):
        cells = [cell(part, dataset, BASELINE_METHOD, 1.0) for dataset in targets.values()]
        rows.append((cells[0].mean, [str(variant) or "default", *map(_cell_text, cells)]))
    table = markdown_table(["variant", *targets], [row for _, row in sorted(rows)])
    return f"## Models from scratch\n\nAccuracy (%).\n\n{table}"


def _reading(grid: pd.DataFrame, method: str, label: str, dataset: str) -> str:
    """Return one line that sets the fixed alpha against both ends."""
    start, fixed, end = (cell(grid, dataset, method, alpha).mean for alpha in POINTS.values())
    texts = [
        f"{percent(abs(fixed - other))} points {'above' if fixed >= other else 'below'} {name}"
        for name, other in (("zero-shot", start), ("fine-tuned", end))
    ]
    return f"- {label}: α = {FIXED_ALPHA} is {' and '.join(texts)}."


def _averages_section(comparisons: pd.DataFrame, targets: dict[str, str]) -> str:
    """Return a table of each method and contrast: runs down, reference and averages across."""
    parts = []
    for (method, contrast), found in comparisons.groupby(["method", "contrast"], sort=True):
        rows = []
        for (run, seed), part in found.groupby(["run", "seed"], sort=False):
            by_dataset = {str(row["dataset"]): row for row in part.to_dict("records")}
            if run == ALL and seed == ALL:
                name = "**all models: mean (range of their means)**"
            elif seed == ALL:
                name = f"**{part['model'].iloc[0]}: mean (range over seeds)**"
            else:
                name = f"{part['model'].iloc[0]}, seed {seed}"
            texts = [_difference_text(by_dataset, dataset) for dataset in targets.values()]
            rows.append([name, *texts])
        title = f"### {_title(str(method))}: {CONTRAST_TEXT.get(str(contrast), str(contrast))}"
        parts.append(f"{title}\n\n{markdown_table(['run', *targets], rows)}")
    if not parts:
        return ""
    intro = "Percentage points, with 95 % intervals from the paired cluster bootstrap.\n"
    return f"## Differences, run by run\n\n{intro}\n" + "\n".join(parts)


def _difference_text(by_dataset: dict[str, dict[Hashable, Any]], dataset: str) -> str:
    """Return a difference with its interval, or, of a summary, with the range in its place."""
    if dataset not in by_dataset:
        return ""
    row = by_dataset[dataset]
    if row["seed"] == ALL:
        bracket = f"({points(row['low'])} to {points(row['high'])})"
    else:
        bracket = f"[{points(row['ci_low'])}, {points(row['ci_high'])}]"
    return f"{points(row['difference'])} {bracket}"


def _datasets_section(comparisons: pd.DataFrame, settings: TabulateSettings) -> str:
    """Return per dataset the difference over all runs with its Holm-corrected tests."""
    single = comparisons[
        (comparisons["seed"] != ALL) & ~comparisons["dataset"].str.startswith(AVERAGE_PREFIX)
    ]
    members = [m for names in settings.averages.values() for m in names]
    order = list(dict.fromkeys([settings.reference, *members]))
    parts = []
    for (method, contrast), found in single.groupby(["method", "contrast"], sort=True):
        rows = []
        for dataset in [name for name in order if (found["dataset"] == name).any()]:
            part = found[found["dataset"] == dataset]
            corrected = part["p_holm"].notna().all()
            p = part["p_holm"] if corrected else part["p_value"]
            better = int(((p < SIGNIFICANCE) & (part["difference"] > 0)).sum())
            worse = int(((p < SIGNIFICANCE) & (part["difference"] < 0)).sum())
            span = (points(part["difference"].min()), points(part["difference"].max()))
            rows.append(
                [
                    dataset,
                    f"{points(part['difference'].mean())} ({span[0]} to {span[1]})",
                    _largest_p(p, bool(corrected)),
                    f"{better} / {worse} of {len(part)}",
                ]
            )
        head = ["dataset", "difference (range)", "largest p, Holm", "runs better / worse at 5 %"]
        title = f"### {_title(str(method))}: {CONTRAST_TEXT.get(str(contrast), str(contrast))}"
        parts.append(f"{title}\n\n{markdown_table(head, rows)}")
    if not parts:
        return ""
    intro = (
        "Exact McNemar tests, or the cluster bootstrap where samples are not independent; Holm's "
        "correction covers the shifts of one run. The reference stands outside of it.\n"
    )
    return f"## Differences, dataset by dataset\n\n{intro}\n" + "\n".join(parts)


def _largest_p(p: pd.Series, corrected: bool) -> str:
    if p.isna().all():
        return "too few clusters"
    return p_text(float(p.max())) + ("" if corrected else " (not corrected)")


def _clusters_section(table: pd.DataFrame, methods: list[str], settings: TabulateSettings) -> str:
    """Return the accuracy of every cluster of datasets that have too few for an interval."""
    found = table[
        (table["split"] == settings.test_split)
        & (table["selection"] == "grid")
        & (table["ci_method"] == TOO_FEW)
        & table["view"].str.contains("/")
    ]
    rows = []
    for (dataset, view), part in in_one_space(found).groupby(["dataset", "view"], sort=True):
        name = f"{dataset}: {str(view).split('/', 1)[1]} ({part['n'].iloc[0]} images)"
        for method in [name for name in methods if (part["method"] == name).any()]:
            cells = [cell(part, str(dataset), method, alpha) for alpha in POINTS.values()]
            rows.append([_title(method), name, *map(_cell_text, cells)])
    if not rows:
        return ""
    table_text = markdown_table(["method", "cluster", *POINTS], rows)
    return f"## Clusters that are too few for an interval\n\nAccuracy (%).\n\n{table_text}"


def _selection_section(selection: pd.DataFrame, targets: dict[str, str]) -> str:
    """Return, by method, what each way to choose alpha gives and loses; means over runs."""
    parts = []
    for method, found in in_one_space(selection).groupby("method", sort=True):
        rows = []
        for name, text in SELECTION_TEXT.items():
            chosen = found[found["selection"] == name]
            if chosen.empty:
                continue
            cells = []
            for dataset in targets.values():
                part = chosen[chosen["dataset"] == dataset]
                cells.append(_regret_text(part) if len(part) else "")
            rows.append([text, _alpha_text(chosen["alpha"]), *cells])
        table = markdown_table(["choice", "α", *targets], rows)
        parts.append(f"### {_title(str(method))}\n\n{table}")
    if not parts:
        return ""
    intro = (
        "Accuracy (%) and, in brackets, the regret: points below the best α for that column, "
        "which only the oracle knows. Means over runs; α: the range over runs (and columns).\n"
    )
    return f"## Choosing α\n\n{intro}\n" + "\n".join(parts)


def _regret_text(part: pd.DataFrame) -> str:
    regret = points(part["regret"].mean()).removeprefix("+")
    return f"{percent(part['value'].mean())} ({regret})"


def _alpha_text(alphas: pd.Series) -> str:
    known = alphas.dropna()
    if known.empty:
        return "per dataset"
    low, high = (f"{end:.3f}".rstrip("0").rstrip(".") for end in (known.min(), known.max()))
    return low if low == high else f"{low} to {high}"


def _robustness_section(
    effective: pd.DataFrame, methods: list[str], fits: pd.DataFrame, settings: TabulateSettings
) -> str:
    """Return effective robustness over each line, with what the line is worth."""
    swept = effective["method"].isin(methods) & (effective["source"] == "measured")
    effective = in_one_space(effective[swept])
    if effective.empty:
        return ""
    own = bool((effective["line"] == BASELINE_METHOD).any())
    lines = [_fit_text(fit, settings.reference) for fit in fits.to_dict("records")] if own else []
    if (effective["line"] != BASELINE_METHOD).any():
        lines.append(
            f"- others: the models of standard training of the ImageNet test bed, over accuracy on "
            f"{settings.reference}, of the shift's classes alone where these are fewer."
        )
    rows = []
    for dataset in effective["dataset"].unique():
        for method in methods:
            at = effective[(effective["dataset"] == dataset) & (effective["method"] == method)]
            if len(at):
                name = str(dataset).removeprefix(AVERAGE_PREFIX)
                rows.append([_title(method), name, *map(partial(_rho, at), POINTS.values())])
    table = markdown_table(["method", "shift or average", *POINTS], rows)
    outside = effective[effective["alpha"].isin(POINTS.values())]["extrapolated"].any()
    note = "\n\\* Outside the range of the models: the line is extrapolated there.\n"
    caveat = (
        "The line through models from scratch goes through a few small ones that saw the reference "
        "alone. It is worth what its R² says, and nothing outside its range.\n"
    )
    head = "Accuracy under shift minus what a line of models gives at equal reference accuracy"
    body = "\n".join(lines)
    ending = (note if outside else "") + ("\n" + caveat if own else "")
    return f"## Effective robustness\n\n{head} (points).\n\n{body}\n\n{table}{ending}"


def _fit_text(fit: Mapping[Hashable, Any], reference: str) -> str:
    return (
        f"- {str(fit['average']).removeprefix(AVERAGE_PREFIX)}: {fit['n']} models from scratch, "
        f"logit-logit slope {fit['slope']:.2f}, R² = {fit['r2']:.2f}, fitted from "
        f"{percent(fit['x_min'])} to {percent(fit['x_max'])} % on {reference}."
    )


def _rho(rows: pd.DataFrame, alpha: float) -> str:
    """Return the mean over runs at an alpha; empty where there is none."""
    at = rows[rows["alpha"] == alpha]
    if at.empty:
        return ""
    mark = "\\*" if at["extrapolated"].any() else ""
    return points(float(at["effective_robustness"].mean())) + mark
