"""Whether results are whole, and whether they are those of the present configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wiseft.base.loading import parse_settings
from wiseft.base.stages import VERSION
from wiseft.study.config import FinetuneSettings, paths
from wiseft.study.targets import Run, Targets
from wiseft.thetas.damage import SUM, check_sum, read_metrics

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
            for dataset in targets.files.datasets_of(run):
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
    root = targets.catalogue.root
    problems = [text for model in targets.models for text in _weights(targets, model)]
    for model in targets.models:
        zero_shot = paths.theta_0_path(model, targets.reference)
        problems += _descent(root, zero_shot, {"weights": paths.weights_path(model)})
    for run in targets.trainings:
        trained = root / paths.theta_1_path(run.name, run.seed)
        if trained.is_file():
            problems += _header(trained, "finetune", _settings(targets, run))
    for run in targets.combined:
        if run.method_id in targets.merged:
            problems += _merged(targets, run)
    for run in targets.runs:
        problems += _evaluations(targets, run)
        for alpha in targets.experiment.interpolate_names:
            combined = paths.theta_path(run.name, run.seed, alpha)
            problems += _descent(root, combined, _ends(targets, run))
    return problems


def _merged(targets: Targets, run: Run) -> list[str]:
    """Return what is wrong with a model that is made of others."""
    theta = paths.theta_1_path(run.name, run.seed)
    made_of = targets.files.ingredients(run.model, run.method_id, str(run.seed))
    parents = {f"theta_{place}": path for place, path in enumerate(made_of)}
    problems = list(_descent(targets.catalogue.root, theta, parents))
    if targets.data.there(theta):
        recipe = targets.merged[run.method_id].checked().options.model_dump(mode="json")
        problems += _header(targets.catalogue.root / theta, "combine", {"recipe": recipe})
    return problems


def _settings(targets: Targets, run: Run) -> dict[str, Any]:
    """Return the settings of a training; none where only a search says what they are."""
    settings = targets.catalogue.method_settings(run.method_id)
    if settings.from_search:
        from wiseft.study.finetune.search import found_settings

        trials = targets.trials(run.model, run.method_id, str(run.seed))
        files = [targets.catalogue.root / path for path in trials]
        if not all(file.is_file() for file in files):
            return {}
        found = {"from_search": [str(file) for file in files]}
        settings = found_settings(settings.model_copy(update=found))
    return {} if settings.search else settings.model_dump(mode="json")


def _weights(targets: Targets, model: str) -> list[str]:
    pretrain = targets.entry(model).pretrain
    path = targets.catalogue.root / paths.weights_path(model)
    if pretrain is None or not path.is_file():
        return []
    return _header(path, "pretrain", pretrain.model_dump(mode="json"))


def _header(path: Path, stage: str, wanted: dict[str, Any]) -> list[str]:
    from wiseft.thetas.tensor_file import read_file_header

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
    root, identities = targets.catalogue.root, dict[Path, str | None]()
    for dataset in targets.files.datasets_of(run):
        ends = _ends(targets, run, targets.data.entries[dataset].suite_name)
        ends |= dict(zip(["head"], targets.files.head(run.model, [dataset]), strict=False))
        for end in ends.values():
            if end not in identities:
                identities[end] = _identity(root / end)
        present = {end: identities[path] for end, path in ends.items()}
        files = targets.files.of_evaluation(paths.metrics_path, run.name, run.seed, [dataset])
        path = root / files[0]
        if not path.is_file():
            continue
        recorded = read_metrics(path, path.with_name("predictions.parquet"))["identity"]
        if recorded["stage_version"] != VERSION["evaluate"]:
            yield (
                f"{path} is of version {recorded['stage_version']} of the stage evaluate, "
                f"expected {VERSION['evaluate']}"
            )
            continue
        for end, found in present.items():
            if found is not None and recorded.get(end) != found:
                yield (
                    f"{path} is about weights with identity {recorded.get(end)}, but {ends[end]} "
                    f"has {found}"
                )


def _ends(targets: Targets, run: Run, suite: str = "") -> dict[str, Path]:
    """Return the two ends of a run, as a suite sees them."""
    ends = {"theta_1": targets.files.theta_1(run.model, run.method_id, run.seed, suite)}
    start = targets.files.theta_0(run.model, run.method_id, suite)  # a baseline has none
    return {**ends, "theta_0": start[0]} if start else ends


def _descent(root: Path, theta: Path, parents: dict[str, Path]) -> Iterator[str]:
    """Yield which parents of a theta are not those that are there."""
    from wiseft.thetas.tensor_file import read_file_header

    if not (root / theta).is_file():
        return
    recorded = read_file_header(root / theta, "theta")["parents"]
    for role, path in parents.items():
        found = _identity(root / path)
        if found is not None and recorded.get(role) != found:
            yield f"{theta} was made from {role} {recorded.get(role)}, but {path} has {found}"


def _identity(path: Path) -> str | None:
    from wiseft.thetas.tensor_file import read_file_header
    from wiseft.thetas.theta import identity

    return identity(read_file_header(path, "weights")) if path.is_file() else None


def check_content(targets: Targets, files: list[Path]) -> None:
    """Check every file that is to be published against the sums and numbers that others have of it.

    Tensors are read whole; predictions are counted again and held against their metrics, and the
    tables are read as figures read them.

    Args:
        targets: the experiment, whose predictions and tables are checked.
        files: all that is published.

    Raises:
        DamagedFile: naming the first file that is not what was written.
    """
    from wiseft.tabulate.inputs import read_inputs
    from wiseft.tabulate.schema import read_table
    from wiseft.tabulate.settings import TabulateSettings
    from wiseft.thetas.tensor_file import open_tensors

    for path in files:
        if path.suffix == ".safetensors":
            open_tensors(path, "weights")
        elif path.name == "metrics.json":
            read_metrics(path, path.with_name("predictions.parquet"))
        elif path.suffix == f".{SUM}" and path.with_suffix("").is_file():
            check_sum(path.with_suffix(""), "table")
    root = targets.catalogue.root
    if targets.runs:
        kinds = (paths.metrics_path, paths.predictions_path)
        metrics, predictions = ([root / f for f in targets.files.evaluated(k)] for k in kinds)
        settings = parse_settings(TabulateSettings, targets.told.statistics())
        read_inputs(metrics, predictions, settings)
    for table in targets.files.table_files():
        check_sum(root / table, "table")
    read_table(root / paths.table_path(targets.name, "parquet"))
