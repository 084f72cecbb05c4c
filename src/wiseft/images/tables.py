"""Tables of images, read as columns: `.csv`, `.tsv`, `.jsonl`, `.parquet`, `.arrow` (streams)."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wiseft.errors import WiseftError, some

Columns = Mapping[str, Sequence[Any]]
"""Columns by name, of one length."""
Schema = Mapping[str, tuple[str, Mapping[str, Any]]]
"""Columns by name: Arrow's type as text, empty of text files, and what the `datasets` library says
of it (`_type`, `names`).
"""
TEXT, PACKED = (".csv", ".tsv", ".jsonl"), (".parquet", ".arrow")
"""Suffixes of tables."""
BATCH = 64
"""Rows, of images mostly, that are in memory at a time."""


def read_table(path: Path, wanted: Collection[str] | None = None) -> Columns:
    """Return columns of a table; CSV's values are text, and None where a row is too short.

    Args:
        wanted: names of columns, those that the table lacks are left out; None: all.

    Raises:
        WiseftError: the file cannot be read as a table.
    """
    if path.suffix in PACKED:
        with batches_of(path, wanted) as (schema, batches):
            found = {name: list[Any]() for name in schema.names if wanted is None or name in wanted}
            for batch in batches:
                for name, values in found.items():
                    values += batch.column(name).to_pylist()
            return found
    with readable(path), path.open(encoding="utf-8-sig", newline="") as file:
        rows = _text_rows(file, path.suffix)
        names = next(rows, [])
        kept = [(k, name) for k, name in enumerate(names) if wanted is None or name in wanted]
        found = {name: [] for _, name in kept}
        for row in rows:
            for place, name in kept:
                found[name].append(row[place] if place < len(row) else None)
        return found


def schema_of(path: Path) -> Schema:
    """Return the columns of a table. Raises WiseftError as `read_table` does."""
    if path.suffix in PACKED:
        with batches_of(path, []) as (schema, _):
            said = _features((schema.metadata or {}).get(b"huggingface", b""))
            return {each.name: (str(each.type), said.get(each.name, {})) for each in schema}
    with readable(path), path.open(encoding="utf-8-sig", newline="") as file:
        return {name: ("", {}) for name in next(_text_rows(file, path.suffix), [])}


def rows_in(path: Path) -> int:
    """Return how many rows a `.parquet` or `.arrow` file has, of which nothing is read."""
    with batches_of(path, []) as (_, batches):
        return sum(batch.num_rows for batch in batches)


@contextlib.contextmanager
def batches_of(path: Path, wanted: Collection[str] | None) -> Iterator[tuple[Any, Iterator[Any]]]:
    """Yield the schema of a `.parquet` or `.arrow` file, and its rows in batches of Arrow, of which
    no more than a row group is read at a time.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    with readable(path):
        if path.suffix == ".parquet":
            columns = None if wanted is None else list(wanted)
            with parquet.ParquetFile(path) as file:
                yield file.schema_arrow, file.iter_batches(BATCH, columns=columns)
        else:
            with pyarrow.memory_map(str(path)) as mapped, pyarrow.ipc.open_stream(mapped) as stream:
                starts = ((batch, k) for batch in stream for k in range(0, batch.num_rows, BATCH))
                yield stream.schema, (batch.slice(k, BATCH) for batch, k in starts)


def _features(content: bytes) -> dict[str, dict[str, Any]]:
    """Return what the `datasets` library noted of columns; nothing where it is no such note."""
    try:
        features = json.loads(content)["info"]["features"].items()
        return {name: {**about, "names": list(about.get("names", ()))} for name, about in features}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _text_rows(file: Any, suffix: str) -> Iterator[list[Any]]:
    """Yield the names of the columns, and the values of each row under them."""
    if suffix != ".jsonl":
        rows = csv.reader(file, strict=True, delimiter="\t" if suffix == ".tsv" else ",")
        yield from (row for row in rows if row)
        return
    names: list[str] | None = None
    for line in file:
        row = json.loads(line) if line.strip() else None
        if row is not None and not isinstance(row, dict):
            raise ValueError("a line is no JSON object")
        if row and names is None:
            yield (names := list(row))
        if row and names:
            yield [row.get(name) for name in names]


def text_lines(path: Path) -> list[str]:
    """Return the lines of a text file without the space around them."""
    return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]


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


def column(path: Path, columns: Columns, name: str) -> list[str]:
    """Return a column as text; whole numbers have no point.

    Raises:
        WiseftError: the column is not there, or empty in a row; names the row and the columns.
    """
    if name not in columns:
        raise WiseftError(f"{path} has no column {name}; its columns are {some([*columns], 20)}")
    values = []
    for row, value in enumerate(columns[name], start=1):
        text = "" if value is None else str(value)
        if isinstance(value, float) and value.is_integer():
            text = str(int(value))
        if not text.strip() or text == "nan":
            raise WiseftError(f"{path}, row {row}: column {name} is empty. Fill it in.")
        values.append(text.strip())
    return values
