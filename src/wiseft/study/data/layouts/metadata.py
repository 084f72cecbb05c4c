"""Metadata files of datasets: tables, maps between classes, class names; MATLAB variables."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wiseft.base.io import read_object
from wiseft.errors import WiseftError
from wiseft.images.split import LayoutInputs

if TYPE_CHECKING:
    import pandas as pd

READ = """
import io, resource, sys
from scipy.io import loadmat
content = sys.stdin.buffer.read()
resource.setrlimit(resource.RLIMIT_DATA, [2**30 + 64 * len(content)] * 2)
try:
    loadmat(io.BytesIO(content), squeeze_me=True, variable_names=[sys.argv[1]])
except MemoryError:
    sys.exit(3)
"""
"""Tries a file within a memory that a whole one stays far below."""


def only_split(inputs: LayoutInputs) -> str:
    """Return the split of a dataset that has one. Raises WiseftError if several are asked for."""
    if len(inputs.splits) != 1:
        raise WiseftError(
            f"dataset {inputs.dataset} has one split, but its entry lists "
            f"{', '.join(inputs.splits)}."
        )
    return inputs.splits[0]


def read_variable(content: bytes, variable: str, path: Path) -> Any:
    """Return a variable, squeezed: of structs a record array.

    scipy's reader is written in C; of a damaged file it may crash, or ask for any memory. Another
    process tries it first, so that this is said, and this one goes on.

    Args:
        content: of the file; only this variable is read of it: made of structs, cells, text and
            numbers, nothing that could run.
        path: of the file, for messages.

    Raises:
        WiseftError: if it is no such file, or has no such variable.
    """
    from scipy.io import loadmat

    advice = "Fetch it again."
    tried = subprocess.run(
        [sys.executable, "-c", READ, variable], input=content, capture_output=True, check=False
    )
    if tried.returncode < 0:
        raise WiseftError(f"{path} is damaged: reading it crashes scipy. {advice}")
    if tried.returncode == 3:
        raise WiseftError(f"{path} is damaged: it asks for far more memory than its size. {advice}")
    file: Any = io.BytesIO(content)  # which scipy's types do not know
    try:
        variables = loadmat(file, squeeze_me=True, variable_names=[variable])
    except Exception as error:  # a broken file may raise almost anything in scipy's reader
        raise WiseftError(
            f"{path} is not a readable MATLAB file of version 7 or older ({error}). {advice}"
        ) from error
    if variable not in variables:
        raise WiseftError(f"{path}: expected a variable `{variable}`, which is not there. {advice}")
    return variables[variable]


def read_columns(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return columns of a CSV file as text; empty fields are empty text.

    Raises:
        WiseftError: it is no CSV file, or a column is missing.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:  # pandas' own errors and bad text are ValueErrors
        raise WiseftError(f"{path} is not a readable CSV file: {error}.") from error
    if missing := [column for column in columns if column not in table.columns]:
        raise WiseftError(
            f"{path}: expected the columns {', '.join(columns)}, found no {missing[0]} among "
            f"{', '.join(table.columns)}. It is of another version; fetch it again."
        )
    return table[list(columns)]


def whole_numbers(values: Sequence[str], path: Path, column: str) -> NDArray[np.int64]:
    """Return a column of whole numbers from 0 as int64 (n,).

    Raises:
        WiseftError: a field is something else; names its row, 1 for the first below the header.
    """
    for row, value in enumerate(values, start=1):
        if not _is_number(value):
            raise WiseftError(
                f"{path}, row {row}: expected a whole number as {column}, found {value!r}."
            )
    return np.array([int(value) for value in values], np.int64)


def read_members(inputs: LayoutInputs, reverse: str, forward: str) -> list[list[int]]:
    """Return for each class its classes in the reference, from two maps that must agree.

    Args:
        reverse: file with the reference classes of each class; a class that it leaves out has
            none.
        forward: file with the class of each reference class.

    Raises:
        WiseftError: a map is malformed or names an unknown class, or the two disagree.
    """
    path, count = inputs.file(reverse), len(inputs.class_names)
    members: list[list[int]] = [[] for _ in range(count)]
    for key, value in read_object(path).items():
        label = _class_number(key, path)
        if label >= count or not isinstance(value, list):
            raise WiseftError(
                f"{path}: expected a list of reference classes for each of the classes "
                f"0..{count - 1}, found {key}: {value}."
            )
        members[label] = [_class_number(item, path) for item in value]
    check_members(inputs, members, path)
    _check_forward(inputs.file(forward), members, path)
    return members


def check_members(inputs: LayoutInputs, members: Sequence[Sequence[int]], path: Path) -> None:
    """Raise WiseftError if a reference class belongs to two classes, or does not exist."""
    owner: dict[int, int] = {}
    count = len(inputs.reference_ids) if inputs.reference_ids is not None else None
    for label, items in enumerate(members):
        for item in items:
            if count is not None and item >= count:
                raise WiseftError(
                    f"{path}: expected reference classes 0..{count - 1}, found {item} for class "
                    f"{label}."
                )
            if item in owner:
                raise WiseftError(
                    f"{path}: expected each reference class in one class, found {item} in class "
                    f"{owner[item]} and in class {label}."
                )
            owner[item] = label


def check_names(inputs: LayoutInputs, names: Sequence[str], source: Path | str) -> None:
    """Raise WiseftError unless the class names in a file are those of the entry, in order."""
    expected = list(inputs.class_names)
    for label, (listed, name) in enumerate(zip(names, expected, strict=False)):
        if listed != name:
            raise WiseftError(
                f"{source}: expected {name!r} as class {label} (class_names of {inputs.dataset}), "
                f"found {listed!r}."
            )
    if len(names) != len(expected):
        raise WiseftError(
            f"{source}: expected {len(expected)} classes (class_names of {inputs.dataset}), found "
            f"{len(names)}."
        )


def _check_forward(path: Path, members: Sequence[Sequence[int]], reverse: Path) -> None:
    owners = {_class_number(key, path): value for key, value in read_object(path).items()}
    expected = {item: label for label, items in enumerate(members) for item in items}
    for item in sorted({*owners, *expected}):
        if owners.get(item) != expected.get(item):
            raise WiseftError(
                f"{path} has class {owners.get(item)} for reference class {item}, but {reverse} "
                f"has {expected.get(item)}. Fetch both files again."
            )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _class_number(value: Any, path: Path) -> int:
    if not _is_number(str(value)):
        raise WiseftError(f"{path}: expected the number of a class, found {value!r}.")
    return int(value)
