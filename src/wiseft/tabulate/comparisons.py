"""Paired comparisons of the fixed alpha with the two ends, and of weight with output space.

All models of a comparison saw the same samples, so its statistics are those of differences.
Intervals and p values are conditional on the trained models; seeds are shown as such and never
pooled into n: a summary over seeds is a mean with its smallest and largest value, and has no p;
one over models (pre-training seeds) has their t interval too, and its n counts models.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from wiseft.base.alphas import format_alpha
from wiseft.base.metrics import ACCURACY
from wiseft.tabulate.inputs import Inputs
from wiseft.tabulate.intervals import CLUSTER_BOOTSTRAP, TOO_FEW, Interval
from wiseft.tabulate.models import over_models
from wiseft.tabulate.paired import bootstrap_p, holm, mcnemar_exact
from wiseft.tabulate.predictions import ENDS, WEIGHT, Point
from wiseft.tabulate.schema import ALL, AVERAGE_PREFIX, COMPARISONS, conform
from wiseft.tabulate.selection import OUTPUT, sweeps
from wiseft.tabulate.settings import TabulateSettings
from wiseft.tabulate.study import Study
from wiseft.tabulate.table import run_fields

WEIGHT_VS_OUTPUT = "weight-vs-output"
MCNEMAR = "mcnemar-exact"


class Contrast(NamedTuple):
    """Two points whose metrics are subtracted: first minus second."""

    name: str
    first: Point
    second: Point


def contrasts(study: Study, settings: TabulateSettings) -> Iterator[Contrast]:
    """Yield the contrasts of every swept run and seed in weight space."""
    fixed = format_alpha(settings.fixed_alpha)
    for run, seed, combination in sweeps(study, settings):
        if combination != WEIGHT:
            continue
        first = Point(run, seed, WEIGHT, fixed)
        for end in ENDS:
            if end != fixed:
                yield Contrast(f"{fixed}-vs-{end}", first, first._replace(alpha=end))
        output = first._replace(combination=OUTPUT)
        if study.has(output, settings.reference):
            yield Contrast(WEIGHT_VS_OUTPUT, first, output)


def comparison_rows(
    inputs: Inputs, study: Study, settings: TabulateSettings, experiment: str
) -> pd.DataFrame:
    """Return one row for each contrast and dataset or average, and the summaries over seeds.

    The p value of a dataset is McNemar's exact one, or the cluster bootstrap's where its own
    samples are not independent, or its metric is no accuracy; of too few clusters there is none.
    Holm's correction covers the shifts (all datasets but the reference and kept ones) of one run,
    seed and contrast; averages stand outside.
    """
    fields = run_fields(inputs, experiment)
    rows = []
    for contrast in contrasts(study, settings):
        run, seed = contrast.first.run, str(contrast.first.seed)
        head = {"run": run, "seed": seed, "combination": WEIGHT, "contrast": contrast.name}
        rows += [
            fields[run] | head | row
            for row in _contrast_rows(study, contrast, {settings.reference, *settings.kept})
        ]
    frame = pd.DataFrame(rows, columns=list(COMPARISONS))
    parts = [frame, *summaries(frame)]
    whole = conform(pd.concat([conform(part, COMPARISONS) for part in parts]), COMPARISONS)
    return _sort(whole)


def _contrast_rows(
    study: Study, contrast: Contrast, no_shifts: set[str]
) -> list[dict[str, object]]:
    rows = [
        _dataset_row(study, contrast, name)
        for name in study.datasets
        if study.has(contrast.first, name) and study.has(contrast.second, name)
    ]
    tested = [r for r in rows if r["dataset"] not in no_shifts and r["ci_method"] != TOO_FEW]
    adjusted = holm([row["p_value"] for row in tested])  # type: ignore[arg-type]
    for row, value in zip(tested, adjusted, strict=True):
        row["p_holm"] = float(value)
    return rows + [_average_row(study, contrast, name) for name in study.averages]


def _dataset_row(study: Study, contrast: Contrast, name: str) -> dict[str, object]:
    draws = study.draws(contrast.first, name) - study.draws(contrast.second, name)
    interval = study.primary_interval(draws, name)
    row: dict[str, object] = {
        "dataset": name,
        "difference": study.value(contrast.first, name) - study.value(contrast.second, name),
        **_inference(interval, draws),
        "n": study.n_samples(name),
        "n_clusters": study.n_clusters(name),
    }
    first, second = (study.correct(point, name) for point in contrast[1:])
    if first is not None and second is not None:
        better, worse = int((first & ~second).sum()), int((~first & second).sum())
        row |= {"n_better": better, "n_worse": worse, "difference": (better - worse) / len(first)}
        if study.metric(name) == ACCURACY and study.exact(name):
            row |= {"p_value": mcnemar_exact(better, worse), "test": MCNEMAR}
    return row


def _inference(interval: Interval, draws: npt.NDArray[np.float64]) -> dict[str, object]:
    """Return interval and p value of a difference; neither where there are too few clusters."""
    none = interval.method == TOO_FEW
    return {
        "ci_low": interval.low,
        "ci_high": interval.high,
        "ci_method": interval.method,
        "p_value": float("nan") if none else bootstrap_p(draws),
        "test": "" if none else CLUSTER_BOOTSTRAP,
    }


def _average_row(study: Study, contrast: Contrast, name: str) -> dict[str, object]:
    first, second = contrast.first, contrast.second
    draws = study.average_draws(first, name) - study.average_draws(second, name)
    members = study.averages[name]
    return {
        "dataset": AVERAGE_PREFIX + name,
        "difference": study.average(first, name) - study.average(second, name),
        **_inference(study.average_interval(draws, name), draws),
        "n": study.n_samples(*members),
        "n_clusters": study.n_clusters(*members),
    }


def summaries(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the summary rows of all comparisons.

    Rows with seed `all` give, per run, the mean over its seeds and their range (`low`, `high`).
    Rows with run `all` as well give, per method and entry of models, the mean over the models'
    means, their t interval and their range; they exist where there are two models or more.
    """
    shared = ["experiment", "method", "variant", "combination", "contrast", "dataset"]
    grouped = frame.groupby([*shared, "model", "run"], sort=True)["difference"]
    by_run = grouped.agg(difference="mean", low="min", high="max").reset_index()
    by_entry = over_models(frame, shared, ["difference"])
    by_entry.columns = by_entry.columns.str.removeprefix("difference_")
    return [part.assign(seed=ALL).reindex(columns=list(COMPARISONS)) for part in (by_run, by_entry)]


def _sort(frame: pd.DataFrame) -> pd.DataFrame:
    key = ["whole", "model", "method", "variant", "run", "seed", "contrast", "dataset"]

    def rank(column: pd.Series) -> pd.Series:
        # Summaries come after what they summarise, and seed 10 after seed 2.
        if column.name == "seed":
            return column.map(lambda text: (text == ALL, len(text), text))
        return column

    ranked = frame.assign(whole=frame["run"] == ALL)[key].apply(rank)
    order = np.asarray(ranked.sort_values(key, kind="stable").index)
    return frame.loc[order].reset_index(drop=True)
