"""What a sample of pre-trainings says: means over models that differ by their pre-training seed.

Here the pre-training seed is the unit of inference: a model counts once, as the mean of its
fine-tuning seeds, and the interval is Student's t over the models. It says how far a mean would
move with other pre-trainings by the same recipe, on the same test images; `wiseft.tabulate.two_way`
counts the images, too. The intervals of single runs are conditional on the trained models. Models
of different entries are no sample of anything and stay apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import t as student_t

from wiseft.base.typed import SEED_SUFFIX_PATTERN
from wiseft.tabulate.intervals import LEVEL
from wiseft.tabulate.schema import ALL, TABLE, conform

RUN = ["model", "variant", "run", "seed"]
VALUES = ["value", "ci_low", "ci_high"]

T_OVER_MODELS = "t-over-models"
TOO_FEW_MODELS = "too-few-models"
"""There is no interval: two models hardly say how much models vary."""
FEWEST_MODELS = 3


def without_seed(model: str) -> str:
    """Return a model's entry: its name without the pre-training seed."""
    return re.sub(SEED_SUFFIX_PATTERN, "", model)


def of_runs(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of single runs."""
    return table[table["run"] != ALL]


def of_models(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are means over models."""
    return table[table["run"] == ALL]


def over_models(runs: pd.DataFrame, key: Sequence[str], quantities: Sequence[str]) -> pd.DataFrame:
    """Return a row for each entry and key of which there are two models or more.

    Args:
        runs: rows of single runs, with `model` and `seed`.
        key: columns, never null, that tell apart what must not be averaged.
        quantities: columns that are averaged.

    Returns:
        The key; `model` (the entry), `run` (`all`), `n` (of models), `ci_method`; of each quantity
        the mean, `_ci_low` and `_ci_high`, the ends of the 95 % t interval (null of fewer than
        three models), and `_low` and `_high`, the range of the models' means.
    """
    columns, by = list(quantities), [*key, "entry"]
    named = runs.assign(entry=[without_seed(model) for model in runs["model"]])
    models = named.groupby([*by, "model"])[columns].mean().groupby(by)
    n, mean, error = models.size(), models.mean(), models.sem()
    enough = n >= FEWEST_MODELS
    # Scaled by hand: scipy has no interval of models that all agree.
    low, high = student_t.interval(LEVEL, np.where(enough, n - 1, np.nan))
    parts = {
        "": mean,
        "_ci_low": mean + error.mul(low, axis=0),
        "_ci_high": mean + error.mul(high, axis=0),
        "_low": models.min(),
        "_high": models.max(),
    }
    found = pd.concat([part.add_suffix(name) for name, part in parts.items()], axis=1)
    found = found.assign(n=n, ci_method=np.where(enough, T_OVER_MODELS, TOO_FEW_MODELS), run=ALL)
    return found[n > 1].reset_index().rename(columns={"entry": "model"})


def prediction_interval(
    values: npt.ArrayLike, level: float = LEVEL, new: int = 1
) -> tuple[float, float]:
    """Return where the value of one new pre-training on the same images is expected.

    It is mean +- t s sqrt(1 + 1/n), with n - 1 degrees of freedom, for a new value from the
    distribution of the others, taken as normal (Hahn and Meeker 1991, Statistical Intervals,
    chapter 4). For the mean of several new ones it is mean +- t s sqrt(1/new + 1/n).

    Args:
        values: of shape (models,), each the mean of its fine-tuning seeds.
        level: the probability that the interval holds the new value.
        new: number of new pre-trainings whose mean is expected there.

    Returns:
        Both ends; NaN for fewer than three models.
    """
    each = np.asarray(values, dtype=float)
    n = len(each)
    if n < FEWEST_MODELS:
        return float("nan"), float("nan")
    half = student_t.ppf((1 + level) / 2, n - 1) * each.std(ddof=1) * np.sqrt(1 / new + 1 / n)
    return float(each.mean() - half), float(each.mean() + half)


def model_rows(grid: pd.DataFrame) -> pd.DataFrame:
    """Return rows of the tidy table that are means over models, whose `n` counts models.

    Args:
        grid: the table's rows of selection `grid`.
    """
    key = ["source", "experiment", "reference", "method", "variant", "combination", "alpha"]
    key += ["dataset", "view", "split", "metric", "selection"]
    found = over_models(grid, key, ["value"])
    found = found.rename(columns={"value_ci_low": "ci_low", "value_ci_high": "ci_high"})
    return conform(found.reindex(columns=list(TABLE)), TABLE)


def mean_over_runs(points: pd.DataFrame) -> pd.DataFrame:
    """Return one row an alpha: the means over the runs of all value and interval columns."""
    numbers = [name for name in points.columns if name.startswith(tuple(VALUES))]
    return points.groupby("alpha", as_index=False)[numbers].mean()


def each_run(points: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows of each run, in a fixed order."""
    return [part for _, part in points.groupby(RUN, sort=True, dropna=False)]
