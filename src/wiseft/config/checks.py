"""Checks of an experiment against the entries it names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from wiseft.config.catalogue import Catalogue, UnknownName
from wiseft.config.entries import DatasetEntry
from wiseft.config.experiment import ExperimentEntry
from wiseft.config.methods import FinetuneSettings
from wiseft.errors import WiseftError

T = TypeVar("T")


def experiment_problems(experiment: ExperimentEntry, catalogue: Catalogue) -> list[str]:
    """Return a sentence for every problem of an experiment; none if all it names fits."""
    source = catalogue.folder / "experiments" / f"{experiment.experiment}.yaml"
    check = _Check(experiment, catalogue, str(source))
    check.datasets()
    check.models()
    check.methods()
    return check.problems


class _Check:
    """Collects problems; an unknown name is reported with the key that gives it."""

    def __init__(self, experiment: ExperimentEntry, catalogue: Catalogue, source: str) -> None:
        self.experiment = experiment
        self.catalogue = catalogue
        self.source = source
        self.problems: list[str] = []

    def datasets(self) -> None:
        """Check that the datasets exist, are evaluated on the splits, and share the reference's
        classes.
        """
        experiment = self.experiment
        found = {
            name: entry
            for name in experiment.datasets
            if (entry := self._get("datasets", partial(self.catalogue.dataset, name)))
        }
        reference = found.get(experiment.reference)
        for name, entry in found.items():
            self._needs(name, entry)
            if experiment.test_split not in entry.evaluate:
                self._add(
                    f"test_split is {experiment.test_split}, but dataset {name} evaluates only "
                    f"{', '.join(entry.evaluate)}"
                )
            if reference and entry.display_names != reference.display_names:
                self._add(
                    f"datasets lists {name}, whose class_names are not those of the reference "
                    f"{experiment.reference}, but all datasets must have the same"
                )
        if reference and "train" not in reference.splits:
            self._add(
                f"reference is {experiment.reference}, whose splits are "
                f"{', '.join(reference.splits)}, "
                "but it must have a split train"
            )
        held_out = found.get(experiment.held_out.dataset)
        if held_out and experiment.held_out.split not in held_out.evaluate:
            self._add(
                f"held_out.split is {experiment.held_out.split}, but must be one of the evaluated "
                "splits "
                f"of {held_out.name}: {', '.join(held_out.evaluate)}"
            )

    def models(self) -> None:
        """Check that models exist, and have a pre-training seed exactly where they are pre-trained
        here.
        """
        for name in self.experiment.models:
            found = self._get("models", partial(self.catalogue.model, name))
            if found and found[0].source == "pretrain" and found[1] is None:
                self._add(
                    f"models lists {name}, which is pre-trained here, but must then have a seed: "
                    f"{name}-s0"
                )
            self._model_needs(name)
        baselines = self.experiment.baselines
        if baselines:
            found = self._get("baselines.model", partial(self.catalogue.model, baselines.model))
            if found and found[1] is not None:
                self._add(
                    f"baselines.model is {baselines.model}, but must be the bare entry "
                    f"{found[0].name}, "
                    "because no pre-trained weights are used"
                )

    def methods(self) -> None:
        """Check that methods exist, and start where their place in the experiment demands."""
        for method_id in self.experiment.methods:
            settings = self._get("methods", partial(self.catalogue.method_settings, method_id))
            self._method("methods", method_id, settings, "zero-shot")
        if self.experiment.baselines:
            for method_id in self.experiment.baselines.methods:
                settings = self._get(
                    "baselines.methods", partial(self.catalogue.method_settings, method_id)
                )
                self._method("baselines.methods", method_id, settings, "random")

    def _method(
        self, key: str, method_id: str, settings: FinetuneSettings | None, init: str
    ) -> None:
        if settings is None:
            return
        if settings.init != init:
            self._add(
                f"{key} lists {method_id}, which has init: {settings.init}, but must list only "
                "methods "
                f"with init: {init}"
            )
        reference = self.experiment.reference
        if reference not in self.catalogue.names("datasets"):
            return  # reported already
        entry = self._get("reference", partial(self.catalogue.dataset, reference))
        available = entry.splits.get("train") if entry else None
        if available and settings.train_samples and settings.train_samples > available:
            self._add(
                f"{key} lists {method_id}, which has train_samples: {settings.train_samples}, but "
                f"the train split of {reference} holds only {available}"
            )

    def _needs(self, name: str, entry: DatasetEntry) -> None:
        """Check that what a dataset refers to exists."""
        self._get(f"datasets ({name}: prompts)", partial(self.catalogue.prompts, entry.prompts))
        closure = self._get(
            f"datasets ({name}: depends)", partial(self.catalogue.dataset_closure, [name])
        )
        for parent in closure or []:
            for package in self.catalogue.dataset(parent).packages:
                self._get(
                    f"datasets ({parent}: packages)", partial(self.catalogue.package, package)
                )

    def _model_needs(self, name: str) -> None:
        """Check that what a model refers to exists."""
        try:
            entry, _ = self.catalogue.model(name)
        except WiseftError:
            return  # reported already
        path = self.catalogue.architecture_path(entry)
        if not path.is_file():
            self._add(f"models lists {name}, whose architecture {path} does not exist")
        for package in entry.pretrain.font_packages if entry.pretrain else []:
            self._get(
                f"models ({entry.name}: pretrain.font_packages)",
                partial(self.catalogue.package, package),
            )

    def _add(self, problem: str) -> None:
        self._append(f"{self.source}: {problem}")

    def _get(self, key: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except UnknownName as error:
            self._add(f"key `{key}`: {error}")
        except WiseftError as error:  # names its own file already
            self._append(str(error))
        return None

    def _append(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)
