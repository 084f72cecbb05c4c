"""A synthetic tidy table with the columns, shapes and rough sizes of the experiment `digits`.

Every number here is invented by a formula; nothing was measured.
"""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta

from wiseft.study.paper.effective import effective_rows
from wiseft.study.paper.summary import Tables
from wiseft.tabulate.comparisons import summaries
from wiseft.tabulate.models import model_rows, of_runs
from wiseft.tabulate.robustness import fits_frame
from wiseft.tabulate.schema import COMPARISONS, TABLE, conform
from wiseft.tabulate.settings import TabulateSettings
from wiseft.tabulate.stage import selection_frame

ALPHAS = np.round(np.arange(0, 1.01, 0.1), 3)
NATURAL = ["optdigits", "mfeat", "pendigits"]
RENDITIONS = ["inverted", "mnist-m", "colour", "corrupt", "fonts"]
AVERAGES = {"shifts": NATURAL + RENDITIONS, "natural": NATURAL, "renditions": RENDITIONS}
# Per dataset: accuracy at alpha 0, gain of the end-to-end and of the linear classifier's end,
# height of the bow between the ends, sample count.
SHAPES = {
    "mnist": (0.917, 0.068, 0.043, 0.035, 10_000),
    "optdigits": (0.883, -0.049, -0.02, 0.02, 1_797),
    "mfeat": (0.915, -0.133, -0.03, 0.01, 2_000),
    "pendigits": (0.710, -0.071, 0.005, 0.03, 2_000),
    "inverted": (0.913, 0.011, 0.01, 0.05, 2_000),
    "mnist-m": (0.771, 0.009, 0.005, 0.06, 2_000),
    "colour": (0.903, -0.118, -0.02, 0.09, 2_000),
    "corrupt": (0.672, 0.060, 0.03, 0.07, 2_000),
    "fonts": (0.945, -0.168, -0.05, 0.06, 960),
}
SIZES = {60: 0.62, 250: 0.80, 500: 0.907, 1000: 0.942, 2500: 0.966, 5000: 0.977}
GROUPS = {"natural": NATURAL, "rendition": RENDITIONS}
POLARITY = "from-scratch__n5000-polarity"


@functools.cache
def _interval(correct: int, n: int) -> tuple[float, float]:
    low = beta.ppf(0.025, correct, n - correct + 1) if correct else 0.0
    high = beta.ppf(0.975, correct + 1, n - correct) if correct < n else 1.0
    return float(low), float(high)


def _rows(head: dict[str, object], accuracy: dict[str, float]) -> list[dict[str, object]]:
    """Return the rows of one model: every dataset, mnist's held-out split and the averages."""
    rows = []
    for dataset, value in [*accuracy.items(), ("mnist", accuracy["mnist"] - 0.002)]:
        n = SHAPES[dataset][4]
        held_out = len(rows) == len(accuracy)
        correct = round(value * n)
        low, high = _interval(correct, n)
        rows.append(
            {
                "dataset": dataset,
                "split": "held-out" if held_out else "test",
                "value": correct / n,
                "n": n,
                "n_correct": correct,
                "ci_low": low,
                "ci_high": high,
                "ci_method": "clopper-pearson",
            }
        )
    values = {row["dataset"]: row["value"] for row in rows if row["split"] == "test"}
    for name, members in AVERAGES.items():
        mean = float(np.mean([values[member] for member in members]))
        rows.append(
            {
                "dataset": f"avg:{name}",
                "split": "test",
                "value": mean,
                "n": None,
                "n_correct": None,
                "ci_low": mean - 0.009,
                "ci_high": mean + 0.009,
                "ci_method": "cluster-bootstrap",
            }
        )
    return [head | row for row in rows]


HOT = "digits-lr-6e-3"
PRETRAINED = tuple(f"digits-rn-s{seed}" for seed in range(20, 25))


def make_table(
    seeds: tuple[int, ...] = (0, 1, 2),
    baselines: bool = True,
    models: tuple[str, ...] = ("digits-rn-s10",),
    hot: tuple[int, ...] = (),
) -> pd.DataFrame:
    """Return a synthetic table: two methods, output space, and from-scratch baselines.

    Args:
        seeds: of fine-tuning.
        baselines: whether there are models from scratch.
        models: of which the means are rows too, where there are two or more.
        hot: seeds of a second variant of end-to-end, whose end forgets more.
    """
    shared = {
        "source": "measured",
        "experiment": "synthetic",
        "reference": "mnist",
        "view": "all",
        "metric": "accuracy",
        "selection": "grid",
    }
    rows: list[dict[str, object]] = []
    lines = [("end-to-end", "digits", 1, seeds), ("linear-classifier", "digits", 2, seeds)]
    lines.append(("end-to-end", HOT, 1, hot))
    each = [(model, *line[:3], seed) for model in models for line in lines for seed in line[3]]
    for model, method, variant, column, seed in each:
        for combination in ("weight", "output")[: 2 if column == 1 else 1]:
            head = shared | {
                "model": model,
                "method": method,
                "variant": variant,
                "run": f"{model}__mnist__{method}__{variant}",
                "seed": seed,
                "combination": combination,
            }
            for alpha in map(float, ALPHAS):
                # Pre-trainings differ at both ends, and a hot rate forgets another five points.
                at = models.index(model)
                moved = 0.006 * at * (1 - alpha) + 0.01 * (at % 2) * alpha
                moved -= 0.05 * (variant == HOT) * alpha
                accuracy = {
                    name: _synthetic(shape, column, alpha, combination, seed)
                    + (moved if name != "mnist" else moved / 10)
                    for name, shape in SHAPES.items()
                }
                rows += _rows(head | {"alpha": alpha}, accuracy)
    if baselines:
        rows += _baseline_rows(shared)
    table = conform(pd.DataFrame(rows, columns=list(TABLE)), TABLE)
    return conform(pd.concat([table, model_rows(table)]), TABLE) if len(models) > 1 else table


def _synthetic(
    shape: tuple[float, ...], column: int, alpha: float, combination: str, seed: int
) -> float:
    start, bow = shape[0], shape[3] * (1 if column == 1 else 0.3)
    bow *= 1 if combination == "weight" else 0.75
    wobble = 0.004 * alpha * (seed - 1)
    return start + alpha * shape[column] + 4 * bow * alpha * (1 - alpha) + wobble


def _baseline_rows(shared: dict[str, object]) -> list[dict[str, object]]:
    rows = []
    for index, (size, reference) in enumerate(SIZES.items()):
        for suffix, gain in (("", 0.0), ("-polarity", 0.12))[: 2 if size == 5000 else 1]:
            variant = f"n{size}{suffix}"
            head = shared | {
                "model": "digits-rn",
                "method": "from-scratch",
                "variant": variant,
                "run": f"digits-rn__mnist__from-scratch__{variant}",
                "seed": 0,
                "combination": "weight",
                "alpha": 1.0,
            }
            shifts = 0.14 + 0.045 * index + 0.02 * (-1) ** index + gain
            accuracy = dict.fromkeys(SHAPES, shifts) | {"mnist": reference}
            rows += _rows(head, accuracy)
    return rows


SETTINGS = {
    "averages": AVERAGES,
    "held_out": {"dataset": "mnist", "split": "held-out"},
    "test_split": "test",
    "reference": "mnist",
    "bootstrap": {"resamples": 200, "seed": 0},
    "fit_exclude": [POLARITY],
}


def make_comparisons(table: pd.DataFrame) -> pd.DataFrame:
    """Return comparisons whose differences are the table's; intervals and p are invented."""
    grid = of_runs(table[(table["split"] == "test") & (table["method"] != "from-scratch")])
    key = ["experiment", "model", "run", "method", "variant", "seed", "dataset"]
    weight = grid[grid["combination"] == "weight"].set_index(["alpha", *key])["value"]
    output = grid[grid["combination"] == "output"].set_index(["alpha", *key])["value"]
    pairs = {
        "0.500-vs-0.000": weight[0.5] - weight[0.0],
        "0.500-vs-1.000": weight[0.5] - weight[1.0],
        "weight-vs-output": (weight[0.5] - output[0.5]).dropna(),
    }
    parts = [d.rename("difference").reset_index().assign(contrast=c) for c, d in pairs.items()]
    frame = pd.concat(parts).assign(combination="weight", ci_method="cluster-bootstrap")
    frame["ci_low"], frame["ci_high"] = frame["difference"] - 0.01, frame["difference"] + 0.01
    frame["p_value"] = np.where(frame["difference"].abs() > 0.01, 0.0004, 0.4)
    shift = frame["dataset"].isin(AVERAGES["shifts"])
    frame["p_holm"] = np.where(shift, (8 * frame["p_value"]).clip(upper=1), np.nan)
    frame = frame.reindex(columns=list(COMPARISONS)).astype({"seed": str})
    both = [conform(part, COMPARISONS) for part in (frame, *summaries(frame))]
    return conform(pd.concat(both), COMPARISONS)


def make_tables(table: pd.DataFrame) -> Tables:
    """Return all tables of one synthetic experiment."""
    settings = TabulateSettings.model_validate(SETTINGS)
    test = of_runs(table[(table["split"] == "test") & (table["method"] != "from-scratch")])
    best = test.groupby(["run", "seed", "combination", "dataset"])["value"].idxmax()
    selected = pd.concat(
        [
            test[test["alpha"] == 0.5].assign(selection="fixed"),
            test[test["alpha"] == 0.7].assign(selection="held-out"),
            test.loc[best].assign(selection="oracle-column"),
        ]
    )
    return Tables(
        table,
        make_comparisons(table),
        selection_frame(pd.concat([table, selected]), settings),
        fits_frame(table, list(AVERAGES), [POLARITY]),
        effective_rows(of_runs(table), settings, other_models=False),
    )


@pytest.fixture(scope="session")
def table() -> pd.DataFrame:
    """Return the synthetic table with three seeds."""
    return make_table()


@pytest.fixture(scope="session")
def several() -> pd.DataFrame:
    """Return one with five pre-training seeds, of a third method one fine-tuning seed alone."""
    return make_table(models=PRETRAINED, hot=(0,))


@pytest.fixture(scope="session")
def tables(table: pd.DataFrame) -> Tables:
    """Return all synthetic tables."""
    return make_tables(table)
