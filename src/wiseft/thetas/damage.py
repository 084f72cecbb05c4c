"""Damaged files: how they are found where their format has no sum, and what becomes of them.

Readers raise `DamagedFile`; the command line, and sharing, set the files aside. So a rule of the
workflow misses them and makes them again, and nothing is lost that might be looked into.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wiseft.base.io import read_json, require_file, sha256_file, sha256_json, write_text
from wiseft.errors import DamagedFile, StaleArtifact, WiseftError

ASIDE = ".damaged"
"""Suffix of what was set aside; DVC leaves it out (.dvcignore)."""
SUM = "sha256"


@contextlib.contextmanager
def damage_of(*files: Path) -> Iterator[None]:
    """Make what is wrong with the content of files a `DamagedFile` of all of them."""
    try:
        yield
    except (DamagedFile, StaleArtifact):
        raise
    except WiseftError as error:
        raise DamagedFile(str(error), *files) from None


def rename_damaged(files: Iterable[Path]) -> list[str]:
    """Rename damaged files to `<name>.damaged`; return the new names of those that could be."""
    renamed = []
    for path in files:
        aside = path.with_name(path.name + ASIDE)
        with contextlib.suppress(OSError):  # another job met it and renamed it, or no right
            path.replace(aside)
            renamed.append(str(aside))
    return renamed


def with_sum(content: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return the content of a JSON file with its own SHA-256 under the key `sha256`."""
    whole = {**content, **more}
    return {**whole, SUM: sha256_json(whole)}


def read_checked(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object that `with_sum` made, and return it without its sum.

    Files of before have no sum; what they hold is not checked here.

    Raises:
        WiseftError: if the file is missing.
        DamagedFile: if it is not a JSON object, or has another sum.
    """
    content = read_json(path, what)
    if not isinstance(content, dict):
        raise DamagedFile(f"{path} is damaged: expected a JSON object", path)
    expected = content.pop(SUM, None)
    try:
        actual = sha256_json(content)
    except ValueError:  # a NaN, which no file of ours holds
        actual = "none"
    if expected not in (None, actual):
        raise DamagedFile(_other_sum(path, expected, actual), path)
    return content


def require_sum(path: Path, expected: str | None, what: str, *more: Path) -> None:
    """Check that a file is there and has a SHA-256.

    Args:
        what: is wrong with the file otherwise, for the message.
        more: files that are damaged with it.

    Raises:
        DamagedFile: of the file and of those.
    """
    actual = sha256_file(path) if path.is_file() else "no file"
    if actual != expected:
        raise DamagedFile(
            f"{path} {what}: expected SHA-256 {expected}, found {actual}", path, *more
        )


def read_metrics(path: Path, predictions: Path) -> dict[str, Any]:
    """Read the metrics of a run and dataset, and check the predictions beside them by their sum.

    Raises:
        WiseftError: if one of them is missing.
        DamagedFile: if one of them is damaged: of both, because one evaluation makes both.
    """
    require_file(predictions, "predictions file")
    try:
        content = read_checked(path, "metrics file")
    except DamagedFile as error:
        raise DamagedFile(error.found, path, predictions) from None
    expected = content.get("predictions_sha256")
    if expected is not None and (actual := sha256_file(predictions)) != expected:
        raise DamagedFile(_other_sum(predictions, expected, actual), path, predictions)
    return content


def sum_path(table: Path) -> Path:
    """Return the file that has the sum of a table, and its number of rows."""
    return table.with_name(f"{table.name}.{SUM}")


def write_sum(table: Path, rows: int) -> None:
    """Write the sum of a table beside it, in the form that `sha256sum --check` reads."""
    write_text(sum_path(table), f"# {rows} rows\n{sha256_file(table)}  {table.name}\n")


def check_sum(table: Path, what: str) -> int:
    """Compare a table with the sum beside it; return the number of rows that were written.

    Raises:
        DamagedFile: if it differs, or if there is no sum.
    """
    beside = sum_path(table)
    text = beside.read_bytes().decode(errors="replace") if beside.is_file() else ""
    match = re.fullmatch(r"# (\d+) rows\n([0-9a-f]{64})  \S+\n", text)
    if match is None:
        raise DamagedFile(
            f"{what} {table} cannot be checked: {beside.name} beside it, with its sum, is missing "
            "or broken (tables of earlier versions have none)",
            table,
            beside,
        )
    if (actual := sha256_file(table)) != match[2]:
        found = _other_sum(table, match[2], actual) + f"; {match[1]} rows were written"
        raise DamagedFile(f"{what} {found}", table, beside)
    return int(match[1])


def _other_sum(path: Path, expected: str, actual: str) -> str:
    return f"{path} is damaged: expected SHA-256 {expected}, found {actual}"
