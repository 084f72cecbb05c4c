"""An experiment with everything it refers to, and a check of the whole catalogue."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from wiseft.config.catalogue import Catalogue, load_config
from wiseft.config.dataset_checks import check_dataset
from wiseft.config.entries import PromptsEntry
from wiseft.config.runs import experiment_runs, model_names
from wiseft.errors import WiseftError


def resolve(root: Path, experiment: str | None = None) -> dict[str, Any]:
    """Return plain data: configuration, experiment, and the entries it selects.

    Args:
        root: the project's root.
        experiment: name of the experiment; None for the configuration's.

    Raises:
        WiseftError: if the configuration is wrong or the experiment is unknown.
    """
    catalogue = Catalogue(root)
    overrides = {"experiment": experiment} if experiment else None
    config = load_config(catalogue.folder / "config.yaml", overrides)
    entry = catalogue.experiment(config.experiment)
    runs = experiment_runs(entry)
    datasets = {name: catalogue.dataset(name) for name in catalogue.dataset_closure(entry.datasets)}
    names = dict.fromkeys([*(run.model for run in runs), *model_names(entry, catalogue)])
    models = {name: catalogue.model(name)[0] for name in names}
    prompts = sorted({dataset.prompts for dataset in datasets.values()})
    return {
        "config": config.model_dump(mode="json"),
        "experiment": entry.model_dump(mode="json"),
        "suites": catalogue.suites(entry.datasets),
        "runs": [f"{run.name}/seed-{run.seed}" for run in runs],
        "models": {name: model.model_dump(mode="json") for name, model in models.items()},
        "methods": {
            run.method_id: method_of(run.method_id, catalogue)
            for run in runs
            if not entry.zero_shot_only
        },
        "datasets": {name: dataset.model_dump(mode="json") for name, dataset in datasets.items()},
        "prompts": {name: _templates(catalogue.prompts(name)) for name in prompts},
    }


def method_of(method_id: str, catalogue: Catalogue) -> dict[str, Any]:
    """Return how a method trains, or which other model it combines, as plain data.

    Raises:
        WiseftError: if there is no such method or variant.
    """
    settings = catalogue.method_settings(method_id)
    return (catalogue.independent(method_id) or settings).model_dump(mode="json")


def _templates(prompts: PromptsEntry) -> Any:
    """Return the templates of a prompt set, or the file that has to be downloaded for them."""
    if prompts.ready is not None:
        return prompts.ready
    return prompts.model_dump(mode="json", include={"file", "key"}, exclude_defaults=True)


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
