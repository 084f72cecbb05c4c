"""A sweep's folder is that of one sweep, and of one process at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from wiseft.base.io import read_json, sha256_json
from wiseft.base.locks import exclusive
from wiseft.base.temporary import MARK
from wiseft.errors import WiseftError
from wiseft.foreign.adapters import digest_of
from wiseft.foreign.door import Given
from wiseft.tool.folders import Folder
from wiseft.tool.record import MODEL, PARTS, RECIPE, read_record

WORK, INPUTS = ".work", "inputs.json"
"""Inside the sweep's folder: what was evaluated, so that another call continues."""


def inputs_of(
    ends: Sequence[Path],
    folders: Sequence[Folder],
    given: Given,
    class_names: Mapping[str, str],
    seed: int,
    recipe: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return all that the numbers of a sweep depend on, as plain data.

    Raises:
        WiseftError: if a checkpoint is missing.
    """
    for path in ends:
        if not path.exists():
            raise WiseftError(f"the checkpoint {path} is not there")
    said = TypeAdapter(Given).dump_python(given, mode="json", exclude={"norm"})
    return said | {
        "ends": [digest_of(path) for path in ends],
        "folders": [folder.place.resolved for folder in folders if not folder.kept],
        "class_names": dict(class_names),
        "seed": seed,
        "recipe": recipe and dict(recipe),
    }


@contextmanager
def claimed(output: Path, inputs: Mapping[str, Any]) -> Iterator[None]:
    """Have a folder alone while the block runs; wait for another sweep in it.

    Raises:
        WiseftError: if it is something else or of other inputs.
    """
    check_claim(output, inputs)  # before anything is written
    with exclusive(output / WORK / ".lock"):
        check_claim(output, inputs)
        yield


def check_claim(output: Path, inputs: Mapping[str, Any]) -> None:
    """Check that a folder is new, or that of a sweep of these inputs.

    Raises:
        WiseftError: as `claimed`.
    """
    # A sweep replaces and removes files in these; a link would lead it to those of others.
    folders = (output, *(output / name for name in (MODEL, PARTS, RECIPE, WORK)))
    places = chain(folders, _lying_in(output / WORK))
    if link := next(filter(Path.is_symlink, places), None):
        raise WiseftError(
            f"{link} is a link, and a sweep would replace or remove files where it leads to; "
            "remove the link, or name another folder"
        )
    there = {path.name for path in output.iterdir()} if output.is_dir() else set()
    # A sweep that was refused leaves its work behind, but claims nothing.
    taken = there - {WORK} or (output / WORK / INPUTS).exists()
    if output.is_file() or (taken and not _is_of(output, inputs)):
        raise WiseftError(
            f"{output} exists and is no sweep of these checkpoints, folders and options; name "
            "another folder, or remove it"
        )


def _lying_in(work: Path) -> Iterator[Path]:
    """Yield what lies in a folder, which other processes may work in; nothing of theirs."""
    for top, folders, files in os.walk(work):  # passes over what is gone by now
        yield from (Path(top, name) for name in (*folders, *files))
        folders[:] = [name for name in folders if MARK not in name]


def _is_of(output: Path, inputs: Mapping[str, Any]) -> bool:
    """Whether a folder's claim says these inputs or, where that is damaged, its record does."""
    with suppress(WiseftError):
        if read_json(output / WORK / INPUTS) == inputs:
            return True
    with suppress(WiseftError):
        return read_record(output).inputs == sha256_json(inputs)
    return False
