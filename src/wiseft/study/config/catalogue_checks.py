"""A check of the whole catalogue."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from wiseft.errors import WiseftError
from wiseft.study.config.catalogue import Catalogue, load_config
from wiseft.study.config.dataset_checks import check_dataset


def check_catalogue(root: Path, experiment: str | None = None) -> str:
    """Check the configuration and return in words what was checked.

    Args:
        root: the project's root.
        experiment: check only this one and what it refers to; None for all entries.

    Raises:
        WiseftError: a line for every problem.
    """
    catalogue = Catalogue(root)
    checks: list[Callable[[], object]] = []
    if experiment:
        checks.append(partial(catalogue.experiment, experiment))
    else:
        readers: dict[str, Callable[[str], object]] = {
            "datasets": partial(check_dataset, catalogue=catalogue),
            "prompts": catalogue.prompts,
            "models": catalogue.model,
            "methods": catalogue.method,
            "experiments": catalogue.experiment,
        }
        checks = [partial(load_config, catalogue.folder / "config.yaml"), catalogue.packages]
        for kind, read in readers.items():
            checks += [partial(read, name) for name in catalogue.names(kind)]
    problems: dict[str, None] = {}
    for check in checks:
        try:
            check()
        except WiseftError as error:
            problems |= dict.fromkeys(str(error).split("\n"))
    if problems:
        raise WiseftError("\n".join(problems))
    return f"experiment {experiment}" if experiment else f"{len(checks)} files of the configuration"
