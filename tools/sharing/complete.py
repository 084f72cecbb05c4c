"""Whether results are whole, and whether they are those of the present configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wiseft.config import (
    Catalogue,
    ExperimentEntry,
    FinetuneSettings,
    Run,
    experiment_runs,
    model_names,
    paths,
    theta_1_of,
    trains,
)
from wiseft.io import read_json
from wiseft.stages import VERSION

HOW = {"checkpoint_every"}
"""Settings in a header that no number depends on."""


def missing_files(root: Path, catalogue: Catalogue, name: str) -> list[str]:
    """Return a sentence for every weight, metrics or predictions file that is not there.

    Raises:
        WiseftError: if the experiment is unknown.
    """
    entry = catalogue.experiment(name)
    models = model_names(entry, catalogue)
    wanted = [paths.weights_path(model) for model in models]
    wanted += [paths.theta_0_path(model, entry.reference) for model in models]
    for run in experiment_runs(entry):
        if trains(run, catalogue):
            wanted.append(paths.theta_1_path(run.name, run.seed))
        for dataset in entry.datasets:
            wanted.append(paths.metrics_path(run.name, run.seed, dataset))
            wanted.append(paths.predictions_path(run.name, run.seed, dataset))
    return [f"{path} is missing" for path in wanted if not (root / path).is_file()]


def table_problems(root: Path, catalogue: Catalogue, name: str) -> list[str]:
    """Return a sentence if the tidy table lacks rows that the experiment asks for.

    Args:
        root: the project's root.
        name: of the experiment.

    Raises:
        WiseftError: if the experiment is unknown or the table can't be read.
    """
    from wiseft.tabulate.schema import read_table

    entry = catalogue.experiment(name)
    path = root / paths.table_path(name, "parquet")
    if not path.is_file():
        return [f"{path} does not exist"]
    table = read_table(path)
    rows = table[(table["source"] == "measured") & (table["split"] == entry.test_split)]
    keys = rows[["run", "seed", "dataset", "alpha"]].itertuples(index=False, name=None)
    there = {(run, int(seed), data, f"{alpha:.3f}") for run, seed, data, alpha in keys}
    missing = [row for row in _wanted_rows(entry) if row not in there]
    if not missing:
        return []
    run, seed, dataset, alpha = missing[0]
    return [
        f"{path} has no row of {run}, seed {seed}, at alpha {alpha} on {dataset}, split "
        f"{entry.test_split}; {len(missing)} rows of the experiment are missing"
    ]


def _wanted_rows(entry: ExperimentEntry) -> Iterator[tuple[str, int, str, str]]:
    for run in experiment_runs(entry):
        for alpha in ["1.000"] if run.baseline else entry.alpha_names:
            for dataset in entry.datasets:
                yield run.name, run.seed, dataset, alpha


def artifact_problems(root: Path, catalogue: Catalogue, name: str) -> list[str]:
    """Return a sentence for every artifact that present settings or weights would not give.

    Times of files say nothing after a pull, so this asks the files themselves: the settings and
    the stage version in the headers of weights, and which weights an evaluation is about.

    Args:
        root: the project's root.
        name: of the experiment.

    Raises:
        WiseftError: if the experiment is unknown or a file can't be read.
    """
    entry = catalogue.experiment(name)
    models = model_names(entry, catalogue)
    problems = [text for model in models for text in _weights(root, catalogue, model)]
    for run in experiment_runs(entry):
        trained = root / paths.theta_1_path(run.name, run.seed)
        if trained.is_file() and catalogue.checkpoint(run.method_id) is None:
            settings = catalogue.method_settings(run.method_id)
            wanted = {} if settings.search else settings.model_dump(mode="json")
            problems += _header(trained, "finetune", wanted)
        problems += _evaluations(root, catalogue, entry, run)
    return problems


def _weights(root: Path, catalogue: Catalogue, model: str) -> list[str]:
    entry, _ = catalogue.model(model)
    path = root / paths.weights_path(model)
    if entry.pretrain is None or not path.is_file():
        return []
    return _header(path, "pretrain", entry.pretrain.model_dump(mode="json"))


def _header(path: Path, stage: str, wanted: dict[str, Any]) -> list[str]:
    from wiseft.tensor_file import read_file_header

    header = read_file_header(path, "weights")
    if header["stage_version"] != VERSION[stage]:
        return [
            f"{path} is of version {header['stage_version']} of the stage {stage}, expected "
            f"{VERSION[stage]}"
        ]
    if not wanted:
        return []
    found = header["settings"]
    # A key that has its default is in neither.
    known = FinetuneSettings.model_fields.keys() & found.keys()
    return [
        f"{path} was made with {key}: {found.get(key)}, but the configuration says "
        f"{wanted.get(key, 'nothing of it')}"
        for key in sorted({*wanted, *known} - HOW)
        if found.get(key) != wanted.get(key)
    ]


def _evaluations(
    root: Path, catalogue: Catalogue, entry: ExperimentEntry, run: Run
) -> Iterator[str]:
    """Yield what is wrong with the metrics of a run."""
    from wiseft.tensor_file import read_file_header
    from wiseft.theta import identity

    theta = theta_1_of(run, catalogue)
    there = (root / theta).is_file()
    found = identity(read_file_header(root / theta, "weights")) if there else None
    for dataset in entry.datasets:
        path = root / paths.metrics_path(run.name, run.seed, dataset)
        if not path.is_file():
            continue
        recorded = read_json(path, "metrics")["identity"]
        if recorded["stage_version"] != VERSION["evaluate"]:
            yield (
                f"{path} is of version {recorded['stage_version']} of the stage evaluate, "
                f"expected {VERSION['evaluate']}"
            )
        elif there and recorded["theta_1"] != found:
            yield (
                f"{path} is about weights with identity {recorded['theta_1']}, but {theta} has "
                f"{found}"
            )
