"""The predictions file of one run and dataset, as its views see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from wiseft.errors import WiseftError
from wiseft.io import require_file
from wiseft.metrics import OUTSIDE, Truth, pairs_of

SAMPLE_COLUMNS = ["split", "sample_id", "base_id", "label"]
OTHER_LABELS = "other_labels"

Column = tuple[str, str]  # combination, alpha


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


@dataclass(frozen=True)
class Seen:
    """One split in one view: the samples that it covers, in the order of their ids.

    Attributes:
        sample_ids: text (n,).
        clusters: text (n,): what each sample was drawn with.
        predictions: int32 (n,) for each combination and alpha.
    """

    sample_ids: npt.NDArray[np.str_]
    truth: Truth
    clusters: npt.NDArray[np.str_]
    predictions: dict[Column, npt.NDArray[np.int32]]


def read_predictions(
    path: Path,
    rows: pd.DataFrame,
    definitions: Mapping[str, ViewDefinition],
    clusters: str | None = None,
) -> dict[tuple[str, str], Seen]:
    """Return what the metrics rows are about, by split and view.

    Args:
        clusters: group metadata that says what was drawn together; None: the base ids.

    Raises:
        WiseftError: if the file is missing or broken, lacks a column that the rows name, has a
            sample twice, or if a view covers other samples at one alpha than at another.
    """
    views = {view: definitions[view] for view in sorted(rows["view"].unique())}
    cluster = "base_id" if clusters is None else f"group_{clusters}"
    table = _read(path, list(dict.fromkeys([*_columns(rows, views), cluster])))
    found = {}
    for split, view in rows[["split", "view"]].drop_duplicates().itertuples(index=False):
        here = rows[(rows["split"] == split) & (rows["view"] == view)]
        names = {
            (row["combination"], row["alpha"]): _column_name(row, view)
            for row in here.to_dict("records")
        }
        part = table[table["split"] == split]
        found[str(split), str(view)] = _see(path, part, view, names, views[view], cluster)
    return found


def _column_name(row: Mapping[Any, Any], view: str) -> str:
    return f"{row['combination']}/{view}/{row['alpha']}/prediction"


def _columns(rows: pd.DataFrame, views: Mapping[str, ViewDefinition]) -> list[str]:
    predictions = {_column_name(row, row["view"]) for row in rows.to_dict("records")}
    labels = {f"{view}/label" for view, each in views.items() if not each.own_labels}
    groups = {f"group_{each.group}" for each in views.values() if each.group is not None}
    return [*SAMPLE_COLUMNS, *sorted(groups), *sorted(labels), *sorted(predictions)]


def _read(path: Path, needed: list[str]) -> pd.DataFrame:
    """Return the needed columns, sorted by split and sample id."""
    require_file(path, "predictions file")
    try:
        names = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        raise WiseftError(
            f"{path} cannot be read ({error}); delete it and run the stage evaluate again"
        ) from None
    missing = [name for name in needed if name not in names]
    if missing:
        raise WiseftError(
            f"{path} lacks {missing[0]} ({len(missing)} missing columns), which the metrics "
            "beside it name; run the stage evaluate again"
        )
    more = [name for name in (OTHER_LABELS,) if name in names]
    frame = pq.read_table(path, columns=[*needed, *more]).to_pandas()
    frame = frame.sort_values(["split", "sample_id"], kind="stable", ignore_index=True)
    double = frame.duplicated(["split", "sample_id"])
    if double.any():
        raise WiseftError(
            f"{path} has the sample {frame.loc[double, 'sample_id'].iloc[0]} twice in one split; "
            "sample ids must be unique"
        )
    return frame


def _see(
    path: Path,
    part: pd.DataFrame,
    view: str,
    names: Mapping[Column, str],
    definition: ViewDefinition,
    cluster: str,
) -> Seen:
    predictions = {column: part[name].to_numpy(np.int32) for column, name in names.items()}
    masks = [values != OUTSIDE for values in predictions.values()]
    if any(not np.array_equal(mask, masks[0]) for mask in masks) or not masks[0].any():
        raise WiseftError(
            f"{path}: view {view} covers no sample of a split, or not the same at every alpha; "
            "run the stage evaluate again"
        )
    labels = part["label" if definition.own_labels else f"{view}/label"].to_numpy(np.int64)
    others: Any = part[OTHER_LABELS] if OTHER_LABELS in part.columns else None
    groups = part[f"group_{definition.group}"] if definition.group is not None else None
    truth = Truth(
        labels,
        part["base_id"].to_numpy(dtype=str),
        pairs_of(others),
        None if groups is None else np.array(groups.tolist(), dtype=object),
    )
    return Seen(
        part["sample_id"].to_numpy(dtype=str)[masks[0]],
        truth.take(masks[0]),
        part[cluster].to_numpy(dtype=str)[masks[0]],
        {column: values[masks[0]] for column, values in predictions.items()},
    )
