"""Methods that are one recipe at several settings: which are admissible, and what alpha gains.

A gain over a badly tuned end says little, and held-out images often cannot tell settings apart. So
all settings count whose fine-tuned end is not clearly worse than the best on held-out images, and
what is reported is a range over these. Beside it stands how far the curves differ at equal
accuracy on the reference. Quantities, all of them means over models:

- `held-out`: the accuracy of the fine-tuned end there; `to-the-best`: its difference to that of
  the best setting (`against`).
- `over-zero-shot`, `over-fine-tuned`: what the fixed alpha gains, as the comparisons have it.
- `equal-reference`: by how much the curve of an average lies above that of the gentlest admissible
  setting (`against`) at equal accuracy on the reference, as a mean from `x_low` to `x_high`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from wiseft.base.alphas import format_alpha
from wiseft.errors import WiseftError
from wiseft.tabulate.inputs import Inputs
from wiseft.tabulate.intervals import Interval
from wiseft.tabulate.models import TOO_FEW_MODELS, of_models, over_models, without_seed
from wiseft.tabulate.predictions import ENDS, WEIGHT, Point
from wiseft.tabulate.robustness import average_name
from wiseft.tabulate.schema import TUNING, conform, frame_of
from wiseft.tabulate.settings import Bootstrap, TabulateSettings
from wiseft.tabulate.study import Study
from wiseft.tabulate.two_way import Terms, over_models_and_images

HELD_OUT, TO_THE_BEST, EQUAL_REFERENCE = "held-out", "to-the-best", "equal-reference"
GAINS = ("over-zero-shot", "over-fine-tuned")
_NO_INTERVAL = Interval(float("nan"), float("nan"), TOO_FEW_MODELS)
_ROUNDING = 1e-12


def tuning_rows(
    grid: pd.DataFrame, comparisons: pd.DataFrame, settings: TabulateSettings, inputs: Inputs
) -> pd.DataFrame:
    """Return the quantities of each setting, in the columns of `schema.TUNING`; none without them.

    Args:
        grid: the tidy table's rows of single runs.
        comparisons: with means over models.
        inputs: with the held-out images.

    Raises:
        WiseftError: if no run of a setting was evaluated on the held-out images.
    """
    tuning = settings.tuning
    if tuning is None:
        return frame_of([], TUNING)
    held_out = _held_out(tuning.methods, settings, inputs)
    as_good = (held_out["value"] >= -tuning.within - _ROUNDING) | (held_out["ci_high"] >= 0)
    apart = held_out["quantity"] == TO_THE_BEST
    admitted = dict(zip(held_out["id"][apart], as_good[apart].astype(int), strict=True))
    gentlest = next(each for each in tuning.methods if admitted[each])
    rows = [held_out, _gains(comparisons, settings), _curves(grid, settings, gentlest)]
    found = pd.concat([part for part in rows if len(part)])
    found = found[found["id"].isin(tuning.methods)].assign(experiment=grid["experiment"].iloc[0])
    found[["method", "variant"]] = found["id"].str.partition("__")[[0, 2]]
    found["admissible"] = found["id"].map(admitted)
    order = found["id"].map(tuning.methods.index).to_numpy().argsort(kind="stable")
    return conform(found.iloc[order].reindex(columns=list(TUNING)), TUNING)


def _held_out(methods: Sequence[str], settings: TabulateSettings, inputs: Inputs) -> pd.DataFrame:
    """Return the accuracy of fine-tuned ends on held-out images, and differences to the best."""
    at = settings.held_out
    assert at is not None  # the settings' check
    there: dict[str, Any] = {"test_split": at.split, "reference": at.dataset}
    there |= {"bootstrap": Bootstrap(resamples=100), "averages": {}, "reference_split": None}
    here = {}
    for place, cell in inputs.cells.items():
        if place == settings.tuned_on:
            found = cell.predictions.items()
            tuned = {p: each for p, each in found if p[2:] == (WEIGHT, ENDS[1])}
            here[place] = replace(cell, predictions=tuned)
    study = Study("", settings.model_copy(update=there), Inputs(inputs.metrics, here))
    ends: dict[str, list[Point]] = {}
    for point in study.points:
        run = study.runs[point.run]
        ends.setdefault("__".join(filter(None, (run["method"], run["variant"]))), []).append(point)
    if missing := [each for each in methods if each not in ends]:
        raise WiseftError(f"tuning lists {', '.join(missing)}, of which no run was given")

    def row(each: str, quantity: str, terms: Sequence[Terms], against: str = "") -> dict[str, Any]:
        values, interval = over_models_and_images(study, [at.dataset], terms)
        model = without_seed(str(study.runs[terms[0][0].run]["model"]))
        about = {"id": each, "model": model, "quantity": quantity, "dataset": at.dataset}
        number = {"against": against, "value": values.mean(), "n": len(values)}
        return {**about, **number, **(interval or _NO_INTERVAL)._asdict()}

    rows = [row(each, HELD_OUT, [(point,) for point in ends[each]]) for each in methods]
    best = str(max(rows, key=lambda found: found["value"])["id"])
    for each in methods:
        # All pairs of a model's seeds: the mean over them is the difference of the means.
        both = itertools.product(ends[each], ends[best])
        model = {point.run: study.runs[point.run]["model"] for point in (*ends[each], *ends[best])}
        pairs = [(a, b) for a, b in both if model[a.run] == model[b.run]]
        rows.append(row(each, TO_THE_BEST, pairs, best))
    return pd.DataFrame(rows)


def _with_ids(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the ids of their methods."""
    return rows.assign(id=(rows["method"] + "__" + rows["variant"]).str.removesuffix("__"))


def _gains(comparisons: pd.DataFrame, settings: TabulateSettings) -> pd.DataFrame:
    """Return what the fixed alpha gains over both ends, on the reference and on averages."""
    fixed = format_alpha(settings.fixed_alpha)
    names = {f"{fixed}-vs-{end}": name for name, end in zip(GAINS, ENDS, strict=True)}
    datasets = [settings.reference, *map(average_name, settings.averages)]
    rows = _with_ids(of_models(comparisons[comparisons["dataset"].isin(datasets)]))
    rows = rows.assign(quantity=rows["contrast"].map(names))
    return rows.rename(columns={"difference": "value"}).dropna(subset="quantity")


def _curves(grid: pd.DataFrame, settings: TabulateSettings, gentlest: str) -> pd.DataFrame:
    """Return how far the curve of each average lies above the gentlest admissible setting's.

    A curve goes, along alpha, from zero-shot to its maximum on the reference; points that lie no
    higher there than one before are left out, and lines join the others.
    """
    reference, averages = settings.reference, [*map(average_name, settings.averages)]
    at = (grid["split"] == settings.test_split) & (grid["view"] == settings.view_of(reference))
    rows = _with_ids(grid[at & (grid["combination"] == WEIGHT)])
    values = rows.pivot_table("value", ["id", "model", "alpha"], "dataset")
    before = values.groupby(["id", "model"])[reference].transform(
        lambda x: x.cummax().shift(fill_value=-1)
    )
    curves = dict(iter(values[values[reference] > before].groupby(["id", "model"])))
    found = []
    for (each, model), mine in curves.items():
        both = [mine, curves.get((gentlest, model), mine)]
        ends = ((max, 0), (min, -1))
        low, high = (pick(of[reference].iloc[at] for of in both) for pick, at in ends)
        if each == gentlest or low >= high:
            continue
        x = np.unique(np.clip(np.concatenate([of[reference] for of in both]), low, high))
        for average in averages:
            first, second = (np.interp(x, of[reference], of[average]) for of in both)
            mean = np.trapezoid(first - second, x) / (high - low)
            row = {"id": each, "model": model, "dataset": average, "against": gentlest}
            found.append(row | {"value": mean, "x_low": low, "x_high": high})
    if not found:
        return pd.DataFrame()
    key = ["id", "dataset", "against"]
    means = over_models(pd.DataFrame(found), key, ["value", "x_low", "x_high"])
    names = {"value_ci_low": "ci_low", "value_ci_high": "ci_high"}
    return means.rename(columns=names).assign(quantity=EQUAL_REFERENCE)
