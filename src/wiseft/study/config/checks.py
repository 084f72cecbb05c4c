"""Checks of an experiment against the entries it names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from wiseft.errors import WiseftError
from wiseft.study.config.dataset_checks import dataset_problems
from wiseft.study.config.datasets import DatasetEntry
from wiseft.study.config.entries import ModelEntry
from wiseft.study.config.experiment import ExperimentEntry
from wiseft.study.config.folder import ConfigFolder, located

T = TypeVar("T")


def experiment_problems(experiment: ExperimentEntry, catalogue: ConfigFolder) -> list[str]:
    """Return a sentence for every problem of an experiment; none if all it names fits."""
    source = catalogue.folder / "experiments" / f"{experiment.experiment}.yaml"
    check = _Check(experiment, catalogue, str(source))
    check.check_datasets()
    check.check_models()
    check.check_methods()
    return check.problems


class _Check:
    """Collects problems; an unknown name is reported with the key that gives it."""

    def __init__(self, experiment: ExperimentEntry, catalogue: ConfigFolder, source: str) -> None:
        self.experiment = experiment
        self.catalogue = catalogue
        self.source = source
        self.problems: list[str] = []
        self.entries = self._all("datasets", experiment.datasets, catalogue.dataset)
        self.kept = self._all("keep", experiment.keep, catalogue.dataset)
        self.models = self._all("models", experiment.models, catalogue.model)

    def check_datasets(self) -> None:
        """Check that the datasets exist, are evaluated on the splits, and have classes that the
        reference's head predicts.
        """
        experiment = self.experiment
        reference = self.entries.get(experiment.reference)
        for name, entry in {**self.entries, **self.kept}.items():
            for problem in dataset_problems(entry, self.catalogue):
                self._append(problem)
            if experiment.test_split not in entry.evaluate:
                self._add(
                    f"test_split is {experiment.test_split}, but dataset {name} evaluates only "
                    f"{', '.join(entry.evaluate)}"
                )
            if reference and not experiment.data_only and name not in self.kept:
                self._classes(entry, reference)
        if reference and not experiment.data_only and "train" not in reference.splits:
            self._add(
                f"reference is {experiment.reference}, whose splits are "
                f"{', '.join(reference.splits)}, but it must have a split train"
            )
        for key in ("held_out", "reference_split"):
            role = getattr(experiment, key)
            of = self.entries.get(getattr(role, "dataset", experiment.reference))
            if role and of and role.split not in of.evaluate:
                self._add(
                    f"{key}.split is {role.split}, but must be one of the evaluated splits of "
                    f"{of.name}: {', '.join(of.evaluate)}"
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

    def check_models(self) -> None:
        """Check that models can be made, and their text towers make the heads of kept datasets."""
        for name, (entry, seed) in self.models.items():
            self._model(name, entry, seed, f"models lists {name}")
            if self.kept and (entry.source == "timm" or entry.calibrate or entry.names_of):
                self._add(
                    f"keep lists {', '.join(self.kept)}, whose heads are made of prompts alone, "
                    f"but models lists {name}, which has no text tower, or takes images or names "
                    "of another dataset for its head; remove one of them"
                )
        if baselines := self.experiment.baselines:
            model = self._get("baselines.model", partial(self.catalogue.model, baselines.model))
            if model and model[1] is not None:
                self._add(
                    f"baselines.model is {baselines.model}, but must be the bare entry "
                    f"{model[0].name}, because no pre-trained weights are used"
                )

    def _model(self, name: str, entry: ModelEntry, seed: int | None, says: str) -> None:
        """Check that a model can be made into a theta_0: it has a pre-training seed exactly where
        it is pre-trained here, and what it refers to exists.
        """
        if entry.source == "pretrain" and seed is None:
            self._add(f"{says}, which is pre-trained here, but must then have a seed: {name}-s0")
        for referring in ("architecture", "label_map"):
            file = getattr(entry, referring) or ""
            path = self.catalogue.folder / "models" / file
            if file.endswith(".json") and not path.is_file():
                self._add(f"models lists {name}, whose {referring} {path} does not exist")
        if entry.names_of is not None:
            self._names_of(name, entry.names_of)
        fonts = entry.pretrain.font_packages if entry.pretrain else []
        needed = [("pretrain.font_packages", key) for key in fonts]
        needed += [("package.key", entry.package.key)] if entry.package else []
        for referring, key in needed:
            where = f"models ({entry.name}: {referring})"
            self._get(where, partial(self.catalogue.package, key))

    def check_methods(self) -> None:
        """Check that methods exist, and start where their place in the experiment demands."""
        for method_id in self.experiment.methods:
            if self._method("methods", method_id, "zero-shot"):
                self._independent(method_id)
                self._merged(method_id)
                self._searches(method_id)
        for method_id in self.experiment.baselines.methods if self.experiment.baselines else []:
            self._method("baselines.methods", method_id, "random")

    def _method(self, key: str, method_id: str, init: str) -> bool:
        """Check a method by itself; return whether it exists."""
        settings = self._get(key, partial(self.catalogue.method_settings, method_id))
        if settings is None:
            return False
        if settings.init != init:
            self._add(
                f"{key} lists {method_id}, which has init: {settings.init}, but must list only "
                f"methods with init: {init}"
            )
        for name, (model, _) in self.models.items():
            if settings.lipsum and model.source in ("align", "timm"):
                self._add(
                    f"{key} lists {method_id}, which has lipsum, but {name} has no text tower that "
                    "reads CLIP's tokens; leave one of them out"
                )
        reference = self.experiment.reference
        entry = self.entries.get(reference)  # an unknown one is reported already
        available = entry.splits.get("train") if entry else None
        if entry and settings.train_on_held_out and "held-out" not in entry.splits:
            self._add(
                f"{key} lists {method_id}, which has train_on_held_out, but {reference} has no "
                "split held-out"
            )
        if available and settings.train_samples and settings.train_samples > available:
            self._add(
                f"{key} lists {method_id}, which has train_samples: {settings.train_samples}, but "
                f"the train split of {reference} holds only {available}"
            )
        return True

    def _searches(self, method_id: str) -> None:
        """Check that the searches are run whose settings a method takes."""
        experiment, merged = self.experiment, self.catalogue.merged(method_id)
        trained = merged.of if merged else method_id
        needed = (merged and merged.seeds) or experiment.seeds_of(method_id)
        for variant in self.catalogue.method_settings(method_id).from_search:
            search = f"{trained.partition('__')[0]}__{variant}"
            seeds = set(needed) - set(experiment.seeds_of(search))
            listed = search in experiment.methods and self.catalogue.method_settings(search).search
            if not listed or seeds:
                self._add(
                    f"methods lists {method_id}, whose settings are those that {search} found; "
                    "list that too, with the same seeds"
                )

    def _independent(self, method_id: str) -> None:
        """Check that a model that is only combined, not trained from, is there to be combined."""
        other = self.catalogue.independent(method_id)
        if other is None:
            return
        experiment, says = self.experiment, f"methods lists {method_id}"
        if set(experiment.combinations) <= {"weight"}:
            self._add(
                f"{says}, of which only outputs can be combined, but combinations is weight; add "
                "output to it"
            )
        if other.baseline is None:
            if model := self._get("methods", partial(self.catalogue.model, other.model)):
                self._model(other.model, *model, f"{says} of {other.model}")
            if other.model in experiment.models:
                self._add(
                    f"{says}, which is {other.model}, but models lists that too; remove one of them"
                )
            return
        baselines = experiment.baselines
        if (
            baselines is None
            or baselines.model != other.model
            or other.baseline not in baselines.methods
            or not set(experiment.seeds_of(method_id)) <= set(baselines.seeds)
        ):
            self._add(
                f"{says}, which is the baseline {other.baseline} of {other.model}, but baselines "
                f"must then list it, with every seed of {method_id}"
            )

    def _merged(self, method_id: str) -> None:
        """Check that a model that is made of several seeds is one run."""
        merged, seeds = self.catalogue.merged(method_id), self.experiment.seeds_of(method_id)
        if merged and merged.seeds and len(seeds) > 1:
            self._add(
                f"methods lists {method_id}, which is one model, made of the seeds "
                f"{', '.join(map(str, merged.seeds))}, but it would be made {len(seeds)} times; "
                f"write method_seeds: {{{method_id}: [{seeds[0]}]}}"
            )

    def _names_of(self, model: str, dataset: str) -> None:
        """Check that a model's prompts can take the class names of a dataset."""
        entry = self.entries.get(dataset)
        mapped = entry.label_map.reference if entry and entry.label_map else None
        reference = self.entries.get(self.experiment.reference)
        if reference and mapped != reference.bare_name:
            self._add(
                f"models lists {model}, whose prompts take the class names of {dataset}, but that "
                f"must be one of datasets, with a label_map to the reference {reference.bare_name}"
            )

    def _add(self, problem: str) -> None:
        self._append(f"{self.source}: {problem}")

    def _all(self, key: str, names: Iterable[str], read: Callable[[str], T]) -> dict[str, T]:
        """Return the entries that there are of those that a key lists."""
        return {n: entry for n in names if (entry := self._get(key, partial(read, n))) is not None}

    def _get(self, key: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except WiseftError as error:
            self._append(located(error, self.source, key))
        return None

    def _append(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)
