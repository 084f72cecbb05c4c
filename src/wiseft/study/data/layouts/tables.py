"""Tables with a row an image, from CSV, JSON Lines or Parquet."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from wiseft.errors import WiseftError
from wiseft.images.scan import below, check_distinct, file_sizes
from wiseft.images.split import FolderSplit, LayoutInputs

Rows = list[dict[str, Any]]


def read_table(path: Path) -> Rows:
    """Return the rows of a `.csv`, `.jsonl` or `.parquet` file; CSV's values are text.

    Raises:
        WiseftError: the file cannot be read as a table.
    """
    with readable(path):
        if path.suffix == ".parquet":
            import pyarrow.parquet as parquet

            return cast(Rows, parquet.read_table(path).to_pylist())
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".jsonl":
                rows = [json.loads(line) for line in file if line.strip()]
                if any(not isinstance(row, dict) for row in rows):
                    raise ValueError("a line is no JSON object")
                return rows
            return [dict(row) for row in csv.DictReader(file, strict=True)]


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what the libraries raise on a table that is none into a sentence."""
    try:
        yield
    # Arrow raises all but recursion; JSON that is thousands deep recurses.
    except (csv.Error, ValueError, OSError, NotImplementedError, RecursionError) as error:
        raise WiseftError(
            f"{path} is not a readable table ({str(error).strip()}). Fetch it again."
        ) from None


def column(path: Path, rows: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """Return a column as text; whole numbers have no point.

    Raises:
        WiseftError: the column is not there, or empty in a row; names the row and the columns.
    """
    values = []
    for row, content in enumerate(rows, start=1):
        value = content.get(name)
        text = "" if value is None else str(value)
        if isinstance(value, float) and value.is_integer():
            text = str(int(value))
        if not text.strip() or text == "nan":
            if name not in content:
                columns = ", ".join(str(key) for key in content)
                raise WiseftError(f"{path} has no column {name}; its columns are {columns}")
            raise WiseftError(f"{path}, row {row}: column {name} is empty. Fill it in.")
        values.append(text.strip())
    return values


def listed_split(
    inputs: LayoutInputs,
    images: Path,
    table: Path,
    paths: Sequence[str],
    rows: Sequence[int],
    labels: Sequence[int],
    groups: Mapping[str, Sequence[Any]] | None = None,
) -> FolderSplit:
    """Return the images that a table lists, in its order.

    Args:
        images: what the paths are relative to.
        rows: number of each image's row in the table, from 1, for messages.

    Raises:
        WiseftError: an image is missing or empty, is listed twice, or its path leads elsewhere.
    """
    prefix = inputs.prefix(images)
    sources = [f"{table}, row {row}" for row in rows]
    relative = [
        f"{prefix}{below(path, source)}" for path, source in zip(paths, sources, strict=True)
    ]
    check_distinct(zip(relative, sources, strict=True))
    return FolderSplit(
        paths=relative,
        labels=np.array(labels, np.int64),
        bytes=file_sizes(inputs.root, relative, sources),
        groups=groups or {},
    )
