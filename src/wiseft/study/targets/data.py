"""What an experiment needs of the data: datasets, splits of them, files, caches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from wiseft.base.io import sha256_json
from wiseft.base.stages import VERSION
from wiseft.errors import WiseftError
from wiseft.study.config import DatasetEntry, SourceFile, paths
from wiseft.study.config.machine import DatasetPlaces
from wiseft.study.data.fetching.entry_files import absent_files, mirrored, missing_files, user_root
from wiseft.study.targets.runs import Runs

_CONTENT = {"name", "layout", "builder", "root", "class_names", "splits", "options"}
STORED = frozenset({"arrays", "array-files", "cifar"})
"""Layouts whose images become arrays of the prepared dataset; those of others stay files."""
_CONTENT_IF_GIVEN = {"files", "class_ids", "label_map", "held_out", "border", "limit"}


class Data:
    """The datasets of an experiment, and what is needed of them.

    Attributes:
        places: where datasets lie.
        folder: that prepared ones are written to.
        entries: all datasets by name, each behind those that it is made from.
        prepared: those that are prepared: none where published numbers are all there is, and none
            of which only a part is there.
        filed: those that are read from files of their own.
        built: those that are built from packages or cut from other datasets.
        suites: the evaluated ones by the suite that one job covers.
        evaluations: the same with every kept dataset by itself.
        fetched_prompts: prompt sets that are downloaded, by name.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._catalogue = catalogue = runs.catalogue
        self._experiment = runs.experiment
        self.places = runs.settings.datasets
        self.folder = self.places.folder
        keep = self._experiment.keep
        names = catalogue.dataset_closure([*self._experiment.datasets, *keep])
        self.entries = {name: catalogue.dataset(name) for name in names}
        needed = [] if runs.published_only else names
        entries = [self.entries[name] for name in needed]
        self.prepared = [name for name in needed if name not in self.places.part]
        self.filed = [e.name for e in entries if e.layout != "arrays" and e.limit is None]
        self.built = [name for name in self.prepared if name not in self.filed]
        self.suites = catalogue.suites(self._experiment.datasets)
        self.evaluations = {**self.suites, **{f"kept-{name}": [name] for name in keep}}
        prompts = [catalogue.prompts(entry.prompts) for entry in entries]
        self.fetched_prompts = {p.name: p for p in prompts if p.file is not None}

    @cached_property
    def package_keys(self) -> dict[str, str]:
        """The key of every package in config/packages.yaml, by the file that is fetched."""
        return {package.file: key for key, package in self._catalogue.packages().items()}

    def likes(self, names: Iterable[str]) -> list[str]:
        """Return the datasets whose classes references are seen through: those mapped from them."""
        mapped = {name: self.entries[name].label_map for name in self._experiment.datasets}
        references = [self.entries[name].bare_name for name in names]
        return [n for of in references for n, to in mapped.items() if to and to.reference == of]

    def keeps(self, dataset: str) -> bool:
        """Whether a dataset is a kept one."""
        return dataset in self._experiment.keep

    def evaluated_splits(self, entry: DatasetEntry) -> list[str]:
        """Return the splits that are evaluated: the reported one alone where nothing is trained."""
        alone = self._experiment.zero_shot_only
        return [self._experiment.test_split] if alone else entry.evaluate

    def splits(self, dataset: str) -> list[str]:
        """Return the splits that are needed of a dataset; only their files are fetched."""
        entry, runs = self.entries[dataset], self._runs.runs
        if self._experiment.samples and not runs:
            return [self._experiment.test_split]
        children = [e for e in self.entries.values() if dataset in e.depends]
        if not runs or any(child.limit is None for child in children):
            return list(entry.splits)
        needed = {split for child in children for split in self.splits(child.name)}
        if dataset in [*self._experiment.datasets, *self._experiment.keep]:
            needed |= set(self.evaluated_splits(entry))
        if dataset == self._runs.reference and not self._experiment.zero_shot_only:
            needed |= {"train", *(["held-out"] if self._runs.trained_on_held_out else [])}
        return [split for split in entry.splits if split in needed]

    def of_part(self, dataset: str) -> bool:
        """Whether a dataset is a preview of one of which a part is there."""
        entry = self.entries[dataset]
        return entry.limit is not None and entry.bare_name in self.places.part

    def depends(self, dataset: str) -> list[str]:
        """Return the prepared datasets that a dataset is rendered or cut from."""
        return [] if self.of_part(dataset) else list(self.entries[dataset].depends)

    def made_from(self, dataset: str) -> list[Path]:
        """Return their manifests; of a preview of a part, the record of the files."""
        if self.of_part(dataset):
            return [paths.fetched_path(self.entries[dataset].bare_name, self.folder)]
        return self.manifests(self.depends(dataset))

    def manifests(self, names: Iterable[str]) -> list[Path]:
        """Return the manifests of datasets."""
        return [paths.manifest_path(name, self.folder) for name in names]

    def split_files(self, dataset: str, named: str | None = None) -> list[Path]:
        """Return the files of splits that preparing a dataset writes before its manifest.

        Not among them: unpacked archives, which may be all that there is of a dataset.

        Args:
            named: stands for the dataset's name in paths, such as `{dataset}`.
        """
        entry = self.entries[dataset]
        whole = entry.bare_name  # of a preview, the dataset that it is cut from
        splits = self.splits(whole) if whole in self.filed else self.entries[whole].splits
        files = ["index.parquet"]
        if entry.layout in STORED:
            files.append("images.npy")
        elif dataset in self.filed or self.of_part(dataset):
            files.append("index.json")
        folder = paths.dataset_folder(named or dataset, self.folder)
        return [folder / split / file for split in splits for file in files]

    def cache_files(self, record: Path, dataset: str | None = None) -> list[Path]:
        """Return the decoded images of a cache, which are written before its record.

        Args:
            dataset: whose cache it is, where the path has a wildcard in its place.
        """
        entry = self.entries[dataset or record.parents[1].name]
        return [record.with_name(f"{split}.npy") for split in entry.evaluate]

    @property
    def cached(self) -> list[str]:
        """The datasets of image files that are decoded once."""
        return [name for name in self.filed if name in self.places.cache]

    def packages(self, keys: Iterable[str]) -> list[Path]:
        """Return the files of packages, given their keys in config/packages.yaml."""
        files = (self._catalogue.package(key).file for key in keys)
        return [paths.package_path(file, self.folder) for file in files]

    def prompts(self, dataset: str) -> list[Path]:
        """Return the fetched prompt set of a dataset; none where it is in the catalogue."""
        name = self.entries[dataset].prompts
        return [paths.prompts_path(name, self.folder)] if name in self.fetched_prompts else []

    def prompt_files(self) -> list[Path]:
        """Return all prompt sets that are fetched."""
        return [paths.prompts_path(name, self.folder) for name in self.fetched_prompts]

    def glyphs(self, entry: str) -> Path:
        """Return the glyph masks that a model's entry is pre-trained on."""
        return paths.glyphs_folder(entry, self.folder) / "glyphs.safetensors"

    def caches(self, models: Iterable[str], datasets: Iterable[str]) -> list[Path]:
        """Return the decoded caches that an evaluation reads, after the transform of each model."""
        pixels = [self._runs.entry(model).preprocessing for model in models]
        transforms = dict.fromkeys(each.transform.name for each in pixels)
        cached = [name for name in datasets if name in self.cached]
        return [paths.cache_path(name, size, self.folder) for name in cached for size in transforms]

    def content(self, *names: str) -> str:
        """Return a hash of all that the images, ids, labels and class names of datasets depend on.

        It is a parameter of whatever is made from them: their manifests alone would not do, because
        a change whose preparation fails leaves none, and then no input is newer than the results.
        """
        entries = [self.entries[name] for name in self._catalogue.dataset_closure(names)]
        content = [
            {
                **entry.model_dump(mode="json", include=_CONTENT),
                **entry.model_dump(mode="json", include=_CONTENT_IF_GIVEN, exclude_defaults=True),
            }
            for entry in entries
        ]
        sources = [self._catalogue.package(key).sha256 for e in entries for key in e.packages]
        return sha256_json([VERSION["data"], content, sources])[:16]

    def checksums(self, dataset: str) -> str:
        """Return a hash of what is published of a dataset's files."""
        files = self.entries[dataset].files
        listed = [file.model_dump(mode="json", exclude={"urls", "how"}) for file in files]
        return sha256_json(listed)[:16]

    def missing(self) -> list[str]:
        """Return a sentence for every file that only the user can bring and that is not there."""
        return [
            sentence
            for name in self._unprepared(self.filed)
            for sentence in missing_files(self.entries[name], self._here(), self.splits(name))
        ]

    def absent_files(self) -> dict[str, list[SourceFile]]:
        """Return the files that are not there, by the missing dataset that needs them."""
        absent = {}
        for name in self._unprepared(self.filed):
            with contextlib.suppress(WiseftError):  # no folder there, which `missing` names
                absent[name] = absent_files(self.entries[name], self._here(), self.splits(name))
        return absent

    def not_travelling(self) -> list[str]:
        """Return a sentence for every dataset whose image files are handed to no job: they are read
        where they lie, so only a folder of the user's is seen by all machines.
        """
        return [
            f"dataset {name} is read from files, which stay where they are when the files of jobs "
            "go through a storage provider: name the folder of your unpacked copy, one that all "
            f"machines see, under `datasets.paths.{self.entries[name].bare_name}` in "
            "config/config.yaml"
            for name in self.filed
            if user_root(self.entries[name], self._here()) is None
        ]

    def part_problems(self) -> list[str]:
        """Return a sentence for every dataset of `datasets.part` that cannot be used like that."""
        part = [] if self._runs.published_only else self.places.part
        whole = {base: e.name for e in self.entries.values() if not e.limit for base in e.depends}
        whole |= dict.fromkeys(
            [*self._experiment.datasets, *self._experiment.keep], "the experiment"
        )
        problems = []
        for name in [name for name in self.entries if name in part]:
            listed = f"datasets.part in config/config.yaml lists {name}, but"
            if name in whole:
                problems.append(
                    f"{listed} {whole[name]} uses all of it; name {name}-limit<N> there"
                )
            elif name not in self.filed or user_root(self.entries[name], self._here()) is None:
                problems.append(f"{listed} no folder of yours holds it; see `datasets.paths`")
        return problems

    def files_to_fetch(self) -> list[SourceFile]:
        """Return the files that have an address, are not there, and something missing needs."""
        absent = self.absent_files().items()
        return [file for name, files in absent for file in files if mirrored(name, file)]

    def images_to_come(self) -> list[str]:
        """Return the datasets that are neither prepared nor in a folder of the user's own."""
        found = []
        for name in self._unprepared(self.prepared):
            with contextlib.suppress(WiseftError):
                if user_root(self.entries[name], self._here()) is None:
                    found.append(name)
        return found

    def packages_to_fetch(self) -> list[str]:
        """Return the keys of the packages that are not there and that something missing needs."""
        keys = [k for name in self._unprepared(self.built) for k in self.entries[name].packages]
        for model in self._runs.models:
            if not self.there(paths.weights_path(model)):
                keys += self.model_packages(model)
        return [key for key in dict.fromkeys(keys) if not self.there(*self.packages([key]))]

    def model_packages(self, model: str) -> list[str]:
        """Return the keys of the packages that a model is made from: with the typefaces that it is
        pre-trained on, or with its weights.
        """
        entry = self._runs.entry(model)
        weights = [entry.package.key] if entry.package else []
        return entry.pretrain.font_packages if entry.pretrain else weights

    def there(self, path: Path | str) -> bool:
        """Whether a file of the project is there."""
        return (self._catalogue.root / path).is_file()

    def _unprepared(self, names: Iterable[str]) -> list[str]:
        return [n for n in names if not self.there(paths.manifest_path(n, self.folder))]

    def _here(self) -> DatasetPlaces:
        return self.places.model_copy(update={"folder": str(self._catalogue.root / self.folder)})
