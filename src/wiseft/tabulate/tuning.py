"""Methods that are one recipe at several settings: which are admissible, and what alpha gains.

A gain over a badly tuned end says little, and held-out images often cannot tell settings apart. So
all settings count whose fine-tuned end is not clearly worse than the best on held-out images, and
what is reported is a range over these. Beside it stands how far the curves differ at equal
accuracy on the reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from wiseft.base.alphas import format_alpha
from wiseft.errors import WiseftError
from wiseft.tabulate.inputs import read_inputs
from wiseft.tabulate.intervals import Interval
from wiseft.tabulate.models import (
    TOO_FEW_MODELS,
    of_models,
    of_runs,
    over_models,
    prediction_interval,
    without_seed,
)
from wiseft.tabulate.predictions import ENDS, WEIGHT
from wiseft.tabulate.robustness import average_name
from wiseft.tabulate.roles import by_role
from wiseft.tabulate.schema import ALL, TUNING, stacked
from wiseft.tabulate.settings import TabulateSettings, Tuning
from wiseft.tabulate.study import Study
from wiseft.tabulate.two_way import Images, Terms

HELD_OUT, TO_THE_BEST = "held-out", "to-the-best"
OVER_ZERO_SHOT, OVER_FINE_TUNED = "over-zero-shot", "over-fine-tuned"
EQUAL_REFERENCE, HIGHEST_REFERENCE = "equal-reference", "highest-equal-reference"
_ROW = ["id", "quantity", "dataset"]
_ROUNDING = 1e-12
Curve = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def tuning_table(
    tuning: Tuning,
    settings: TabulateSettings,
    table: pd.DataFrame,
    comparisons: pd.DataFrame,
    metrics: Sequence[Path],
    predictions: Sequence[Path],
) -> pd.DataFrame:
    """Return what is known of each setting, in the columns of `schema.TUNING`.

    Quantities, means over models: `held-out`, the accuracy of the fine-tuned end there;
    `to-the-best`, its difference to the best setting (`against`); `over-zero-shot` and
    `over-fine-tuned`, what the fixed alpha gains on the reference and on each average;
    `equal-reference`, by how much the curve of an average lies above that of the gentlest
    admissible setting (`against`) at equal accuracy on the reference, as a mean from `x_low` to
    `x_high`, and `highest-equal-reference` at `x_high`. `n` counts models; `new_low` and `new_high`
    are the prediction interval of one new pre-training.

    Args:
        table: the tidy table.
        comparisons: the paired comparisons.
        metrics: files of the held-out images' dataset, one a run and seed of the settings.
        predictions: the files beside them.

    Raises:
        WiseftError: if the tables or files lack a setting, or files are missing or damaged.
    """
    rows, _ = by_role(table, settings.test_split)
    held_out = _held_out(tuning, settings, metrics, predictions)
    admitted = held_out[held_out["quantity"] == TO_THE_BEST].set_index("id")["admissible"]
    gentlest = next(each for each in tuning.methods if admitted[each])
    parts = [
        held_out,
        _gains(settings, _of_settings(comparisons, tuning)),
        _curves(settings, _of_settings(rows, tuning), gentlest),
    ]
    found = pd.concat([part for part in parts if len(part)], ignore_index=True)
    ids = found["id"].str.partition("__")
    found = found.assign(
        experiment=str(table["experiment"].iloc[0]),
        method=ids[0],
        variant=ids[2],
        admissible=found["id"].map(admitted).astype(int),
    )
    order = found["id"].map(tuning.methods.index).to_numpy().argsort(kind="stable")
    return stacked([found.iloc[order].reindex(columns=list(TUNING))], TUNING)


def _of_settings(frame: pd.DataFrame, tuning: Tuning) -> pd.DataFrame:
    """Return the rows of the settings' weight spaces, with their method ids."""
    ids = frame["method"] + ("__" + frame["variant"]).where(frame["variant"] != "", "")
    found = frame.assign(id=ids)[ids.isin(tuning.methods) & (frame["combination"] == WEIGHT)]
    if missing := [each for each in tuning.methods if each not in set(found["id"])]:
        raise WiseftError(f"the tables lack {', '.join(missing)}, which tuning.methods lists")
    return found


def _held_out(
    tuning: Tuning, settings: TabulateSettings, metrics: Sequence[Path], predictions: Sequence[Path]
) -> pd.DataFrame:
    """Return the accuracy of each fine-tuned end on the held-out images and its difference to the
    best one, with `admissible`.
    """
    chosen = settings.held_out
    assert chosen is not None  # where a model is trained there is one
    ends = {"alphas": [1.0], "combinations": [WEIGHT], "averages": {}, "reference_split": None}
    there = {"test_split": chosen.split, "reference": chosen.dataset, "held_out": None}
    known = settings.model_copy(update=ends | there)
    study = Study("", known, read_inputs(metrics, predictions, known))
    points: dict[str, dict[str, list[Terms]]] = {}
    for point in study.points:
        run = study.runs[point.run]
        each = "__".join(filter(None, (run["method"], run["variant"])))
        points.setdefault(each, {}).setdefault(run["model"], []).append((point,))
    if missing := [each for each in tuning.methods if each not in points]:
        raise WiseftError(f"no metrics of {', '.join(missing)} were given, which tuning lists")
    images, name = Images(study), [chosen.dataset]
    best = max(tuning.methods, key=lambda each: images.values(name, points[each]).mean())
    rows: list[dict[str, object]] = []
    for each in tuning.methods:
        of, top = points[each], points[best]
        # All pairs of seeds: their mean is the difference of the means of both.
        pairs = {m: [a + b for a in of[m] for b in top[m]] for m in of if m in top}
        for quantity, at, against in ((HELD_OUT, of, ""), (TO_THE_BEST, pairs, best)):
            values = images.values(name, at)
            few = Interval(float("nan"), float("nan"), TOO_FEW_MODELS)
            ends_of = (images.interval(name, at) or few)._asdict()
            new = dict(zip(("new_low", "new_high"), prediction_interval(values), strict=True))
            about = {"id": each, "quantity": quantity, "dataset": chosen.dataset}
            about |= {"model": without_seed(next(iter(at))), "against": against}
            rows.append(about | ends_of | new | {"value": values.mean(), "n": len(values)})
    frame = pd.DataFrame(rows)
    as_good = (frame["value"] >= -tuning.within - _ROUNDING) | (frame["ci_high"] >= 0)
    return frame.assign(admissible=as_good)


def _gains(settings: TabulateSettings, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return what the fixed alpha gains over both ends, on the reference and on averages."""
    ends = dict(zip((OVER_ZERO_SHOT, OVER_FINE_TUNED), ENDS, strict=True))
    fixed = format_alpha(settings.fixed_alpha)
    names = {f"{fixed}-vs-{end}": quantity for quantity, end in ends.items()}
    datasets = [settings.reference, *map(average_name, settings.averages)]
    rows = comparisons[comparisons["dataset"].isin(datasets)]
    rows = rows.assign(quantity=rows["contrast"].map(names)).dropna(subset="quantity")
    rows = rows.rename(columns={"difference": "value"})
    return _with_new(of_models(rows), of_runs(rows[rows["seed"] == ALL]))


def _with_new(means: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """Return means over models with the prediction intervals of their values.

    Args:
        models: a row for each model.
    """
    each = {at: part["value"].to_numpy() for at, part in models.groupby(_ROW)}
    ends = [prediction_interval(each[tuple(at)]) for at in means[_ROW].to_numpy().tolist()]
    return means.assign(**dict(zip(("new_low", "new_high"), zip(*ends, strict=True), strict=True)))


def _curves(settings: TabulateSettings, rows: pd.DataFrame, gentlest: str) -> pd.DataFrame:
    """Return how far the curve of each average lies above the gentlest admissible setting's."""
    view = settings.view_of(settings.reference)
    at = (rows["selection"] == "grid") & (rows["split"] == settings.test_split)
    grid = of_runs(rows[at & (rows["view"] == view)])
    key = ["id", "model", "dataset"]
    values = grid.groupby([*key, "alpha"])["value"].mean()
    mean = {tuple(map(str, at)): of for at, of in values.groupby(key)}  # type: ignore[arg-type]
    found: list[dict[str, object]] = []
    for each, model, average in mean:
        is_average = average.removeprefix(average_name("")) in settings.averages
        if each == gentlest or not is_average or (gentlest, model, average) not in mean:
            continue
        curves = [
            rising(mean[one, model, settings.reference], mean[one, model, average])
            for one in (each, gentlest)
        ]
        row = {"id": each, "model": model, "dataset": average, "against": gentlest}
        found += [row | apart for apart in _differences(*curves)]
    if not found:
        return pd.DataFrame(found)
    frame = pd.DataFrame(found)
    means = over_models(frame, [*_ROW, "against"], ["value", "x_low", "x_high"])
    means = means.rename(columns={"value_ci_low": "ci_low", "value_ci_high": "ci_high"})
    return _with_new(means, frame)


def rising(x: pd.Series, y: pd.Series) -> Curve:
    """Return the points, alphas in order, whose x lies above all before: from zero-shot up to the
    maximum of x.
    """
    xs, ys = x.to_numpy(float), y.to_numpy(float)
    above = np.r_[True, xs[1:] > np.maximum.accumulate(xs)[:-1]]
    return xs[above], ys[above]


def _differences(first: Curve, second: Curve) -> Iterator[dict[str, object]]:
    """Yield the mean difference of two piecewise linear curves where both are, and that at the
    highest x of both; nothing where they do not overlap.
    """
    low, high = max(first[0][0], second[0][0]), min(first[0][-1], second[0][-1])
    if low >= high:
        return
    x = np.unique(np.clip(np.concatenate([first[0], second[0]]), low, high))
    apart = np.interp(x, *first) - np.interp(x, *second)
    mean = (np.diff(x) * (apart[1:] + apart[:-1]) / 2).sum() / (high - low)
    for quantity, value in ((EQUAL_REFERENCE, mean), (HIGHEST_REFERENCE, apart[-1])):
        yield {"quantity": quantity, "value": float(value), "x_low": low, "x_high": high}
