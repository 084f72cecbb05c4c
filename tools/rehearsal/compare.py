"""Whether a rehearsal is the real plan: the same files, rows and points, seeds apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import pandas as pd
from tools.rehearsal.cut import one_seed

from wiseft.base.names import AVERAGE_PREFIX
from wiseft.study.config.experiment import ZERO_SHOT
from wiseft.study.paper.context import figure_context
from wiseft.study.targets import Run, Targets
from wiseft.tabulate.schema import read_table

KEYS = ["run", "seed", "dataset", "split", "view", "combination", "alpha"]
SHOWN = 3


def real_plan(project: Path, name: str) -> Targets:
    """Return the real plan of an experiment, with one seed."""
    real = Targets.read(project, {"experiment": name})
    return Targets(real.settings, real.catalogue, one_seed(real.experiment))


def plan_differences(real: Targets, rehearsed: Targets) -> list[str]:
    """Return a sentence for every difference in rules, jobs, files and figures.

    Args:
        real: of :func:`real_plan`.
        rehearsed: read from the rehearsal's folder.
    """
    jobs, theirs = real.jobs.by_rule(), rehearsed.jobs.by_rule()
    found = [
        f"rule {rule}: {jobs.get(rule, 0)} jobs in the plan, {theirs.get(rule, 0)} in the rehearsal"
        for rule in {**jobs, **theirs}
        if jobs.get(rule) != theirs.get(rule)
    ]
    found += _missing("file", set(_files(real)), set(_files(rehearsed)))
    found += _missing("row", expected_rows(real), expected_rows(rehearsed))
    return found + _figure_differences(real, rehearsed)


def _files(targets: Targets) -> Iterator[str]:
    """Yield what `all` asks for, wherever datasets lie."""
    folder = f"{targets.data.folder}/"
    for file in targets.files.wanted():
        yield file.removeprefix(folder)


def expected_rows(targets: Targets) -> set[tuple[object, ...]]:
    """Return the `KEYS` of the rows that runs have in the tidy table.

    Single clusters, in which a dataset's images were drawn, are known with the images only.
    """
    experiment, rows = targets.experiment, set[tuple[object, ...]]()
    seen, kept = (
        [
            (name, split, view["name"])
            for name, chosen in json.loads(targets.told.evaluation(names)).items()
            for split in chosen["splits"]
            for view in chosen["views"] or [{"name": "all"}]
        ]
        for names in (experiment.datasets, experiment.keep)
    )
    view = targets.data.entries[targets.reference].primary_view
    seen += [
        (f"{AVERAGE_PREFIX}{name}", experiment.test_split, view) for name in experiment.averages
    ]
    for run in targets.runs:
        places = [*seen, *(kept if run in targets.combined else [])]
        for combination in _combinations(targets, run):
            for alpha in map(float, targets.alphas(run.method_id)):
                rows |= {(run.name, run.seed, *where, combination, alpha) for where in places}
    return rows


def _combinations(targets: Targets, run: Run) -> list[str]:
    """Return the combinations of a run: a model from scratch has no end to combine with, and of a
    linear classifier weight space and output space are one.
    """
    if run.baseline or run.method_id == ZERO_SHOT:
        return ["weight"]
    head = targets.catalogue.method_settings(run.method_id).trainable == "head"
    names = targets.told.combinations(run.method_id).split(",")
    return [name for name in names if name != "output" or not head]


def result_differences(real: Targets, rehearsed: Targets, root: Path) -> list[str]:
    """Return a sentence for everything that a finished rehearsal lacks of the real plan.

    Raises:
        WiseftError: if a table cannot be read or a figure cannot be drawn.
    """
    found = [f"{file} was not made" for file in _files(real) if not _there(root, file)]
    if found or not real.files.tabulated:
        return found
    table = read_table(root / real.files.tables["table_parquet"])
    # Numbers of the paper, and those that other experiments have measured, may stand beside.
    own = (table["source"] == "measured") & (table["experiment"] == real.name)
    measured = table[own & (table["selection"] == "grid")]
    measured = measured[~measured["view"].str.contains("/")]
    keys = measured[KEYS].astype({"seed": "int64"}) if len(measured) else measured[KEYS]
    found += _missing("row", expected_rows(real), _rows(keys))
    return found + _unmarked(real, root)


def _there(root: Path, file: str) -> bool:
    return (root / file).is_file() or (root / "datasets" / file).is_file()


def _rows(keys: pd.DataFrame) -> set[tuple[object, ...]]:
    return set(keys.itertuples(index=False, name=None))


def _figure_differences(real: Targets, rehearsed: Targets) -> list[str]:
    """Return a sentence for every figure that is drawn of something else than in the real plan."""
    figures, theirs = real.experiment.figures, rehearsed.experiment.figures
    context = [figure_context(each.experiment, each.catalogue) for each in (real, rehearsed)]
    other = [name for name in {**figures, **theirs} if figures.get(name) != theirs.get(name)]
    found = [f"figure {name} is drawn otherwise" for name in other]
    return found + (["figures know other things"] if context[0] != context[1] else [])


def _unmarked(targets: Targets, root: Path) -> list[str]:
    """Return a sentence for every figure and page that does not say that it is a rehearsal."""
    pages = [*targets.files.summary(), *targets.files.page(), *targets.files.provenance()]
    figures = targets.files.figures(*targets.experiment.figures)
    wanted = {*map(str, targets.files.wanted())}  # a figure of what only a user has is not
    pages += [path for path in figures if path.suffix == ".svg" and str(path) in wanted]
    texts = {path: (root / path).read_text(errors="replace") for path in pages}
    return [f"{path} is not marked" for path, text in texts.items() if "ehearsal" not in text]


def _missing(what: str, wanted: Set[Any], there: Set[Any]) -> list[str]:
    """Return sentences for what one set has and the other has not."""
    found = []
    for difference, where in ((wanted - there, "rehearsal"), (there - wanted, "plan")):
        if difference:
            some = "; ".join(map(str, sorted(difference, key=str)[:SHOWN]))
            found.append(f"{len(difference)} {what}s are not in the {where}: {some}")
    return found
