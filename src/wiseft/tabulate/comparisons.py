"""Paired comparisons of the fixed alpha with the two ends, and of weight with output space.

All models of a comparison saw the same samples, so its statistics are those of differences.
Intervals and p values are conditional on the trained models; seeds are shown as such and never
pooled into n: a summary over seeds is a mean with its smallest and largest value, and has no p;
one over models (pre-training seeds) has an interval over models and images; its n counts models.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from wiseft.base.alphas import format_alpha
from wiseft.base.metrics import ACCURACY
from wiseft.tabulate import schema
from wiseft.tabulate.intervals import TOO_FEW, Interval, bootstrap_p, holm, mcnemar_exact
from wiseft.tabulate.models import over_models
from wiseft.tabulate.predictions import ENDS, WEIGHT, Point
from wiseft.tabulate.selection import OUTPUT, sweeps
from wiseft.tabulate.study import Study

WEIGHT_VS_OUTPUT = "weight-vs-output"
MCNEMAR = "mcnemar-exact"


class Contrast(NamedTuple):
    """Two points whose metrics are subtracted: first minus second."""

    name: str
    first: Point
    second: Point


def contrasts(study: Study) -> Iterator[Contrast]:
    """Yield the contrasts of every swept run and seed in weight space."""
    fixed = format_alpha(study.settings.fixed_alpha)
    for run, seed, combination in sweeps(study):
        if combination != WEIGHT:
            continue
        first = Point(run, seed, WEIGHT, fixed)
        for end in ENDS:
            if end != fixed:
                yield Contrast(f"{fixed}-vs-{end}", first, first._replace(alpha=end))
        output = first._replace(combination=OUTPUT)
        if study.has(output, study.settings.reference):
            yield Contrast(WEIGHT_VS_OUTPUT, first, output)


def comparison_rows(study: Study) -> pd.DataFrame:
    """Return one row for each contrast and dataset or average, and the summaries over seeds.

    The p value of a dataset is McNemar's exact one, or the cluster bootstrap's where its own
    samples are not independent, or its metric is no accuracy; of too few clusters there is none.
    Holm's correction covers the shifts (all datasets but the reference and kept ones) of one run,
    seed and contrast; averages stand outside.
    """
    no_shifts = {study.settings.reference, *study.settings.kept}
    rows = []
    for contrast in contrasts(study):
        run, seed = contrast.first.run, str(contrast.first.seed)
        head = {"run": run, "seed": seed, "combination": WEIGHT, "contrast": contrast.name}
        rows += [study.runs[run] | head | row for row in _contrast_rows(study, contrast, no_shifts)]
    frame = pd.DataFrame(rows, columns=list(schema.COMPARISONS))
    seeds, models = summaries(frame)
    return _sort(schema.stacked([frame, seeds, models], schema.COMPARISONS))


def _contrast_rows(
    study: Study, contrast: Contrast, no_shifts: set[str]
) -> list[dict[str, object]]:
    rows = [
        _dataset_row(study, contrast, name)
        for name in study.places
        if study.has(contrast.first, name) and study.has(contrast.second, name)
    ]
    known = [row for row in rows if row["ci_method"] not in ("", TOO_FEW)]
    tested = [row for row in known if row["dataset"] not in no_shifts]
    adjusted = holm([row["p_value"] for row in tested])  # type: ignore[arg-type]
    for row, value in zip(tested, adjusted, strict=True):
        row["p_holm"] = float(value)
    return rows + [_average_row(study, contrast, name) for name in study.averages]


def _dataset_row(study: Study, contrast: Contrast, name: str) -> dict[str, object]:
    mine, place = study.primary[name], study.places[name]
    draws = study.draws(contrast.first, place) - study.draws(contrast.second, place)
    interval = study.interval(draws, place)
    row: dict[str, object] = {
        "dataset": name,
        "difference": study.value(contrast.first, name) - study.value(contrast.second, name),
        **_inference(interval, draws),
        "n": study.n_samples(name),
        "n_clusters": study.n_clusters(name),
    }
    if mine.correct is not None:
        first, second = (mine.correct[:, mine.column[point]] for point in contrast[1:])
        better, worse = int((first & ~second).sum()), int((~first & second).sum())
        row |= {"n_better": better, "n_worse": worse, "difference": (better - worse) / len(first)}
        if mine.metric == ACCURACY and mine.exact:
            row |= {"p_value": mcnemar_exact(better, worse), "test": MCNEMAR}
    return row


def _inference(interval: Interval, draws: npt.NDArray[np.float64]) -> dict[str, object]:
    """Return interval and p value of a difference; neither where too little is known."""
    none = interval.ci_method in ("", TOO_FEW)
    return {
        **interval._asdict(),
        "p_value": float("nan") if none else bootstrap_p(draws),
        "test": "" if none else interval.ci_method.removesuffix("-conditional"),
    }


def _average_row(study: Study, contrast: Contrast, name: str) -> dict[str, object]:
    members = study.averages[name]
    first, second = (dict.fromkeys(members, point) for point in contrast[1:])
    draws = study.average_draws(first) - study.average_draws(second)
    return {
        "dataset": schema.AVERAGE_PREFIX + name,
        "difference": study.average(first) - study.average(second),
        **_inference(study.average_interval(draws, name), draws),
        "n": study.n_samples(*members),
        "n_clusters": study.n_clusters(*members),
    }


def summaries(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the summary rows of all comparisons: over seeds, and over models.

    Rows with seed `all` give, per run, the mean over its seeds and their range (`low`, `high`).
    Rows with run `all` as well give, per method and entry of models, the mean over the models'
    means, their t interval and their range; they exist where there are two models or more.
    """
    shared = ["experiment", "method", "variant", "combination", "contrast", "dataset"]
    grouped = frame.groupby([*shared, "model", "run"], sort=True)["difference"]
    by_run = grouped.agg(difference="mean", low="min", high="max").reset_index()
    by_entry = over_models(frame, shared, ["difference"])
    by_entry.columns = by_entry.columns.str.removeprefix("difference_")
    return [
        part.assign(seed=schema.ALL).reindex(columns=list(schema.COMPARISONS))
        for part in (by_run, by_entry)
    ]


def _sort(frame: pd.DataFrame) -> pd.DataFrame:
    key = ["whole", "model", "method", "variant", "run", "seed", "contrast", "dataset"]

    def rank(column: pd.Series) -> pd.Series:
        # Summaries come after what they summarise, and seed 10 after seed 2.
        if column.name == "seed":
            return column.map(lambda text: (text == schema.ALL, len(text), text))
        return column

    ranked = frame.assign(whole=frame["run"] == schema.ALL)[key].apply(rank)
    order = np.asarray(ranked.sort_values(key, kind="stable").index)
    return frame.loc[order].reset_index(drop=True)
