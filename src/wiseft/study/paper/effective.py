"""Effective robustness of every point, as numbers (paper, section 2).

rho = accuracy under shift - beta(reference accuracy), where beta is the line through models that
saw the reference alone: those that the experiment trains from scratch (averages alone), or the
test bed's models of standard training (ImageNet's shifts). ImageNet-A's line has a knee at
ResNet-50: the piece counts in whose range a point lies, below both the lower one, between and
beyond them the upper one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from wiseft.base.names import BASELINE_METHOD
from wiseft.study.paper.published import CLASS_VIEWS, STANDARD, line_kinds, model_line
from wiseft.study.published.testbed import lines
from wiseft.tabulate.models import over_models
from wiseft.tabulate.robustness import BaselineFit, average_name, baseline_fit
from wiseft.tabulate.schema import EFFECTIVE, conform, frame_of
from wiseft.tabulate.settings import TabulateSettings

# Not `experiment`: a table may have a run's reference accuracy from another one than the rest.
_POINT = [
    *("source", "model", "reference", "method", "variant", "run", "seed"),
    *("combination", "alpha"),
]


Pieces = dict[str, BaselineFit]
"""A line, or its two pieces from left to right, by kind of line."""


def effective_rows(
    table: pd.DataFrame, settings: TabulateSettings, other_models: bool
) -> pd.DataFrame:
    """Return the effective robustness of every point of the grid, in the columns of `EFFECTIVE`,
    and its means over models, which have run `all`.

    A shift of ImageNet whose classes are a part of ImageNet's is seen over ImageNet's accuracy on
    these classes, where a run has it, and else over that on all of them (the paper's tables do not
    have it).

    Args:
        table: the tidy table; models of the test bed in it are rows too.
        settings: what the tables were made with.
        other_models: whether there are lines through the test bed's models.
    """
    grid = table[
        (table["selection"] == "grid")
        & (table["metric"] == "accuracy")
        & (table["split"] == settings.test_split)
    ]
    views = [settings.view_of(dataset) for dataset in grid["dataset"]]
    grid = grid[(grid["view"] == views) | (grid["dataset"] == settings.reference)]
    parts = list(_over_own_models(grid, settings))
    if other_models:
        known = set(lines()["dataset"])
        shifts = [name for name in grid["dataset"].unique() if name in known - {*settings.kept}]
        parts += [part for name in shifts for part in _over_other_models(grid, name)]
    parts = [part for part in parts if len(part)]
    if not parts:
        return frame_of([], EFFECTIVE)
    key = ["line", "dataset", *_POINT]
    points = pd.concat(parts).sort_values(key, kind="stable")
    points = points.assign(ci_low=np.nan, ci_high=np.nan, ci_method="", n=None)
    both = [conform(part[list(EFFECTIVE)], EFFECTIVE) for part in (points, _means(points))]
    return conform(pd.concat(both), EFFECTIVE)


def _means(points: pd.DataFrame) -> pd.DataFrame:
    """Return the means over models of points over a line, which is taken as given."""
    key = ["source", "experiment", "reference", "method", "variant", "combination", "alpha"]
    values = ["x", "y", "beta", "effective_robustness", "extrapolated"]
    means = over_models(points, [*key, "line", "dataset", "x_view"], values)
    means["extrapolated"] = np.ceil(means["extrapolated"])  # where any run is
    means.columns = means.columns.str.replace("effective_robustness_ci", "ci")
    return means.assign(seed=None)


def _over_own_models(grid: pd.DataFrame, settings: TabulateSettings) -> Iterator[pd.DataFrame]:
    """Yield the points over the lines through models that the experiment trained from scratch."""
    view = settings.view_of(settings.reference)
    for average in settings.averages:
        fit = baseline_fit(grid, average, settings.fit_exclude)
        if fit is not None:
            yield _over(grid, {BASELINE_METHOD: fit}, average_name(average), view)


def _over_other_models(grid: pd.DataFrame, dataset: str) -> Sequence[pd.DataFrame]:
    plain = _over_standard(grid, dataset, "all")
    if dataset not in CLASS_VIEWS:
        return [plain]
    classes = _over_standard(grid, dataset, CLASS_VIEWS[dataset])
    done = pd.MultiIndex.from_frame(classes[_POINT].astype(str))
    return [classes, plain[~pd.MultiIndex.from_frame(plain[_POINT].astype(str)).isin(done)]]


def _over_standard(grid: pd.DataFrame, dataset: str, x_view: str) -> pd.DataFrame:
    kinds = line_kinds(STANDARD, dataset, x_view) or [STANDARD]
    fits = {kind: model_line(grid, dataset, kind, x_view) for kind in kinds}
    return _over(grid, fits, dataset, x_view)


def _over(grid: pd.DataFrame, line: Pieces, dataset: str, x_view: str) -> pd.DataFrame:
    """Return the points of a dataset over a line, whose x axis is a view of the reference."""
    reference = (grid["dataset"] == grid["reference"]) & (grid["view"] == x_view)
    x = grid.loc[reference, [*_POINT, "value"]].drop_duplicates(_POINT)
    shift = grid.loc[grid["dataset"] == dataset, [*_POINT, "experiment", "dataset", "value"]]
    points = x.merge(shift, on=_POINT, suffixes=("_x", "_y"))
    points = points.rename(columns={"value_x": "x", "value_y": "y"}).assign(x_view=x_view)
    # The first piece from the left that reaches up to a reference accuracy, or the last one.
    ends = [fit.x_max for fit in line.values()][:-1]
    pieces = np.searchsorted(ends, points["x"])
    parts = []
    for piece, (kind, fit) in enumerate(line.items()):
        part = points[pieces == piece]
        beta = fit.predict(part["x"])
        parts.append(
            part.assign(
                line=kind,
                beta=beta,
                effective_robustness=part["y"] - beta,
                extrapolated=fit.extrapolated(part["x"]).astype(int),
            )
        )
    return pd.concat(parts)
