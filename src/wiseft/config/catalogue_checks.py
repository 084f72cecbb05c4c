"""A check of the whole catalogue."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from wiseft.config.catalogue import Catalogue, load_config
from wiseft.config.dataset_checks import check_dataset
from wiseft.errors import WiseftError


def problems(root: Path, experiment: str | None = None) -> tuple[list[str], str]:
    """Return every problem of the configuration, and in words what was checked.

    Args:
        root: the project's root.
        experiment: check only this one and what it refers to; None for all entries.
    """
    catalogue = Catalogue(root)
    found: list[str] = []
    names = [experiment] if experiment else catalogue.names("experiments")
    readers: list[tuple[Callable[[str], object], list[str]]] = [(catalogue.experiment, names)]
    if experiment is None:
        readers = [
            (lambda _: load_config(catalogue.folder / "config.yaml"), ["config"]),
            (lambda _: catalogue.packages(), ["packages"]),
            *((read, catalogue.names(kind)) for kind, read in _readers(catalogue)),
            *readers,
        ]
    for read, entries in readers:
        for name in entries:
            try:
                read(name)
            except WiseftError as error:
                found += [line for line in str(error).split("\n") if line not in found]
    number = sum(len(entries) for _, entries in readers)
    checked = f"experiment {experiment}" if experiment else f"{number} files of the configuration"
    return found, checked


def _readers(catalogue: Catalogue) -> list[tuple[str, Callable[[str], object]]]:
    return [
        ("datasets", partial(check_dataset, catalogue=catalogue)),
        ("prompts", catalogue.prompts),
        ("models", catalogue.model),
        ("methods", catalogue.method),
    ]
