"""What figures may know of an experiment beside its table: drawings take what they have use for."""

from __future__ import annotations

from typing import Any

from wiseft.base.names import AVERAGE_PREFIX
from wiseft.study.config import Catalogue
from wiseft.study.config.experiment import ExperimentEntry

MOST_METHODS = 10
"""Methods that the page shows at most where an experiment does not choose."""


def figure_context(experiment: ExperimentEntry, catalogue: Catalogue) -> dict[str, Any]:
    """Return what is the same for all figures of an experiment.

    `fit_exclude`: baselines that no fit goes through, because augmentation is an intervention;
    tables leave out the same. `titles`: names of datasets and averages as readers know them.

    Raises:
        WiseftError: if an entry is missing or wrong.
    """
    baselines = [] if experiment.baselines is None else experiment.baselines.methods
    augmented = [m for m in baselines if catalogue.method_settings(m).augment != "none"]
    seen = [*experiment.datasets, *experiment.keep]
    titles = {name: catalogue.dataset(name).title for name in seen}
    for name, members in experiment.averages.items():
        of_sets = name if name.endswith("s") else f"{name} sets"
        several = f"{len(members)} {experiment.average_titles.get(name, of_sets)}"
        titles[AVERAGE_PREFIX + name] = several if len(members) > 1 else titles[members[0]]
    return {"fit_exclude": augmented, "titles": titles}


def page_context(experiment: ExperimentEntry, catalogue: Catalogue) -> dict[str, Any]:
    """Return what the page of an experiment is about (:class:`wiseft.figures.page.PageSettings`).

    Raises:
        WiseftError: if an entry is missing or wrong.
    """
    many = len(experiment.methods) > MOST_METHODS
    shown = experiment.page or (experiment.methods[:MOST_METHODS] if many else [])
    return {
        "experiment": experiment.experiment,
        "title": experiment.title,
        "about": experiment.about,
        "reference": experiment.reference,
        "datasets": experiment.datasets,
        "averages": [name for name, sets in experiment.averages.items() if len(sets) > 1],
        "titles": figure_context(experiment, catalogue)["titles"],
        "captions": {name: figure.caption for name, figure in experiment.figures.items()},
        "view": catalogue.dataset(experiment.reference).primary_view,
        "methods": shown,
        "further_methods": len(experiment.methods) - len(shown) if shown else 0,
    }
