"""The files of an evaluation, and what of them may be kept when a grid grows.

Formats: docs/design.md, "Metrics" and "Predictions".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wiseft.errors import WiseftError
from wiseft.evaluate.views import Predictions
from wiseft.io import atomic_path, read_json, write_json

FORMAT = 1
_KEY = b"wiseft"

Column = tuple[str, str, str]
"""combination, view, alpha"""


@dataclass
class Record:
    """The content of both files of one dataset.

    Attributes:
        labels: sample columns in order (`split`, `sample_id`, `base_id`, `label`, `group_*`).
        rows: metrics by (split, combination, view, alpha).
        predictions: by (combination, view, alpha), over all samples.
    """

    identity: dict[str, Any]
    samples: dict[str, pa.Array]
    rows: dict[tuple[str, str, str, str], dict[str, Any]] = field(default_factory=dict)
    predictions: dict[Column, Predictions] = field(default_factory=dict)

    def has(self, columns: list[Column], splits: list[str]) -> bool:
        """Whether predictions and metrics of all these columns are there."""
        return all(
            column in self.predictions and all((split, *column) in self.rows for split in splits)
            for column in columns
        )


def write_record(folder: Path, record: Record, about: dict[str, Any]) -> None:
    """Write `predictions.parquet`, then `metrics.json`, each atomically.

    Args:
        about: dataset, model, reference, method, variant, run and seed.
    """
    columns = dict(record.samples)
    for column in sorted(record.predictions, key=_column_order):
        for name, values in record.predictions[column].columns().items():
            columns[f"{'/'.join(column)}/{name}"] = pa.array(values)
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(record.identity).encode()})
    with atomic_path(folder / "predictions.parquet") as temporary:
        pq.write_table(table, temporary, compression="zstd")
    splits = list(dict.fromkeys(record.samples["split"].to_pylist()))
    order = sorted(record.rows, key=lambda key: (splits.index(key[0]), *_column_order(key[1:])))
    rows = [record.rows[key] for key in order]
    metrics = {"format": FORMAT, **about, "identity": record.identity, "rows": rows}
    write_json(folder / "metrics.json", metrics)


def read_record(
    folder: Path, wanted: Record, about: dict[str, Any], say: Callable[[str], None]
) -> Record:
    """Return what earlier files hold of the same identity; else an empty record.

    Args:
        wanted: the identity and the samples that the files must have.
        say: takes a line that tells why earlier files are not used.
    """
    empty = Record(wanted.identity, wanted.samples)
    if not (folder / "metrics.json").exists() and not (folder / "predictions.parquet").exists():
        return empty
    try:
        metrics = read_json(folder / "metrics.json", "metrics file")
        table = pq.read_table(folder / "predictions.parquet", memory_map=False)
        if _is_other(metrics, table, wanted, about):
            say(f"{about['dataset']}: {folder} is of other weights, data or settings; recomputing")
            return empty
        rows = {_row_key(row): row for row in metrics["rows"]}
        found = Record(wanted.identity, wanted.samples, rows, _read_predictions(table))
    except (WiseftError, OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        say(f"{about['dataset']}: can't use the files in {folder} ({error}); recomputing")
        return empty
    return found


def _is_other(
    metrics: dict[str, Any], table: pa.Table, wanted: Record, about: dict[str, Any]
) -> bool:
    stored = {name: metrics[name] for name in ("format", "identity", *about)}
    expected = {"format": FORMAT, "identity": wanted.identity, **about}
    in_table = json.loads((table.schema.metadata or {}).get(_KEY, b"null"))
    samples_differ = any(
        not table.column(name).combine_chunks().equals(values)
        for name, values in wanted.samples.items()
    )
    return stored != expected or in_table != wanted.identity or samples_differ


def _read_predictions(table: pa.Table) -> dict[Column, Predictions]:
    found: dict[Column, dict[str, NDArray[Any]]] = {}
    for name in table.column_names:
        if name.count("/") == 3:
            combination, view, alpha, part = name.split("/")
            values = np.array(table.column(name).to_numpy())
            found.setdefault((combination, view, alpha), {})[part] = values
    return {column: Predictions(**parts) for column, parts in found.items()}


def _row_key(row: dict[str, Any]) -> tuple[str, str, str, str]:
    return row["split"], row["combination"], row["view"], row["alpha"]


def _column_order(column: tuple[str, ...]) -> tuple[str, str, str]:
    """Sort by view, then weight before output, then alpha."""
    combination, view, alpha = column
    return view, "0" if combination == "weight" else combination, alpha
