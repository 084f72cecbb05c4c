"""What is installed, what is there, and what an experiment still misses and roughly needs.

Nothing here fails on something that is missing: that is what it reports.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wiseft.config import (
    Catalogue,
    Config,
    DatasetEntry,
    ExperimentEntry,
    Run,
    SourceFile,
    experiment_runs,
    load_config,
    model_names,
    paths,
    trains,
)
from wiseft.data.fetching.sources import missing_files
from wiseft.errors import WiseftError
from wiseft.provenance import git_commit, versions

LIBRARIES = ("snakemake", "dvc", "pandas", "pyarrow", "scipy", "scikit-learn", "matplotlib")
"""Libraries shown beside those that the provenance of every artifact names."""

MB, GB = 1_000_000, 1_000_000_000


def examine(root: Path, experiment: str | None = None) -> dict[str, Any]:
    """Return findings as plain data: `software`, `machine`, `present`, `experiment`, `problems`.

    Args:
        root: the project's root, which holds `config/`.
        experiment: name of the experiment; None for the configuration's.
    """
    problems: list[str] = []
    catalogue = Catalogue(root)
    try:
        overrides = {"experiment": experiment} if experiment else None
        config = load_config(catalogue.folder / "config.yaml", overrides)
    except WiseftError as error:
        problems += str(error).split("\n")
        config = Config.model_validate({"experiment": experiment} if experiment else {})
    entry: ExperimentEntry | None = None
    try:
        entry = catalogue.experiment(config.experiment)
    except WiseftError as error:
        problems += str(error).split("\n")
    return {
        "software": _software(),
        "machine": _machine(root),
        "present": _present(catalogue, config, problems),
        "experiment": _experiment(catalogue, config, entry) if entry else None,
        "problems": list(dict.fromkeys(problems)),
    }


# ------------------------------------------------------------------------------------ the machine


def _software() -> dict[str, str]:
    found = dict(versions())
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return {**found, "commit": git_commit()}


def _machine(root: Path) -> dict[str, Any]:
    gpus, note = _gpus()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": cores,
        "memory_gb": _memory_gb(),
        "free_disk_gb": _free_disk_gb(root),
        "gpus": gpus,
        "gpu_note": note,
    }


def _gpus() -> tuple[list[str], str]:
    """Return the names of the GPUs, and why there are none."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library that torch needs is missing
        return [], f"torch cannot be imported ({error})"
    if not torch.cuda.is_available():
        return [], "torch sees none: models run on the CPU"
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())], ""


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB, 1)
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return None


def _free_disk_gb(root: Path) -> float | None:
    try:
        return round(shutil.disk_usage(root).free / GB, 1)
    except OSError:
        return None


# ------------------------------------------------------------------------------------ the artifacts


def _present(catalogue: Catalogue, config: Config, problems: list[str]) -> dict[str, Any]:
    """Return which datasets, packages and zero-shot weights of the whole catalogue are there."""
    root, datasets_root = catalogue.root, config.datasets.folder
    try:
        packages = catalogue.packages()
    except WiseftError as error:
        problems += str(error).split("\n")
        packages = {}
    weights = sorted((root / paths.DATA / "models").glob("*/weights.safetensors"))
    return {
        "datasets": {
            name: (root / paths.manifest_path(name, datasets_root)).is_file()
            for name in catalogue.names("datasets")
        },
        "packages": {
            key: (root / paths.package_path(package.file, datasets_root)).is_file()
            for key, package in packages.items()
        },
        "weights": [path.parent.name for path in weights],
    }


def _experiment(catalogue: Catalogue, config: Config, entry: ExperimentEntry) -> dict[str, Any]:
    root, datasets_root = catalogue.root, config.datasets.folder
    missing = {
        what: {
            "missing": sum(not (root / path).is_file() for path in expected),
            "of": len(expected),
        }
        for what, expected in wanted_files(catalogue, entry, datasets_root).items()
    }
    download = _packages_to_fetch(catalogue, entry, datasets_root)
    size = sum(catalogue.package(key).size for key in download)
    files = _files_to_fetch(catalogue, config, entry)
    size += sum(file.size or 0 for file in files)
    return {
        "name": entry.experiment,
        "title": entry.title,
        "missing": missing,
        "download": download,
        "files": [file.file for file in files],
        "bring": _files_to_bring(catalogue, config, entry),
        "needs": {"download_mb": round(size / MB, 1), **entry.estimate.model_dump()},
    }


def _needed(entry: ExperimentEntry) -> list[str]:
    """Return the datasets that are made; those that published numbers are about are only named."""
    return [] if entry.data_only and entry.published else entry.datasets


def _splits(entry: ExperimentEntry, dataset: DatasetEntry) -> Iterable[str]:
    """Return the splits of a dataset whose files are needed."""
    return [entry.test_split] if entry.zero_shot_only else dataset.splits


def _files_to_bring(catalogue: Catalogue, config: Config, entry: ExperimentEntry) -> list[str]:
    """Return a sentence for every file of the experiment's datasets that only the user has."""
    sentences: list[str] = []
    for name in catalogue.dataset_closure(_needed(entry)):
        dataset = catalogue.dataset(name)
        prepared = catalogue.root / paths.manifest_path(name, config.datasets.folder)
        if dataset.layout != "arrays" and dataset.limit is None and not prepared.is_file():
            sentences += missing_files(dataset, config.datasets, _splits(entry, dataset))
    return sentences


def _files_to_fetch(
    catalogue: Catalogue, config: Config, entry: ExperimentEntry
) -> list[SourceFile]:
    """Return the files of the experiment's datasets that are absent and have an address."""
    folder = catalogue.root / config.datasets.folder
    files: list[SourceFile] = []
    for name in catalogue.dataset_closure(_needed(entry)):
        dataset = catalogue.dataset(name)
        archives = paths.archives_folder(dataset.archives or name, folder)
        own = name in config.datasets.paths or dataset.root is not None
        if not own and not paths.manifest_path(name, folder).is_file():
            wanted = {f.file: f for s in _splits(entry, dataset) for f in dataset.files_of(s)}
            files += [f for n, f in wanted.items() if f.urls and not (archives / n).is_file()]
    return files


def _packages_to_fetch(
    catalogue: Catalogue, entry: ExperimentEntry, datasets_root: str
) -> list[str]:
    """Return the keys of the packages that are absent and that something missing is made from."""
    root = catalogue.root
    keys: list[str] = []
    for dataset in catalogue.dataset_closure(_needed(entry)):
        if not (root / paths.manifest_path(dataset, datasets_root)).is_file():
            keys += catalogue.dataset(dataset).packages
    for name in model_names(entry, catalogue):
        pretrain = catalogue.model(name)[0].pretrain
        if pretrain and not (root / paths.weights_path(name)).is_file():
            keys += pretrain.font_packages
    return [
        key
        for key in dict.fromkeys(keys)
        if not (root / paths.package_path(catalogue.package(key).file, datasets_root)).is_file()
    ]


def wanted_files(
    catalogue: Catalogue, entry: ExperimentEntry, datasets_root: str
) -> dict[str, list[Path]]:
    """Return the files of every kind of artifact that the experiment is made of, in that order."""
    runs = experiment_runs(entry)
    name, reference = entry.experiment, entry.reference
    models = model_names(entry, catalogue)
    return {
        "datasets": [
            paths.manifest_path(dataset, datasets_root)
            for dataset in catalogue.dataset_closure(_needed(entry))
        ],
        "zero-shot weights": [paths.weights_path(model) for model in models],
        "zero-shot models (theta_0)": [paths.theta_0_path(model, reference) for model in models],
        "fine-tuned models (theta_1)": _theta_1(
            run for run in runs if not run.baseline and trains(run, catalogue)
        ),
        "from-scratch baselines": _theta_1(run for run in runs if run.baseline),
        "interpolated models": [
            paths.theta_path(run.name, run.seed, alpha)
            for run in runs
            if not run.baseline and trains(run, catalogue)
            for alpha in entry.interpolate_names
        ],
        "evaluations": [
            paths.metrics_path(run.name, run.seed, dataset)
            for run in runs
            for dataset in entry.datasets
        ],
        "tables": [paths.table_path(name, suffix) for suffix in ("csv", "parquet") if runs],
        "figures": [
            paths.figure_path(name, figure, suffix)
            for figure in entry.figures
            for suffix in ("pdf", "png", "svg")
        ],
    }


def _theta_1(runs: Iterable[Run]) -> list[Path]:
    return [paths.theta_1_path(run.name, run.seed) for run in runs]


# ------------------------------------------------------------------------------------ the text


def render(findings: dict[str, Any]) -> str:
    """Return findings of `examine` as text for a terminal."""
    parts = [
        _section("Software", findings["software"].items()),
        _section("Machine", _machine_rows(findings["machine"])),
        _section("There", _present_rows(findings["present"])),
    ]
    experiment = findings["experiment"]
    if experiment:
        title = f"Experiment {experiment['name']}: {experiment['title']}"
        parts.append(_section(title, _experiment_rows(experiment)))
    if findings["problems"]:
        lines = "\n".join(f"  {problem}" for problem in findings["problems"])
        parts.append(f"Problems\n{lines}")
    return "\n\n".join(parts)


def _section(title: str, rows: Iterable[tuple[str, Any]]) -> str:
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join([title, *(f"  {name:<{width}}  {value}" for name, value in rows)])


def _machine_rows(machine: dict[str, Any]) -> list[tuple[str, Any]]:
    unknown = "unknown"
    memory, disk = machine["memory_gb"], machine["free_disk_gb"]
    return [
        ("CPU cores", machine["cores"] or unknown),
        ("memory", f"{memory} GB" if memory else unknown),
        ("free disk", f"{disk} GB" if disk is not None else unknown),
        ("GPUs", ", ".join(machine["gpus"]) or machine["gpu_note"]),
    ]


def _present_rows(present: dict[str, Any]) -> list[tuple[str, Any]]:
    there = present["datasets"]
    return [
        ("datasets", f"{sum(there.values())} of {len(there)} prepared"),
        ("packages", _share(present["packages"])),
        ("weights", ", ".join(present["weights"]) or "none"),
    ]


def _share(there: dict[str, bool]) -> str:
    absent = [name for name, is_there in there.items() if not is_there]
    text = f"{len(there) - len(absent)} of {len(there)}"
    return f"{text}; missing: {', '.join(absent)}" if absent else text


def _experiment_rows(experiment: dict[str, Any]) -> list[tuple[str, Any]]:
    needs = experiment["needs"]
    rows: list[tuple[str, Any]] = [
        (what, f"{count['of'] - count['missing']} of {count['of']} there")
        for what, count in experiment["missing"].items()
        if count["of"]
    ]
    rows += [("to bring", sentence) for sentence in experiment["bring"]]
    if not any(count["missing"] for count in experiment["missing"].values()):
        return [*rows, ("missing", "nothing")]
    return [
        *rows,
        (
            "still to download",
            f"{needs['download_mb']:g} MB in {len(experiment['download'])} packages and "
            f"{len(experiment['files'])} files, as far as their sizes are known",
        ),
        (
            "a whole run needs",
            f"about {needs['minutes']:g} minutes on {needs['machine']}, "
            f"{needs['memory_gb']:g} GB of memory, {needs['disk_gb']:g} GB of disk",
        ),
    ]
