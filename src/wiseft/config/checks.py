"""Checks of an experiment against the entries it names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from wiseft.config.dataset_checks import dataset_problems
from wiseft.config.datasets import DatasetEntry
from wiseft.config.experiment import ExperimentEntry
from wiseft.config.folder import ConfigFolder, UnknownName
from wiseft.config.methods import FinetuneSettings
from wiseft.errors import WiseftError

T = TypeVar("T")


def experiment_problems(experiment: ExperimentEntry, catalogue: ConfigFolder) -> list[str]:
    """Return a sentence for every problem of an experiment; none if all it names fits."""
    source = catalogue.folder / "experiments" / f"{experiment.experiment}.yaml"
    check = _Check(experiment, catalogue, str(source))
    check.datasets()
    check.models()
    check.methods()
    return check.problems


class _Check:
    """Collects problems; an unknown name is reported with the key that gives it."""

    def __init__(self, experiment: ExperimentEntry, catalogue: ConfigFolder, source: str) -> None:
        self.experiment = experiment
        self.catalogue = catalogue
        self.source = source
        self.problems: list[str] = []
        self.found = {
            name: entry
            for name in experiment.datasets
            if (entry := self._get("datasets", partial(catalogue.dataset, name)))
        }

    def datasets(self) -> None:
        """Check that the datasets exist, are evaluated on the splits, and have classes that the
        reference's head predicts.
        """
        experiment = self.experiment
        reference = self.found.get(experiment.reference)
        for name, entry in self.found.items():
            for problem in dataset_problems(entry, self.catalogue):
                self._append(problem)
            if experiment.test_split not in entry.evaluate:
                self._add(
                    f"test_split is {experiment.test_split}, but dataset {name} evaluates only "
                    f"{', '.join(entry.evaluate)}"
                )
            if reference and not experiment.data_only:
                self._classes(entry, reference)
        if reference and not experiment.data_only and "train" not in reference.splits:
            self._add(
                f"reference is {experiment.reference}, whose splits are "
                f"{', '.join(reference.splits)}, "
                "but it must have a split train"
            )
        held_out = self.found.get(experiment.held_out.dataset) if experiment.held_out else None
        if held_out and experiment.held_out and experiment.held_out.split not in held_out.evaluate:
            self._add(
                f"held_out.split is {experiment.held_out.split}, but must be one of the evaluated "
                "splits "
                f"of {held_out.name}: {', '.join(held_out.evaluate)}"
            )

    def _classes(self, entry: DatasetEntry, reference: DatasetEntry) -> None:
        """Check that a head for the reference's classes can be evaluated on a dataset.

        Names that come from the datasets' files are not known yet; the evaluation compares them.
        """
        mapped = entry.label_map.reference if entry.label_map else None
        if reference.bare_name in (entry.bare_name, mapped):
            return
        unknown = entry.names_from_files or reference.names_from_files
        if unknown and entry.class_count == reference.class_count:
            return
        if not unknown and entry.display_names == reference.display_names:
            return
        if mapped:
            self._add(
                f"datasets lists {entry.name}, whose classes follow from those of {mapped}, but "
                f"the reference is {reference.name}; remove {entry.name}, or make {mapped} the "
                "reference"
            )
        else:
            self._add(
                f"datasets lists {entry.name}, whose class_names are not those of the reference "
                f"{reference.name}, but must be, unless a label_map with reference: "
                f"{reference.bare_name} says how they follow from them; remove it, or add the map "
                "to its entry"
            )

    def models(self) -> None:
        """Check that models exist, and have a pre-training seed exactly where they are pre-trained
        here.
        """
        for name in self.experiment.models:
            self._model("models", name, f"models lists {name}")
        baselines = self.experiment.baselines
        if baselines:
            found = self._get("baselines.model", partial(self.catalogue.model, baselines.model))
            if found and found[1] is not None:
                self._add(
                    f"baselines.model is {baselines.model}, but must be the bare entry "
                    f"{found[0].name}, "
                    "because no pre-trained weights are used"
                )

    def _model(self, key: str, name: str, says: str) -> None:
        """Check that a model that is made into a theta_0 can be made."""
        found = self._get(key, partial(self.catalogue.model, name))
        if found and found[0].source == "pretrain" and found[1] is None:
            self._add(f"{says}, which is pre-trained here, but must then have a seed: {name}-s0")
        self._model_needs(name)

    def methods(self) -> None:
        """Check that methods exist, and start where their place in the experiment demands."""
        for method_id in self.experiment.methods:
            settings = self._get("methods", partial(self.catalogue.method_settings, method_id))
            self._method("methods", method_id, settings, "zero-shot")
            if settings is not None:
                self._independent(method_id)
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
        entry = self.found.get(reference)  # an unknown one is reported already
        available = entry.splits.get("train") if entry else None
        if available and settings.train_samples and settings.train_samples > available:
            self._add(
                f"{key} lists {method_id}, which has train_samples: {settings.train_samples}, but "
                f"the train split of {reference} holds only {available}"
            )

    def _independent(self, method_id: str) -> None:
        """Check that a model that is only combined, not trained from, is there to be combined."""
        found = self.catalogue.independent(method_id)
        if found is None:
            return
        experiment, says = self.experiment, f"methods lists {method_id}"
        if set(experiment.combinations) <= {"weight"}:
            self._add(
                f"{says}, of which only outputs can be combined, but combinations is weight; add "
                "output to it"
            )
        if found.baseline is None:
            self._model("methods", found.model, f"{says} of {found.model}")
            if found.model in experiment.models:
                self._add(
                    f"{says}, which is {found.model}, but models lists that too; remove one of them"
                )
            return
        there = experiment.baselines
        known = there is not None and (
            there.model == found.model
            and found.baseline in there.methods
            and set(experiment.seeds) <= set(there.seeds)
        )
        if not known:
            self._add(
                f"{says}, which is the baseline {found.baseline} of {found.model}, but baselines "
                "must then list it, with every seed of seeds"
            )

    def _model_needs(self, name: str) -> None:
        """Check that what a model refers to exists."""
        try:
            entry, _ = self.catalogue.model(name)
        except WiseftError:
            return  # reported already
        for key in ("architecture", "label_map"):
            file = getattr(entry, key) or ""
            path = self.catalogue.folder / "models" / file
            if file.endswith(".json") and not path.is_file():
                self._add(f"models lists {name}, whose {key} {path} does not exist")
        if entry.names_of is not None:
            self._names_of(name, entry.names_of)
        for package in entry.pretrain.font_packages if entry.pretrain else []:
            self._get(
                f"models ({entry.name}: pretrain.font_packages)",
                partial(self.catalogue.package, package),
            )

    def _names_of(self, model: str, dataset: str) -> None:
        """Check that a model's prompts can take the class names of a dataset."""
        entry = self.found.get(dataset)
        mapped = entry.label_map.reference if entry and entry.label_map else None
        reference = self.found.get(self.experiment.reference)
        if reference and mapped != reference.bare_name:
            self._add(
                f"models lists {model}, whose prompts take the class names of {dataset}, but that "
                f"must be one of datasets, with a label_map to the reference {reference.bare_name}"
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
