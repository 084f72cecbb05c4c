"""The catalogue: all entries of a project, an experiment checked against those it names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from wiseft.base.loading import read_yaml
from wiseft.base.typed import LIMIT_SUFFIX_PATTERN
from wiseft.base.validation import suggest, validate
from wiseft.errors import WiseftError
from wiseft.study.config.checks import experiment_problems
from wiseft.study.config.dataset_checks import check_dataset
from wiseft.study.config.experiment import ExperimentEntry
from wiseft.study.config.folder import ConfigFolder
from wiseft.study.config.machine import Config


class Catalogue(ConfigFolder):
    """Entries by name, read lazily and kept.

    Args:
        root: the project's root, the folder that holds `config/`.
    """

    def __init__(self, root: Path | str = ".") -> None:
        super().__init__(root)
        self._experiments: dict[str, ExperimentEntry] = {}

    def experiment(self, name: str) -> ExperimentEntry:
        """Return an experiment that was checked against all the entries it names.

        Raises:
            WiseftError: a line for every problem.
        """
        if name not in self._experiments:
            entry = self.experiment_entry(name)
            problems = experiment_problems(entry, self)
            if problems:
                raise WiseftError("\n".join(problems))
            self._experiments[name] = entry
        return self._experiments[name]


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


def load_config(path: Path | str, overrides: Mapping[str, Any] | None = None) -> Config:
    """Return `config/config.yaml` with overrides, such as Snakemake's `--config experiment=NAME`.

    Raises:
        WiseftError: a line for every unknown key (with the nearest valid name), wrong value, and
            folder of a dataset that there is not.
    """
    path = Path(path)
    data = read_yaml(path, "configuration") or {}
    overrides = dict(overrides or {})
    if isinstance(data, dict) and overrides:
        validate(Config, {**overrides}, "--config")
        data = {**data, **overrides}
    config = validate(Config, data, str(path))
    problems = _place_problems(config, path)
    if problems:
        raise WiseftError("\n".join(problems))
    return config


def _place_problems(config: Config, path: Path) -> list[str]:
    """Return a sentence for every dataset that only a list in `datasets` knows.

    A slip there would not be seen: the dataset would be fetched although the user has it.
    """
    names = sorted(entry.stem for entry in (path.parent / "datasets").glob("*.yaml"))
    given = [("paths", name) for name in config.datasets.paths]
    given += [("part", name) for name in config.datasets.part]
    given += [("cache", re.sub(LIMIT_SUFFIX_PATTERN, "", name)) for name in config.datasets.cache]
    return [
        f"{path}: key `datasets.{key}` names an unknown dataset {name}; {suggest(name, names)}"
        for key, name in given
        if name not in names
    ]
