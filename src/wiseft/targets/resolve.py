"""An experiment with everything it refers to, as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wiseft.config import Catalogue, PromptsEntry, load_config
from wiseft.targets.runs import Runs


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
    runs = Runs(config, catalogue, entry)
    datasets = {name: catalogue.dataset(name) for name in catalogue.dataset_closure(entry.datasets)}
    models = dict.fromkeys([*(run.model for run in runs.runs), *runs.models])
    prompts = sorted({dataset.prompts for dataset in datasets.values()})
    return {
        "config": config.model_dump(mode="json"),
        "experiment": entry.model_dump(mode="json"),
        "suites": catalogue.suites(entry.datasets),
        "runs": [f"{run.name}/seed-{run.seed}" for run in runs.runs],
        "models": {name: runs.entry(name).model_dump(mode="json") for name in models},
        "methods": {m: method_of(m, catalogue) for m in [*runs.methods, *runs.baselines]},
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
