"""Metrics and predictions of all runs, read together and held against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from wiseft.alphas import format_alpha
from wiseft.errors import WiseftError
from wiseft.io import read_json, require_file
from wiseft.tabulate.settings import TabulateSettings

RUN_FIELDS = ("model", "reference", "method", "variant", "run", "seed")
ROW_FIELDS = ("split", "view", "combination", "alpha", "metric", "value", "n", "n_correct")
METRICS_FORMAT = 1
ACCURACY = "accuracy"
OUTSIDE = -1  # the prediction for a sample that a view does not cover

Column = tuple[str, str]  # combination, alpha
RunSeed = tuple[str, int]


@dataclass(frozen=True)
class Samples:
    """The samples of one dataset's test split, in the order of all its predictions."""

    sample_ids: npt.NDArray[np.str_]
    base_ids: npt.NDArray[np.str_]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Inputs:
    """All that the tables are made from.

    Attributes:
        metrics: one row a metrics row; RUN_FIELDS, `dataset` and ROW_FIELDS (alpha as text).
        samples: per dataset the samples of its test split.
        correct: per run and seed, dataset and (combination, alpha) whether each prediction of
            the test split, in the chosen view, is right; shape (samples,).
    """

    metrics: pd.DataFrame
    samples: dict[str, Samples]
    correct: dict[RunSeed, dict[str, dict[Column, npt.NDArray[np.bool_]]]]


def read_inputs(
    metrics: Sequence[Path], predictions: Sequence[Path], settings: TabulateSettings
) -> Inputs:
    """Read and check metrics and predictions; a metrics file's predictions lie beside it.

    Rows of alphas outside the experiment's grid are left out.

    Raises:
        WiseftError: if a file is missing, broken or given twice; a metrics file has no
            predictions beside it or the other way round; two metrics files cover the same run,
            seed and dataset; a count differs from the one recomputed from the predictions; two
            runs saw other samples of a dataset.
    """
    beside = _pair(metrics, predictions)
    frames: list[pd.DataFrame] = []
    samples: dict[str, Samples] = {}
    correct: dict[RunSeed, dict[str, dict[Column, npt.NDArray[np.bool_]]]] = {}
    covered: set[tuple[str, int, str]] = set()
    for path in sorted(beside):
        head, rows = _read_metrics(path)
        if settings.grid is not None:
            rows = rows[rows["alpha"].isin(settings.grid)]
        frames.append(rows)
        dataset, owner = head["dataset"], (head["run"], head["seed"])
        if (*owner, dataset) in covered:
            raise WiseftError(
                f"{path} covers run {owner[0]}, seed {owner[1]}, dataset {dataset}, as another "
                "metrics file does; give one metrics file for each"
            )
        covered.add((*owner, dataset))
        table = _read_predictions(beside[path], rows)
        _check_counts(path, beside[path], rows, table)
        found, right = _test_predictions(table, settings.test_split, settings.view)
        if len(found.labels) == 0:  # a dataset that only serves to choose alpha
            continue
        _check_same_samples(beside[path], dataset, samples.setdefault(dataset, found), found)
        correct.setdefault(owner, {})[dataset] = right
    return Inputs(pd.concat(frames, ignore_index=True), samples, correct)


def _pair(metrics: Sequence[Path], predictions: Sequence[Path]) -> dict[Path, Path]:
    """Return the predictions file of each metrics file."""
    if not metrics:
        raise WiseftError("no metrics file was given; give those of at least one run")
    folders = {path.parent: path for path in predictions}
    for paths, what in ((metrics, "metrics"), (predictions, "predictions")):
        if len({path.parent for path in paths}) < len(paths):
            raise WiseftError(f"two {what} files of the same folder were given; give one a folder")
    for path in metrics:
        if path.parent not in folders:
            raise WiseftError(
                f"no predictions were given for {path}; give the predictions.parquet beside it"
            )
    for path in predictions:
        if path.parent not in {other.parent for other in metrics}:
            raise WiseftError(f"no metrics were given for {path}; give the metrics.json beside it")
    return {path: folders[path.parent] for path in metrics}


def _read_metrics(path: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    content = read_json(path, "metrics file")
    advice = "run the stage evaluate again"
    if not isinstance(content, dict) or content.get("format") != METRICS_FORMAT:
        raise WiseftError(f"{path} is not a metrics file of format {METRICS_FORMAT}; {advice}")
    missing = [name for name in ("dataset", *RUN_FIELDS, "rows") if name not in content]
    if missing:
        raise WiseftError(f"{path} lacks {', '.join(missing)}; {advice}")
    rows = content["rows"]
    if not rows:
        raise WiseftError(f"{path} has no rows; {advice}")
    lacking = sorted({name for row in rows for name in ROW_FIELDS if name not in row})
    if lacking:
        raise WiseftError(f"rows of {path} lack {', '.join(lacking)}; {advice}")
    head = {name: content[name] for name in ("dataset", *RUN_FIELDS)}
    head["variant"] = head["variant"] or ""
    head["seed"] = int(head["seed"])
    frame = pd.DataFrame([{name: row[name] for name in ROW_FIELDS} for row in rows])
    frame["alpha"] = [format_alpha(alpha) for alpha in frame["alpha"]]
    key = ["split", "view", "combination", "alpha", "metric"]
    if frame.duplicated(key).any():
        double = frame.loc[frame.duplicated(key), key].iloc[0]
        raise WiseftError(f"{path} has two rows for {', '.join(double)}; {advice}")
    for place, (name, value) in enumerate(head.items()):
        frame.insert(place, name, value)
    return head, frame


def _column_name(combination: str, view: str, alpha: str) -> str:
    return f"{combination}/{view}/{alpha}/prediction"


def _read_predictions(path: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Read ids, labels and the predicted classes, sorted by split and sample id."""
    require_file(path, "predictions file")
    try:
        names = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        raise WiseftError(
            f"{path} cannot be read ({error}); delete it and run the stage evaluate again"
        ) from None
    named = {
        _column_name(*row)
        for row in zip(rows["combination"], rows["view"], rows["alpha"], strict=True)
    }
    needed = ["split", "sample_id", "base_id", "label", *sorted(named)]
    missing = [name for name in needed if name not in names]
    if missing:
        raise WiseftError(
            f"{path} lacks {missing[0]} ({len(missing)} missing columns), which the metrics "
            "beside it name; run the stage evaluate again"
        )
    frame = pq.read_table(path, columns=needed).to_pandas()
    frame = frame.sort_values(["split", "sample_id"], kind="stable", ignore_index=True)
    double = frame.duplicated(["split", "sample_id"])
    if double.any():
        raise WiseftError(
            f"{path} has the sample {frame.loc[double, 'sample_id'].iloc[0]} twice in one split; "
            "sample ids must be unique"
        )
    return frame


def _check_counts(path: Path, predictions: Path, rows: pd.DataFrame, table: pd.DataFrame) -> None:
    """Raise WiseftError where an accuracy's counts differ from those of the predictions."""
    splits = {str(split): part for split, part in table.groupby("split", sort=True)}
    for row in rows[(rows["metric"] == ACCURACY) & rows["n_correct"].notna()].to_dict("records"):
        name = _column_name(row["combination"], row["view"], row["alpha"])
        part = splits.get(row["split"], table.iloc[:0])
        right, n = int((part[name] == part["label"]).sum()), int((part[name] != OUTSIDE).sum())
        counted = f"{right} of {n}"
        if (right, n) != (row["n_correct"], row["n"]):
            raise WiseftError(
                f"{path} says {row['n_correct']} of {row['n']} right in split {row['split']} for "
                f"{name.removesuffix('/prediction')}, but {predictions} has {counted}; "
                "run the stage evaluate again"
            )
        if row["n"] == 0 or abs(row["value"] - right / row["n"]) > 1e-9:
            raise WiseftError(
                f"{path} says value {row['value']} in split {row['split']} for "
                f"{name.removesuffix('/prediction')}, but the counts are {counted}; "
                "run the stage evaluate again"
            )


def _test_predictions(
    table: pd.DataFrame, test_split: str, view: str
) -> tuple[Samples, dict[Column, npt.NDArray[np.bool_]]]:
    part = table[table["split"] == test_split]
    columns = {
        (parts[0], parts[2]): name
        for name in part.columns
        if len(parts := name.split("/")) == 4 and parts[1] == view
    }
    part = part[(part[list(columns.values())] != OUTSIDE).all(axis=1)]
    labels = part["label"].to_numpy(np.int64)
    right = {column: part[name].to_numpy() == labels for column, name in columns.items()}
    sample_ids, base_ids = (part[name].to_numpy(dtype=str) for name in ("sample_id", "base_id"))
    return Samples(sample_ids, base_ids, labels), right


def _check_same_samples(path: Path, dataset: str, first: Samples, found: Samples) -> None:
    """Raise WiseftError if two runs were evaluated on other samples: nothing would be paired."""
    same = all(
        np.array_equal(getattr(first, name), getattr(found, name))
        for name in ("sample_ids", "base_ids", "labels")
    )
    if not same:
        raise WiseftError(
            f"{path} has other samples or labels of {dataset} than the runs before it; "
            "run the stage evaluate again for all runs"
        )
