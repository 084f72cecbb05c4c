"""The summary of an experiment in Markdown: every number from the stage tabulate's tables.

The words are in `summary.md.j2`; the functions here compute what its tables hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from typing import Any

import pandas as pd

from wiseft.base.names import BASELINE_METHOD
from wiseft.base.templates import percent, plain, points, render
from wiseft.figures.labels import result_name
from wiseft.figures.line_names import LineKey, by_line, has_output_space, in_one_space, line_names
from wiseft.figures.select import FIXED_ALPHA, grid_rows, methods_of
from wiseft.figures.style import title
from wiseft.study.paper.headline import POINTS, Cell, by_role, cell, targets_of
from wiseft.tabulate.intervals import TOO_FEW
from wiseft.tabulate.models import FEWEST_MODELS, of_models, of_runs, prediction_interval
from wiseft.tabulate.schema import ALL, AVERAGE_PREFIX, CHOSEN, TUNING, TWO_WAY, frame_of
from wiseft.tabulate.settings import TabulateSettings

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Tables:
    """The tables of the stage tabulate, as its readers return them."""

    table: pd.DataFrame
    comparisons: pd.DataFrame
    selection: pd.DataFrame
    fits: pd.DataFrame
    effective: pd.DataFrame
    tuning: pd.DataFrame = field(default_factory=lambda: frame_of([], TUNING))


Row = tuple[list[str], list[Cell | None]]
"""A row of a table: its texts, then the accuracy for each further column."""


def summary(
    experiment: str, tables: Tables, settings: TabulateSettings, beside: Sequence[str] = ()
) -> str:
    """Return the summary as Markdown, with links to results beside it.

    Raises:
        WiseftError: if the table lacks what the settings name.
    """
    rows, near = by_role(tables.table, settings.test_split)
    tables, settings = _plain_tables(replace(tables, table=rows)), _plain_settings(settings)
    reference, near = settings.reference, plain(near)
    grid = grid_rows(tables.table, "measured", settings.test_split, settings.view_of(reference))
    names = line_names(grid)
    grid = by_line(grid, names)
    methods = methods_of(grid, None, needed=False)
    swept = of_runs(grid[grid["method"].isin(methods)] if methods else grid)
    named = grid, reference, list(settings.averages), settings.test_split
    targets, metric = targets_of(*named, near)
    comparisons = by_line(tables.comparisons, names)
    effective = _measured(by_line(tables.effective, names), methods)
    return render(
        "study/paper/summary.md.j2",
        experiment=plain(experiment),
        results={plain(file): plain(result_name(file)) for file in beside},
        settings=settings,
        models=sorted(swept["model"].unique()),
        n_models=max(of_models(grid)["n"], default=1),
        fewest=FEWEST_MODELS,
        seeds=_seeds(swept, methods),
        methods=methods,
        targets=targets,
        metric=metric,
        near=near,
        points=POINTS,
        fixed_alpha=FIXED_ALPHA,
        title=title,
        as_percent=percent,
        as_points=points,
        as_regret=lambda value: points(value).removeprefix("+"),
        as_alpha="{:.2f}".format,
        accuracies=list(_accuracies(grid, methods, targets)),
        baselines=_baselines(grid, targets),
        two_way=of_models(grid)["ci_method"].str.startswith(TWO_WAY).any(),
        gains=_gains(comparisons),
        tuning=_tuning(tables.tuning, names),
        runs=list(_runs(comparisons)),
        datasets=list(_datasets(comparisons, [*targets.values()], settings)),
        clusters=list(_clusters(by_line(tables.table, names), methods, settings)),
        choices=list(_choices(by_line(tables.selection, names), methods)),
        effective=list(_effective(effective, methods)),
        fits=tables.fits.to_dict("records"),
        lines={"own" if line == BASELINE_METHOD else "other" for line in effective["line"]},
        outside=effective[effective["alpha"].isin(POINTS.values())]["extrapolated"].any(),
        average_prefix=AVERAGE_PREFIX,
    )


def _seeds(swept: pd.DataFrame, methods: list[str]) -> dict[str, list[str]]:
    """Return lists of seeds, as text, with the methods that have them; the first is the leading
    method's.
    """
    found: dict[str, list[str]] = {}
    for method in methods or swept["method"].unique():
        seeds = swept[swept["method"] == method]["seed"].unique()
        found.setdefault(", ".join(map(str, sorted(seeds))), []).append(title(str(method)))
    return found


def _plain_tables(tables: Tables) -> Tables:
    """Return the tables with every text as Markdown shows it, so that no place of the template can
    forget a name of somebody else's.
    """

    def shown(column: pd.Series) -> pd.Series:
        if not pd.api.types.is_string_dtype(column):
            return column
        return column.map({name: plain(name) for name in column.unique()}).astype(column.dtype)

    return Tables(*(getattr(tables, field.name).apply(shown) for field in fields(tables)))


def _plain_settings(settings: TabulateSettings) -> TabulateSettings:
    averages = {plain(n): [*map(plain, names)] for n, names in settings.averages.items()}
    views = {plain(dataset): plain(view) for dataset, view in settings.views.items()}
    names = {"reference": plain(settings.reference), "test_split": plain(settings.test_split)}
    return settings.model_copy(update={"averages": averages, "views": views, **names})


def _ends(grid: pd.DataFrame, dataset: str, method: str) -> list[Cell | None]:
    """Return the accuracies at the alphas of `POINTS`."""
    return [cell(grid, dataset, method, alpha) for alpha in POINTS.values()]


def _accuracies(grid: pd.DataFrame, methods: list[str], targets: dict[str, str]) -> Iterator[Row]:
    """Yield a row for each method and target, and for its ensemble of outputs where it has one."""
    main, output = in_one_space(grid), grid[grid["combination"] == "output"]
    for method in methods:
        for label, dataset in targets.items():
            yield [title(method), label], _ends(main, dataset, method)
        if has_output_space(grid, method):
            for label, dataset in targets.items():
                fixed = cell(output, dataset, method, FIXED_ALPHA)
                yield [f"output-space ensemble, {method}", label], [None, fixed, None]


def _baselines(grid: pd.DataFrame, targets: dict[str, str]) -> list[tuple[list[str], list[Cell]]]:
    """Return the accuracies of the models from scratch, the weakest on the reference first."""
    rows = [
        (
            [str(variant) or "default"],
            [cell(part, dataset, BASELINE_METHOD, 1.0) for dataset in targets.values()],
        )
        for variant, part in grid[grid["method"] == BASELINE_METHOD].groupby("variant")
    ]
    return sorted(rows, key=lambda row: (row[1][0].mean, row[0]))


def _runs(comparisons: pd.DataFrame) -> Iterator[tuple[str, str, list[Any]]]:
    """Yield each method and contrast with its runs: their rows by dataset."""
    for (method, contrast), rows in comparisons.groupby(["method", "contrast"], sort=True):
        runs = rows.groupby(["run", "seed"], sort=False)
        yield (
            str(method),
            str(contrast),
            [{row["dataset"]: row for row in part.to_dict("records")} for _, part in runs],
        )


def _gains(comparisons: pd.DataFrame) -> dict[Any, dict[Any, Any]]:
    """Return the means over models by method, contrast and dataset, and where one `new`
    pre-training is expected.
    """
    key = ["method", "contrast", "dataset"]
    models = of_runs(comparisons[comparisons["seed"] == ALL]).groupby(key)["difference"]
    means = of_models(comparisons).set_index(key).assign(new=models.apply(prediction_interval))
    return means.to_dict("index")


def _tuning(rows: pd.DataFrame, names: dict[LineKey, str]) -> dict[str, dict[Any, Any]]:
    """Return, by setting, its rows by quantity and dataset."""
    ids = {"__".join(filter(None, key[1:])): name for key, name in names.items()}
    rows = by_line(rows.assign(against=rows["against"].map(ids)), names)
    return {
        str(method): {(row["quantity"], row["dataset"]): row for row in part.to_dict("records")}
        for method, part in rows.groupby("method", sort=False)
    }


def _datasets(
    comparisons: pd.DataFrame, targets: Sequence[str], settings: TabulateSettings
) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """Yield each method and contrast with its datasets: the difference over all runs, the tests."""
    single = [name for name in targets if not name.startswith(AVERAGE_PREFIX)]
    order = dict.fromkeys([*single, *chain(*settings.averages.values())])
    for (method, contrast), rows in comparisons.groupby(["method", "contrast"], sort=True):
        parts = {name: rows[rows["dataset"] == name] for name in order}
        tests = [{"dataset": name, **_tests(part)} for name, part in parts.items() if len(part)]
        yield str(method), str(contrast), tests


def _tests(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the difference of the runs on one dataset, and their tests after Holm's correction;
    of several models, the mean over them with its interval.
    """
    runs, means = rows[rows["seed"] != ALL], of_models(rows)
    shown = means if len(means) else runs
    corrected = bool(runs["p_holm"].notna().all())
    p, difference = runs["p_holm" if corrected else "p_value"], runs["difference"]
    return {
        "mean": shown["difference"].mean(),
        "ci_low": means["ci_low"].mean(),
        "ci_high": means["ci_high"].mean(),
        "low": difference.min(),
        "high": difference.max(),
        "p": p.max(),
        "corrected": corrected,
        "better": ((p < SIGNIFICANCE) & (difference > 0)).sum(),
        "worse": ((p < SIGNIFICANCE) & (difference < 0)).sum(),
        "runs": len(runs),
    }


def _clusters(table: pd.DataFrame, methods: list[str], settings: TabulateSettings) -> Iterator[Row]:
    """Yield the accuracy of every cluster of datasets that have too few for an interval."""
    rows = table[
        (table["split"] == settings.test_split)
        & (table["selection"] == "grid")
        & (table["ci_method"].eq(TOO_FEW) | table["run"].eq(ALL))
        & table["view"].str.contains("/")
    ]
    for (dataset, view), part in in_one_space(rows).groupby(["dataset", "view"], sort=True):
        n = of_runs(part)["n"].iloc[0]
        name = f"{dataset}: {str(view).split('/', 1)[1]} ({n} images)"
        for method in methods:
            if (part["method"] == method).any():
                yield [title(method), name], _ends(part, str(dataset), method)


def _choices(
    selection: pd.DataFrame, methods: list[str]
) -> Iterator[tuple[str, dict[tuple[str, str], dict[Any, Any]]]]:
    """Yield each method with, by dataset and way to choose alpha, means of what it gives, and the
    range of alpha over runs (NaN where it differs by dataset).
    """
    one = in_one_space(selection)
    columns = [*CHOSEN, *(f"{name}_ci_{end}" for name in CHOSEN for end in ("low", "high"))]
    for method in methods:
        found: dict[tuple[str, str], dict[Any, Any]] = {}
        mine = one[one["method"] == method]
        for (dataset, choice), rows in mine.groupby(["dataset", "selection"]):
            runs, means = of_runs(rows), of_models(rows)
            alphas = {"low": runs["alpha"].min(), "high": runs["alpha"].max()}
            shown = (means if len(means) else runs)[columns].mean()
            found[str(dataset), str(choice)] = {**shown.to_dict(), **alphas}
        if found:
            yield method, found


def _measured(effective: pd.DataFrame, methods: list[str]) -> pd.DataFrame:
    swept = effective["method"].isin(methods) & (effective["source"] == "measured")
    return in_one_space(effective[swept])


def _effective(
    effective: pd.DataFrame, methods: list[str]
) -> Iterator[tuple[list[str], dict[Any, Any]]]:
    """Yield, for each shift and method, by alpha: mean over runs or models and its interval (NaN
    of runs), whether extrapolated.
    """
    for dataset in effective["dataset"].unique():
        for method in methods:
            at = effective[(effective["dataset"] == dataset) & (effective["method"] == method)]
            if len(at):
                shown = of_models(at) if (at["run"] == ALL).any() else at
                columns = ["effective_robustness", "ci_low", "ci_high", "extrapolated"]
                yield (
                    [title(method), str(dataset).removeprefix(AVERAGE_PREFIX)],
                    dict(shown.groupby("alpha")[columns].mean().iterrows()),
                )
