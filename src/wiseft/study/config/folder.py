"""All entries of a project's `config/` folder, each read, and checked by itself, when asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from wiseft.base.loading import load_entry
from wiseft.base.typed import LIMIT_SUFFIX_PATTERN, SEED_SUFFIX_PATTERN
from wiseft.base.validation import suggest
from wiseft.errors import WiseftError
from wiseft.study.config.datasets import DatasetEntry
from wiseft.study.config.entries import ModelEntry, PackageEntry, Packages, PromptsEntry
from wiseft.study.config.experiment import ExperimentEntry
from wiseft.study.config.methods import FinetuneSettings, IndependentModel, MethodEntry
from wiseft.study.config.training_parts import MergedModel

E = TypeVar("E", bound=BaseModel)


class UnknownName(WiseftError):
    """A name that no entry has."""


def located(error: WiseftError, source: str, key: str) -> str:
    """Return what is wrong with an entry that a key names; an error of its file names that one."""
    return f"{source}: key `{key}`: {error}" if isinstance(error, UnknownName) else str(error)


def require_clone(root: Path) -> Path:
    """Return a project's root.

    Raises:
        WiseftError: if it holds no configuration, which the installed package does not bring.
    """
    if not (root / "config").is_dir():
        raise WiseftError(
            f"{root.resolve()} has no folder config. Experiments, datasets and models are in a "
            "clone of the repository, not in the installed package: run the command in a clone, or "
            "name one with --root"
        )
    return root


class ConfigFolder:
    """Entries by name, read lazily and kept.

    Args:
        root: the project's root, the folder that holds `config/`.
    """

    def __init__(self, root: Path | str = ".") -> None:
        self.root = Path(root)
        self.folder = self.root / "config"
        self._entries: dict[tuple[str, str], BaseModel] = {}
        self._settings: dict[str, FinetuneSettings] = {}
        self._packages: dict[str, PackageEntry] | None = None

    def names(self, kind: str) -> list[str]:
        """Return the names of all entries of a kind: datasets, prompts, models, methods or
        experiments.
        """
        return sorted(path.stem for path in (self.folder / kind).glob("*.yaml"))

    def dataset(self, name: str) -> DatasetEntry:
        """Return a dataset; behind `-limit<N>` of its name, a preview of N samples a split.

        Raises:
            WiseftError: if it is unknown or its file is wrong.
        """
        match = re.search(LIMIT_SUFFIX_PATTERN, name)
        if match is None or ("datasets", name) in self._entries:
            return self._entry("datasets", "dataset", DatasetEntry, name)
        bare, names = name[: match.start()], self.names("datasets")
        if name in names:
            raise WiseftError(
                f"{self.folder / 'datasets' / name}.yaml: a dataset's name must not end in "
                "-limit<number>, which marks a preview; rename the file and its key `name`"
            )
        if bare not in names:
            raise UnknownName(
                f"unknown dataset {bare} in {name}, which names a preview of {match[1]} samples a "
                f"split; {suggest(bare, names)}"
            )
        entry = self._entry("datasets", "dataset", DatasetEntry, bare)
        self._entries["datasets", name] = preview = _preview(entry, name, int(match[1]))
        return preview

    def prompts(self, name: str) -> PromptsEntry:
        """Return a prompt set. Raises WiseftError if it is unknown or its file is wrong."""
        return self._entry("prompts", "prompt set", PromptsEntry, name)

    def method(self, name: str) -> MethodEntry:
        """Return a method with its variants. Raises WiseftError if it is unknown or its file is
        wrong.
        """
        return self._entry("methods", "method", MethodEntry, name)

    def model(self, name: str) -> tuple[ModelEntry, int | None]:
        """Return a model's entry and its pre-training seed.

        The seed is None for a bare entry name, which a from-scratch baseline and a model with
        `source: file` carry.

        Raises:
            WiseftError: if there is no such entry, or the name has a seed and the model has none.
        """
        match = re.search(SEED_SUFFIX_PATTERN, name)
        bare = name[: match.start()] if match else name
        # Looked up for every job of a workflow: no folder is listed for what is known.
        if ("models", bare) not in self._entries and bare not in (names := self.names("models")):
            raise UnknownName(
                f"unknown model {name}; {suggest(bare, names)} "
                "(a model that is pre-trained here has -s<seed> behind its entry's name)"
            )
        entry = self._entry("models", "model", ModelEntry, bare)
        if match and entry.source != "pretrain":
            raise UnknownName(
                f"model {name} has a pre-training seed, but {bare} is not pre-trained here; write "
                f"{bare}"
            )
        return entry, int(match[1]) if match else None

    def architecture_path(self, entry: ModelEntry) -> Path:
        """Return the file with the open_clip model configuration of a model.

        Raises:
            WiseftError: if the entry names none: its architecture comes with its weights.
        """
        if entry.architecture is None or not entry.architecture.endswith(".json"):
            raise WiseftError(
                f"{self.folder / 'models' / entry.name}.yaml: architecture is "
                f"{entry.architecture}, but training from random weights needs a file that ends "
                "in .json"
            )
        return self.folder / "models" / entry.architecture

    def method_settings(self, method_id: str) -> FinetuneSettings:
        """Return the settings behind `<method>` or `<method>__<variant>`; those of the models that
        are merged where it trains nothing.

        Raises:
            WiseftError: if there is no such method or variant; names the nearest.
        """
        if method_id in self._settings:
            return self._settings[method_id]
        name, separator, variant = method_id.partition("__")
        entry = self.method(name)
        apart = [*entry.independent, *entry.merged]
        known = [*entry.variants, *apart]
        if separator and variant not in known:
            raise UnknownName(f"method {name} has no variant {variant}; {suggest(variant, known)}")
        if apart and not separator:
            raise UnknownName(
                f"method {name} trains nothing; say which model it combines: "
                f"{', '.join(f'{name}__{other}' for other in apart)}"
            )
        if merged := entry.merged.get(variant):
            self._settings[method_id] = self._ingredients(method_id, merged)
        else:
            self._settings[method_id] = entry.resolve(variant if separator else None)
        return self._settings[method_id]

    def checkpoint(self, method_id: str) -> str | None:
        """Return the checkpoint that a method brings in place of training; None for training."""
        return self.method(method_id.partition("__")[0]).checkpoint

    def independent(self, method_id: str) -> IndependentModel | None:
        """Return the classifier that a method combines in place of training; None for training."""
        name, _, variant = method_id.partition("__")
        return self.method(name).independent.get(variant)

    def merged(self, method_id: str) -> MergedModel | None:
        """Return what a method makes of fine-tuned models in place of training; None for none."""
        name, _, variant = method_id.partition("__")
        return self.method(name).merged.get(variant)

    def _ingredients(self, method_id: str, merged: MergedModel) -> FinetuneSettings:
        """Return the settings of the models that are merged."""
        try:
            if self.merged(merged.of) or self.independent(merged.of):
                raise UnknownName(f"{merged.of} trains nothing; name a method that does")
            return self.method_settings(merged.of)
        except UnknownName as error:
            raise UnknownName(f"method {method_id} is made of others: {error}") from None

    def packages(self) -> dict[str, PackageEntry]:
        """Return the packages that carry data, by their key."""
        if self._packages is None:
            path = self.folder / "packages.yaml"
            self._packages = load_entry(Packages, path, "list of packages").packages
        return self._packages

    def package(self, key: str) -> PackageEntry:
        """Return one package. Raises WiseftError if there is none under that key."""
        packages = self.packages()
        if key not in packages:
            raise UnknownName(f"unknown package {key}; {suggest(key, packages)}")
        return packages[key]

    def experiment_entry(self, name: str) -> ExperimentEntry:
        """Return an experiment that was checked by itself only. Raises WiseftError."""
        return self._entry("experiments", "experiment", ExperimentEntry, name)

    def dataset_closure(self, names: Iterable[str]) -> list[str]:
        """Return datasets with all they are rendered from, each behind what it depends on.

        Raises:
            WiseftError: if a dataset is unknown, or datasets depend on each other in a circle.
        """
        done: list[str] = []

        def visit(name: str, chain: tuple[str, ...]) -> None:
            if name in chain:
                path = self.folder / "datasets" / f"{name}.yaml"
                circle = " -> ".join((*chain, name))
                raise WiseftError(
                    f"{path}: key `depends` leads in a circle: {circle}; remove one of them"
                )
            if name not in done:
                for parent in self.dataset(name).depends:
                    visit(parent, (*chain, name))
                done.append(name)

        for name in names:
            visit(name, ())
        return done

    def suites(self, datasets: Iterable[str]) -> dict[str, list[str]]:
        """Return datasets by the suite that one evaluate job covers, in the given order."""
        suites: dict[str, list[str]] = {}
        for name in datasets:
            suites.setdefault(self.dataset(name).suite_name, []).append(name)
        return suites

    def _entry(self, kind: str, what: str, model: type[E], name: str) -> E:
        if (kind, name) not in self._entries:
            if name not in self.names(kind):
                raise UnknownName(
                    f"unknown {what} {name}; {suggest(name, self.names(kind))} "
                    f"(one file in {self.folder / kind} is one {what})"
                )
            path = self.folder / kind / f"{name}.yaml"
            entry = load_entry(model, path, what)
            key = "experiment" if kind == "experiments" else "name"
            if getattr(entry, key) != name:
                raise WiseftError(
                    f"{path}: key `{key}` is {getattr(entry, key)}, but must be {name}, as the "
                    "file is called"
                )
            self._entries[kind, name] = entry
        known = self._entries[kind, name]
        assert isinstance(known, model)
        return known


def _preview(entry: DatasetEntry, name: str, limit: int) -> DatasetEntry:
    """Return the entry of a preview: a dataset of its own, cut from the whole one."""
    changes = {
        "name": name,
        "title": f"{entry.title} (limit {limit})",
        "limit": limit,
        "depends": [entry.name],
        "packages": [],
        "splits": {split: min(limit, n) for split, n in entry.splits.items()},
    }
    return entry.model_copy(update=changes)
