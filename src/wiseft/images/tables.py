"""Tables of images, read as columns: `.csv`, `.tsv`, `.jsonl`, `.parquet` and `.arrow` (streams)."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wiseft.errors import WiseftError
from wiseft.images.scan import below, check_distinct, file_sizes
from wiseft.images.split import FolderSplit, LayoutInputs

Columns = Mapping[str, Sequence[Any]]
"""Columns by name, of one length."""
PACKED = {".arrow", ".parquet"}


def read_table(path: Path, wanted: Collection[str] | None = None) -> Columns:
    """Return columns of a table; CSV's values are text, and None where a row is too short.

    Args:
        wanted: names of columns, those that the table lacks are left out; None: all.

    Raises:
        WiseftError: the file cannot be read as a table.
    """
    with readable(path):
        if path.suffix in PACKED:
            import pyarrow.parquet as parquet

            if path.suffix == ".parquet":
                chosen = parquet.read_table(path, columns=wanted and list(wanted))
            else:
                with _stream(path) as stream:
                    whole = stream.read_all()  # mapped, not read
                    chosen = whole.select([n for n in whole.column_names if n in (wanted or [n])])
            columns: Columns = chosen.to_pydict()
            return columns
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _objects(file) if path.suffix == ".jsonl" else _lines(file, path.suffix)
            names = next(rows, [])
            kept = [(k, name) for k, name in enumerate(names) if wanted is None or name in wanted]
            found: dict[str, list[Any]] = {name: [] for _, name in kept}
            for row in rows:
                for place, name in kept:
                    found[name].append(row[place] if place < len(row) else None)
            return found


def schema_of(path: Path) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the columns of a table: Arrow's type as text, empty of text files, and what the
    `datasets` library says of it (`_type`, `names`), empty where it does not.

    Raises:
        WiseftError: the file cannot be read as a table.
    """
    with readable(path):
        if path.suffix not in PACKED:
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows = _objects(file) if path.suffix == ".jsonl" else _lines(file, path.suffix)
                return {name: ("", {}) for name in next(rows, [])}
        import pyarrow.parquet as parquet

        if path.suffix == ".parquet":
            schema = parquet.read_schema(path)
        else:
            with _stream(path) as stream:
                schema = stream.schema
        about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = about.get("info", {}).get("features", {}) if isinstance(about, dict) else {}
    return {each.name: (str(each.type), _feature(features, each.name)) for each in schema}


def _feature(features: Any, name: str) -> dict[str, Any]:
    """Return what is said of a column, if it has the form of it."""
    found = features.get(name) if isinstance(features, dict) else None
    names = found.get("names", []) if isinstance(found, dict) else None
    whole = isinstance(names, list) and all(isinstance(each, str) for each in names)
    return found if isinstance(found, dict) and whole else {}


@contextlib.contextmanager
def _stream(path: Path) -> Iterator[Any]:
    import pyarrow

    with pyarrow.memory_map(str(path)) as mapped, pyarrow.ipc.open_stream(mapped) as stream:
        yield stream


def _lines(file: Any, suffix: str) -> Iterator[list[Any]]:
    rows = csv.reader(file, strict=True, delimiter="\t" if suffix == ".tsv" else ",")
    return (row for row in rows if row)


def _objects(file: Any) -> Iterator[list[Any]]:
    """Yield the keys of the first object, a line each, and the values of all under these keys."""
    names: list[str] | None = None
    for line in file:
        if not line.strip():
            continue
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError("a line is no JSON object")
        if names is None:
            yield (names := list(row))
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
        raise WiseftError(f"{path} has no column {name}; its columns are {', '.join(columns)}")
    values = []
    for row, value in enumerate(columns[name], start=1):
        text = "" if value is None else str(value)
        if isinstance(value, float) and value.is_integer():
            text = str(int(value))
        if not text.strip() or text == "nan":
            raise WiseftError(f"{path}, row {row}: column {name} is empty. Fill it in.")
        values.append(text.strip())
    return values


def table_split(
    inputs: LayoutInputs,
    images: Path,
    table: Path,
    paths: Sequence[str],
    labels: Sequence[int],
    rows: Sequence[int],
    groups: Mapping[str, Sequence[Any]] | None = None,
) -> FolderSplit:
    """Return the images that some rows of a table list, in the order of the rows.

    Args:
        images: what the paths are relative to.
        paths: of all rows of the table, as are the labels and groups.
        rows: the places of those of the split.

    Raises:
        WiseftError: an image is missing or empty, is listed twice, or its path leads elsewhere.
    """
    prefix = inputs.prefix(images)
    sources = [f"{table}, row {row + 1}" for row in rows]
    listed = [
        f"{prefix}{below(paths[row], source)}" for row, source in zip(rows, sources, strict=True)
    ]
    check_distinct(zip(listed, sources, strict=True))
    chosen = {name: [group[row] for row in rows] for name, group in (groups or {}).items()}
    return listed_split(inputs, listed, [labels[row] for row in rows], sources, groups=chosen)


def listed_split(
    inputs: LayoutInputs,
    paths: Sequence[str],
    labels: Sequence[int] | NDArray[np.int64],
    source: Path | Sequence[str],
    **columns: Any,
) -> FolderSplit:
    """Return a split of listed images, in their order.

    Args:
        paths: relative to the root.
        source: what lists them, or what lists each, for messages.
        columns: further fields of the split.

    Raises:
        WiseftError: an image is missing or empty.
    """
    sources = [str(source)] * len(paths) if isinstance(source, Path) else source
    sizes = file_sizes(inputs.root, paths, sources)
    return FolderSplit(paths, np.asarray(labels, np.int64), sizes, **columns)
