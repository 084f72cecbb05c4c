"""The predictions file of one run and dataset, as its views see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from wiseft.base import metrics
from wiseft.errors import WiseftError

SAMPLE_COLUMNS = ["split", "sample_id", "base_id", "label"]
OTHER_LABELS = "other_labels"
BOOTSTRAPPED = (metrics.MACRO_F1, metrics.WORST_GROUP)
"""Metrics that are no share of independent samples: their intervals are the bootstrap's."""


@dataclass(frozen=True)
class ViewDefinition:
    """What a view's numbers are.

    Attributes:
        group: group metadata of `worst-group-accuracy`.
        ignore: groups that it leaves out.
        own_labels: whether labels are the dataset's; else the view has a column of its own.
    """

    metric: str
    group: str | None
    ignore: tuple[str, ...]
    own_labels: bool


class Place(NamedTuple):
    """Where a metric is measured."""

    dataset: str
    split: str
    view: str


class Point(NamedTuple):
    """One model of the sweep, or `PER_SAMPLE` several: all that a metric at a place depends on."""

    run: str
    seed: int
    combination: str
    alpha: str


PER_SAMPLE = "per-sample"
"""Stands for alpha where every sample has one of its own."""
WEIGHT, ENDS = "weight", ("0.000", "1.000")


@dataclass(frozen=True)
class Cell:
    """The samples that a view covers of one split, in the order of their ids, and predictions.

    Attributes:
        ignore: groups that the metric leaves out.
        sample_ids: text (n,).
        clusters: text (n,): what each sample was drawn with, base ids where nothing else is said.
        predictions: int32 (n,) for each point and, behind them, for each sweep of weights with
            both ends at `PER_SAMPLE` (`dawin`).
        certainty: for each point the mean entropy or confidence of the predictions.
    """

    metric: str
    ignore: tuple[str, ...]
    sample_ids: npt.NDArray[np.str_]
    truth: metrics.Truth
    clusters: npt.NDArray[np.str_]
    predictions: dict[Point, npt.NDArray[np.int32]]
    certainty: dict[Point, float] = field(default_factory=dict)

    def measure(self, point: Point) -> metrics.Outcome:
        """Return the metric at a point."""
        return metrics.measure(self.metric, self.predictions[point], self.truth, self.ignore)

    @property
    def exact(self) -> bool:
        """Whether the metric is a share of units that were drawn independently."""
        if self.metric in BOOTSTRAPPED:
            return False
        units = self.truth.base_ids if self.metric == metrics.ALL_FRAMES else self.sample_ids
        return len(np.unique(self.clusters)) == len(np.unique(units))

    def counted(self) -> Cell:
        """Return the cell without the samples of no group and of ignored groups."""
        if self.truth.groups is None:
            return self
        counts = metrics.group_places(self.truth.groups, self.ignore)[1] >= 0
        return replace(
            self,
            sample_ids=self.sample_ids[counts],
            truth=self.truth.take(counts),
            clusters=self.clusters[counts],
            predictions={point: values[counts] for point, values in self.predictions.items()},
        )


def read_predictions(
    path: Path,
    rows: pd.DataFrame,
    definitions: Mapping[str, ViewDefinition],
    clusters: str | None,
    certainty: str,
) -> dict[Place, Cell]:
    """Return the samples that the rows of a metrics file are about.

    Args:
        rows: in the columns of :class:`wiseft.tabulate.inputs.Inputs`.
        clusters: group metadata that says what was drawn together; None: the base ids.
        certainty: `entropy` or `confidence`, whose mean is returned.

    Raises:
        WiseftError: if the file is missing or broken, lacks a column that the rows name, has a
            sample twice, or if a view covers other samples at one alpha than at another.
    """
    views = {view: definitions[view] for view in sorted(rows["view"].unique())}
    cluster = "base_id" if clusters is None else f"group_{clusters}"
    table = _read(path, _needed(rows, views, cluster, certainty))
    cells = {}
    for key, here in rows.groupby(["dataset", "split", "view"], sort=False):
        place, points = Place(*map(str, key)), _points(here)
        part = table[table["split"] == place.split]
        cell = _cell(path, part, place.view, points, views[place.view], cluster)
        for point in points:  # outside of the view there is NaN
            cell.certainty[point] = float(part[_column(point, place.view, certainty)].mean())
        cells[place] = cell
    return cells


def dawin(
    predictions: Mapping[Point, npt.NDArray[np.int32]],
    entropies: Mapping[Point, npt.NDArray[np.float64]],
) -> dict[Point, npt.NDArray[np.int32]]:
    """Return what each sweep predicts where every sample has an alpha of its own.

    That is exp(-H_1) / (exp(-H_0) + exp(-H_1)), of the entropies at the two ends: the surer end
    counts for more (DaWin: Oh et al. 2024, section 3), here without a fitted temperature, offset
    or clusters. It is rounded to the sweep's grid, so that no sample needs another forward pass.

    Args:
        predictions: int32 (n,) for each point.
        entropies: in nats, (n,), for the ends of sweeps; one without both is left out.
    """
    mixed = {}
    for first in [point for point in entropies if point.alpha == ENDS[0]]:
        last = first._replace(alpha=ENDS[1])
        if last not in entropies:
            continue
        wanted = 1 / (1 + np.exp(entropies[last] - entropies[first]))
        grid = sorted(point for point in predictions if point[:3] == first[:3])
        alphas = np.array([float(point.alpha) for point in grid])
        place = np.abs(wanted[:, None] - alphas).argmin(axis=1)  # of two as near the smaller
        rows = np.stack([predictions[point] for point in grid])
        mixed[first._replace(alpha=PER_SAMPLE)] = rows[place, np.arange(len(place))]
    return mixed


def _points(rows: pd.DataFrame) -> list[Point]:
    """Return the point of each row of metrics."""
    return [Point(*each) for each in rows[list(Point._fields)].itertuples(index=False)]


def _is_end(point: Point) -> bool:
    return point.combination == WEIGHT and point.alpha in ENDS


def _column(point: Point, view: str, of: str = "prediction") -> str:
    return f"{point.combination}/{view}/{point.alpha}/{of}"


def _needed(
    rows: pd.DataFrame, views: Mapping[str, ViewDefinition], cluster: str, certainty: str
) -> list[str]:
    """Return the columns that rows of metrics are about, each once."""
    at = list(zip(_points(rows), rows["view"], strict=True))
    labels = {f"{view}/label" for view, each in views.items() if not each.own_labels}
    groups = {f"group_{each.group}" for each in views.values() if each.group is not None}
    predictions = {_column(point, view) for point, view in at}
    needed = [*SAMPLE_COLUMNS, *sorted(groups), *sorted(labels), *sorted(predictions), cluster]
    needed += [_column(point, view, certainty) for point, view in at]
    needed += [_column(point, view, "entropy") for point, view in at if _is_end(point)]
    return list(dict.fromkeys(needed))


def _read(path: Path, needed: list[str]) -> pd.DataFrame:
    """Return the needed columns, sorted by split and sample id."""
    try:
        names = pq.read_schema(path).names
        missing = [name for name in needed if name not in names]
        if missing:
            raise WiseftError(
                f"{path} lacks {missing[0]} ({len(missing)} missing columns), which the metrics "
                "beside it name"
            )
        more = [name for name in (OTHER_LABELS,) if name in names]
        frame = pq.read_table(path, columns=[*needed, *more]).to_pandas()
    except PermissionError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise WiseftError(f"{path} cannot be read ({error})") from None
    frame = frame.sort_values(["split", "sample_id"], kind="stable", ignore_index=True)
    double = frame.duplicated(["split", "sample_id"])
    if double.any():
        raise WiseftError(
            f"{path} has the sample {frame.loc[double, 'sample_id'].iloc[0]} twice in one split; "
            "sample ids must be unique"
        )
    return frame


def _cell(
    path: Path,
    part: pd.DataFrame,
    view: str,
    points: Sequence[Point],
    definition: ViewDefinition,
    cluster: str,
) -> Cell:
    predictions = {point: part[_column(point, view)].to_numpy(np.int32) for point in points}
    masks = [values != metrics.OUTSIDE for values in predictions.values()]
    if any(not np.array_equal(mask, masks[0]) for mask in masks) or not masks[0].any():
        raise WiseftError(
            f"{path}: view {view} covers no sample of a split, or not the same at every alpha"
        )
    inside: Any = part[masks[0]]
    groups = None
    if definition.group is not None:
        groups = np.array(inside[f"group_{definition.group}"].tolist(), dtype=object)
    truth = metrics.Truth(
        inside["label" if definition.own_labels else f"{view}/label"].to_numpy(np.int64),
        inside["base_id"].to_numpy(dtype=str),
        metrics.pairs_of(inside.get(OTHER_LABELS)),
        groups,
    )
    seen = {point: values[masks[0]] for point, values in predictions.items()}
    entropies = {
        point: inside[_column(point, view, "entropy")].to_numpy(float)
        for point in filter(_is_end, points)
    }
    return Cell(
        definition.metric,
        definition.ignore,
        inside["sample_id"].to_numpy(dtype=str),
        truth,
        inside[cluster].to_numpy(dtype=str),
        seen | dawin(seen, entropies),
    )
