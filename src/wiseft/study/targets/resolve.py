"""An experiment with everything it refers to, as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wiseft.study.config import PromptsEntry
from wiseft.study.targets import Targets


def resolve(root: Path, experiment: str | None = None) -> dict[str, Any]:
    """Return plain data: configuration, experiment, and the entries it selects.

    Args:
        root: the project's root.
        experiment: name of the experiment; None for the configuration's.

    Raises:
        WiseftError: if the configuration is wrong or the experiment is unknown.
    """
    targets = Targets.read(root, {"experiment": experiment} if experiment else None)
    datasets = targets.data.entries
    prompts = sorted({dataset.prompts for dataset in datasets.values()})
    return {
        "config": targets.settings.model_dump(mode="json"),
        "experiment": targets.experiment.model_dump(mode="json"),
        "suites": targets.data.suites,
        "runs": [f"{run.name}/seed-{run.seed}" for run in targets.runs],
        "models": {m: targets.entry(m).model_dump(mode="json") for m in targets.all_models},
        "methods": targets.methods_in_full(),
        "datasets": {name: dataset.model_dump(mode="json") for name, dataset in datasets.items()},
        "prompts": {name: _templates(targets.catalogue.prompts(name)) for name in prompts},
    }


def _templates(prompts: PromptsEntry) -> Any:
    """Return the templates of a prompt set, or the file that has to be downloaded for them."""
    if prompts.ready is not None:
        return prompts.ready
    return prompts.model_dump(mode="json", include={"file", "key"}, exclude_defaults=True)
