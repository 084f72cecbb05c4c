"""Effective robustness over a logit-logit fit of the baselines (paper, section 2).

beta(x) is the least-squares line through the baselines in logit space, mapped back;
effective robustness is rho = accuracy under shift - beta(reference accuracy). The line means
nothing outside the baselines' range, so whatever lies there is flagged as extrapolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import t as student_t

from wiseft.base.names import BASELINE_METHOD
from wiseft.tabulate.intervals import LEVEL
from wiseft.tabulate.schema import AVERAGE_PREFIX, FITS, frame_of

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BaselineFit:
    """logit(shift accuracy) = intercept + slope * logit(reference accuracy).

    `x_min` and `x_max` are the range of the baselines' reference accuracies, as fractions;
    `residual_se` (n - 2 degrees of freedom), `x_mean` and `x_ss` are in logits.
    """

    average: str
    slope: float
    intercept: float
    r2: float
    residual_se: float
    n: int
    x_min: float
    x_max: float
    x_mean: float
    x_ss: float

    def predict(self, acc_ref: npt.ArrayLike) -> Floats:
        """Return beta(acc_ref): the accuracy under shift that the baselines would have."""
        return np.asarray(expit(self.intercept + self.slope * _logit(acc_ref)))

    def band(self, acc_ref: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Return low and high ends, as accuracies, of the 95 % confidence band of the mean line."""
        x = _logit(acc_ref)
        leverage = 1 / self.n + (x - self.x_mean) ** 2 / self.x_ss
        quantile = float(student_t.ppf((1 + LEVEL) / 2, self.n - 2))
        half = quantile * self.residual_se * np.sqrt(leverage)
        centre = self.intercept + self.slope * x
        return np.asarray(expit(centre - half)), np.asarray(expit(centre + half))

    def extrapolated(self, acc_ref: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return where a reference accuracy lies outside the baselines' range."""
        x = np.asarray(acc_ref, dtype=float)
        return np.asarray((x < self.x_min) | (x > self.x_max))


def _logit(accuracy: npt.ArrayLike) -> Floats:
    return np.asarray(logit(np.asarray(accuracy, dtype=float)))


def average_name(average: str) -> str:
    """Return the dataset name of an average: `avg:natural` for `natural` and for itself."""
    return average if average.startswith(AVERAGE_PREFIX) else AVERAGE_PREFIX + average


def baseline_points(table: pd.DataFrame, average: str, exclude: Sequence[str] = ()) -> pd.DataFrame:
    """Return one row a baseline: `model, variant, x, y` (fractions; means over its seeds).

    Baselines are from-scratch models at alpha 1 on the test split, i.e. the split in which the
    table has averages. `exclude` holds method ids, e.g. `from-scratch__n5000-polarity`.
    """
    method_id = table["method"].where(
        table["variant"] == "", table["method"] + "__" + table["variant"]
    )
    rows = table[
        (table["method"] == BASELINE_METHOD)
        & (table["combination"] == "weight")
        & (table["alpha"] == 1.0)
        & (table["selection"] == "grid")
        & (table["metric"] == "accuracy")
        & ~method_id.isin(list(exclude))
    ]
    key = ["model", "variant", "run", "seed"]
    y = rows[rows["dataset"] == average_name(average)]
    x = rows[rows["dataset"] == rows["reference"]]
    on = [*key, "view", "split"]
    joined = x[[*on, "value"]].merge(y[[*on, "value"]], on=on, suffixes=("_x", "_y"))
    joined = joined.rename(columns={"value_x": "x", "value_y": "y"})
    return joined.groupby(["model", "variant"], as_index=False)[["x", "y"]].mean()


def baseline_fit(
    table: pd.DataFrame, average: str, exclude: Sequence[str] = ()
) -> BaselineFit | None:
    """Fit the baselines' line for one average of the tidy table, in logit space.

    A baseline with an accuracy of exactly 0 or 1 has no logit and is left out.

    Returns:
        The fit, or None where fewer than three baselines (or reference accuracies) are left.
    """
    return fit_points(average_name(average), baseline_points(table, average, exclude))


def fit_points(average: str, points: pd.DataFrame) -> BaselineFit | None:
    """Fit a line through models in logit space.

    A model with an accuracy of exactly 0 or 1 has no logit and is left out.

    Args:
        average: dataset name of what is on the y axis.
        points: columns `x` and `y` (fractions), one row a model.

    Returns:
        The fit, or None where fewer than three models (or reference accuracies) are left.
    """
    inside = points[["x", "y"]].gt(0).all(axis=1) & points[["x", "y"]].lt(1).all(axis=1)
    points = points[inside]
    if points["x"].nunique() < 3:
        return None
    x, y = _logit(points["x"]), _logit(points["y"])
    x_ss = float(((x - x.mean()) ** 2).sum())
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / x_ss)
    intercept = float(y.mean() - slope * x.mean())
    residual = float(((y - intercept - slope * x) ** 2).sum())
    total = float(((y - y.mean()) ** 2).sum())
    return BaselineFit(
        average=average,
        slope=slope,
        intercept=intercept,
        r2=1 - residual / total if total > 0 else 1.0,
        residual_se=float(np.sqrt(residual / (len(x) - 2))),
        n=len(x),
        x_min=float(points["x"].min()),
        x_max=float(points["x"].max()),
        x_mean=float(x.mean()),
        x_ss=x_ss,
    )


def fits_frame(
    table: pd.DataFrame, averages: Sequence[str], exclude: Sequence[str]
) -> pd.DataFrame:
    """Return the fits of all averages that have one, in the columns of `schema.FITS`."""
    shared = {name: str(table[name].iloc[0]) for name in ("experiment", "reference")}
    fits = [baseline_fit(table, average, exclude) for average in averages]
    return frame_of([shared | vars(fit) for fit in fits if fit is not None], FITS)
