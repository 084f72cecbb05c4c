"""Whether results are whole, and whether they are those of the present configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wiseft.config import FinetuneSettings, paths
from wiseft.io import read_json
from wiseft.stages import VERSION
from wiseft.targets import Run, Targets

HOW = {"checkpoint_every"}
"""Settings in a header that no number depends on."""


def missing_files(targets: Targets) -> list[str]:
    """Return a sentence for every wanted file below data/ that is not there."""
    wanted = [Path(file) for file in targets.files.wanted()]
    shared = [path for path in wanted if path.is_relative_to(paths.DATA)]
    return [f"{path} is missing" for path in shared if not targets.data.there(path)]


def table_problems(targets: Targets) -> list[str]:
    """Return a sentence if the tidy table lacks rows that the experiment asks for.

    Raises:
        WiseftError: if the table can't be read.
    """
    from wiseft.tabulate.schema import read_table

    path = targets.catalogue.root / paths.table_path(targets.name, "parquet")
    if not path.is_file():
        return [f"{path} does not exist"]
    table, split = read_table(path), targets.experiment.test_split
    rows = table[(table["source"] == "measured") & (table["split"] == split)]
    keys = rows[["run", "seed", "dataset", "alpha"]].itertuples(index=False, name=None)
    there = {(run, int(seed), data, f"{alpha:.3f}") for run, seed, data, alpha in keys}
    missing = [row for row in _wanted_rows(targets) if row not in there]
    if not missing:
        return []
    run, seed, dataset, alpha = missing[0]
    return [
        f"{path} has no row of {run}, seed {seed}, at alpha {alpha} on {dataset}, split "
        f"{split}; {len(missing)} rows of the experiment are missing"
    ]


def _wanted_rows(targets: Targets) -> Iterator[tuple[str, int, str, str]]:
    for run in targets.runs:
        for alpha in targets.alphas(run.method_id):
            for dataset in targets.experiment.datasets:
                yield run.name, run.seed, dataset, alpha


def artifact_problems(targets: Targets) -> list[str]:
    """Return a sentence for every artifact that present settings or weights would not give.

    Times of files say nothing after a pull, so this asks the files themselves: the settings and
    the stage version in the headers of weights, and which weights an evaluation is about.

    Args:
        targets: the experiment.

    Raises:
        WiseftError: if a file can't be read.
    """
    root, catalogue = targets.catalogue.root, targets.catalogue
    problems = [text for model in targets.models for text in _weights(targets, model)]
    for run in targets.runs:
        trained = root / paths.theta_1_path(run.name, run.seed)
        if trained.is_file() and run.method_id not in targets.checkpoints:
            settings = catalogue.method_settings(run.method_id)
            wanted = {} if settings.search else settings.model_dump(mode="json")
            problems += _header(trained, "finetune", wanted)
        problems += _evaluations(targets, run)
    return problems


def _weights(targets: Targets, model: str) -> list[str]:
    pretrain = targets.entry(model).pretrain
    path = targets.catalogue.root / paths.weights_path(model)
    if pretrain is None or not path.is_file():
        return []
    return _header(path, "pretrain", pretrain.model_dump(mode="json"))


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
    recorded = header["settings"]
    # A key that has its default is in neither.
    known = FinetuneSettings.model_fields.keys() & recorded.keys()
    return [
        f"{path} was made with {key}: {recorded.get(key)}, but the configuration says "
        f"{wanted.get(key, 'nothing of it')}"
        for key in sorted({*wanted, *known} - HOW)
        if recorded.get(key) != wanted.get(key)
    ]


def _evaluations(targets: Targets, run: Run) -> Iterator[str]:
    """Yield what is wrong with the metrics of a run."""
    from wiseft.tensor_file import read_file_header
    from wiseft.theta import identity

    root = targets.catalogue.root
    theta = targets.theta_1(run.model, run.method_id, run.seed)
    there = (root / theta).is_file()
    present = identity(read_file_header(root / theta, "weights")) if there else None
    for dataset in targets.experiment.datasets:
        path = root / paths.metrics_path(run.name, run.seed, dataset)
        if not path.is_file():
            continue
        recorded = read_json(path, "metrics")["identity"]
        if recorded["stage_version"] != VERSION["evaluate"]:
            yield (
                f"{path} is of version {recorded['stage_version']} of the stage evaluate, "
                f"expected {VERSION['evaluate']}"
            )
        elif there and recorded["theta_1"] != present:
            yield (
                f"{path} is about weights with identity {recorded['theta_1']}, but {theta} has "
                f"{present}"
            )
