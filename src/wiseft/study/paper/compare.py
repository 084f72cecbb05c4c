"""Whether the tables here agree with the published ones: one verdict, then cell by cell.

Trained on another CPU, the same seed is another model (docs/digits.md, "How far this goes"). So a
model here is one new draw of pre-training, and the published models say by prediction intervals
where it may lie. A model counts once, as the mean of its fine-tuning seeds: of as many as both
sides have. Several models here are compared by their mean. A model that is fetched is always one.
Its fine-tuning seeds are the sample then, which says nothing about other pre-trainings.

All headline cells carry the verdict, although some follow from others: accuracies of the zero-shot
model, of alpha 0.5 and of the fine-tuned one, and the gains of alpha 0.5 over both. Their joint
region is Bonferroni's, which holds for dependent cells; an ellipsoid would need more models than
cells. Beside an independent half of them, all find a worse fine-tuned end more often, and raise no
more false alarms (tests/figures/test_compare.py simulates these).
"""

from __future__ import annotations

import gzip
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from wiseft.base.io import read_object
from wiseft.base.names import BASELINE_METHOD
from wiseft.base.templates import aligned
from wiseft.errors import WiseftError
from wiseft.figures.select import FIXED_ALPHA, reference_of
from wiseft.study.config import ExperimentEntry, paths
from wiseft.study.paper.headline import POINTS, averages_of, sweep_of, targets_of
from wiseft.tabulate.intervals import LEVEL
from wiseft.tabulate.models import FEWEST_MODELS, prediction_interval, without_seed
from wiseft.tabulate.robustness import average_name
from wiseft.tabulate.schema import ROUNDING, read_table
from wiseft.thetas.damage import check_sum

EQUAL, OUTSIDE, NO_VERDICT = 0, 1, 2
"""Exit codes; inside is 0 as well."""
HALF = f"alpha {FIXED_ALPHA}"
CELL = ["entry", "method", "dataset", "cell"]
NAMED = ["entry", "method", "dataset", "reference"]
"""Columns whose values may stand for different things on both sides, or for nothing on one."""
_NO_NUMBER = {"title", "checkpoint_every"}
"""Settings of models and methods that no number depends on."""
_OF_ALL = ("reference_split", "test_split", "views")
"""Settings of an experiment that all cells depend on."""


class Comparison(NamedTuple):
    """What was found.

    Attributes:
        verdict: one line.
        code: the exit code.
        notes: sentences beside the verdict.
        details: the cells, and machine and versions of both sides, as plain text.
    """

    verdict: str
    code: int
    notes: list[str]
    details: str = ""


def compare(root: Path, experiment: ExperimentEntry, tables: Sequence[Path]) -> Comparison:
    """Compare an experiment's tables with the published ones, or those that it names.

    Args:
        root: the project's root.
        experiment: its entry.
        tables: its tables, relative to the root; those without a copy stay out.

    Raises:
        WiseftError: if there is no table here.
        DamagedFile: if a table is damaged.
    """
    name, here = experiment.experiment, root / paths.table_path(experiment.experiment, "parquet")
    names = [n for n in (experiment.compare_with, name) if n and _copy(root, n).is_file()]
    if not names:
        return Comparison(f"no verdict: nothing is published of {name}", NO_VERDICT, [])
    if not here.is_file():
        raise WiseftError(f"{here} does not exist; run the experiment: make run EXPERIMENT={name}")
    sample = names[0]
    ours, theirs = (accuracies(read_table(path)) for path in (here, _copy(root, sample)))
    equal, notes = _equal(root, name, tables), [_seeds(ours, theirs, sample)]
    record = _record(root / paths.made_with_path(name))
    like = name if equal else sample
    published = _record(root / paths.published_path(like, paths.made_with_path(like)))
    made = _made_with(record, published)
    if equal:
        return Comparison("equal, byte for byte", EQUAL, notes, shown(pd.DataFrame(), made))
    out = changed(record, published) | unshared(ours, theirs)
    notes += out.values()
    if not (record and published):
        notes.append("Settings are not compared, because those of one side are not recorded.")
    left = [side[~side[NAMED].isin([*out]).any(axis=1)] for side in (ours, theirs)]
    new, draws = map(cells_of, _as_many_seeds(*left))
    cells, fetched = judged(new, draws), bool((theirs["entry"] == theirs["model"]).all())
    return Comparison(*verdict(cells, draws, sample, fetched), notes, shown(cells, made))


def accuracies(table: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracies (fractions) that headlines are made of, of all methods with two ends.

    They are rows of the table with `method` as `<method>__<variant>`, `entry` (the model without
    its pre-training seed) and `draw`: the model or, where it is fetched, the fine-tuning seed.
    """
    grid, near = sweep_of(table)
    shown = targets_of(grid, reference_of(grid), averages_of(grid), "test", near)[0].values()
    kept = grid["dataset"].isin(list(shown)) & grid["alpha"].isin(list(POINTS.values()))
    rows = grid[kept & (grid["method"] != BASELINE_METHOD)]
    entry = rows["model"].map(without_seed)
    ids = rows["method"] + ("__" + rows["variant"]).where(rows["variant"] != "", "")
    draw = rows["model"].where(entry != rows["model"], "seed " + rows["seed"].astype(str))
    return rows.assign(entry=entry, method=ids, draw=draw)


def _as_many_seeds(here: pd.DataFrame, published: pd.DataFrame) -> list[pd.DataFrame]:
    """Return both with the first fine-tuning seeds of each model, as many as all models have."""
    both = pd.concat([here.assign(side=0), published.assign(side=1)], ignore_index=True)
    seeds = both.groupby(["entry", "method", "model", "side"])["seed"]
    both = both.assign(rank=seeds.rank("dense"), seeds=seeds.transform("nunique"))
    fewest = both.groupby(["entry", "method"])["seeds"].transform("min")
    kept = both[(both["rank"] <= fewest) | (both["entry"] == both["model"])]
    return [kept[kept["side"] == side] for side in (0, 1)]


def cells_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the headline cells (rows, indexed by CELL) of each draw (columns), as fractions.

    Args:
        rows: as `accuracies` returns them.
    """
    by = ["entry", "method", "dataset", "model", "draw"]
    at = rows.pivot_table("value", by, "alpha").reindex(columns=list(POINTS.values())).dropna()
    start, half, end = (at[alpha] for alpha in POINTS.values())
    # One model for all methods, and for all fine-tuning seeds.
    zero_shot = start.groupby(level=["entry", "dataset", "model"]).mean()
    zero_shot = zero_shot.rename_axis(["entry", "dataset", "draw"])
    zero_shot = pd.concat({("", "zero-shot"): zero_shot}, names=["method", "cell"])
    gains = {f"{HALF} over zero-shot": half - start, f"{HALF} over fine-tuned": half - end}
    others = pd.concat({HALF: half, "fine-tuned": end, **gains}, names=["cell"]).droplevel("model")
    both = pd.concat([part.reorder_levels([*CELL, "draw"]) for part in (zero_shot, others)])
    wide = both.unstack("draw", sort=False)
    return wide.sort_index(level=CELL[:3], kind="stable", sort_remaining=False)


def judged(here: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Return each cell that both have, with its interval in the joint 95 % region.

    Args:
        here, published: cells by draws; null where a draw lacks one.

    Returns:
        here, published (means), draws (published ones), low, high (null for fewer than three
        draws), inside.
    """
    index = published.index.intersection(here.index, sort=False)
    ours, theirs = here.loc[index].to_numpy(), published.loc[index].to_numpy()
    new, draws = ((~np.isnan(side)).sum(axis=1) for side in (ours, theirs))
    level = 1 - (1 - LEVEL) / max(1, int((draws >= FEWEST_MODELS).sum()))
    samples = zip((row[~np.isnan(row)] for row in theirs), new, strict=True)
    ends = [prediction_interval(sample, level, n) for sample, n in samples]
    found = pd.DataFrame(ends, index, ["low", "high"], dtype=float)
    found["here"], found["published"] = np.nanmean(ours, axis=1), np.nanmean(theirs, axis=1)
    inside = found["here"].between(found["low"] - ROUNDING, found["high"] + ROUNDING)
    return found.assign(draws=draws, inside=inside)


def left_out(published: pd.DataFrame) -> dict[Hashable, int]:
    """Return for each draw how many of its cells lie outside the joint region of the others.

    Args:
        published: cells by draws. Cells with fewer than four draws, and draws without others, are
            left out.
    """
    kept = published[published.count(axis=1) > FEWEST_MODELS]
    each = {str(draw): judged(kept[[draw]].dropna(), kept.drop(columns=draw)) for draw in kept}
    return {draw: int((~cells["inside"]).sum()) for draw, cells in each.items() if len(cells)}


def verdict(
    cells: pd.DataFrame, published: pd.DataFrame, sample: str, fetched: bool
) -> tuple[str, int]:
    """Return the verdict over all cells in one line, and the exit code.

    Args:
        cells: as `judged` returns them.
        published: the cells by draws that they are judged by.
        sample: the experiment whose published models they are judged by.
        fetched: whether draws are fine-tuning seeds of one model.
    """
    if cells.empty:
        return f"no verdict: no headline cell here is published in {sample}", NO_VERDICT
    judged, draws = cells.dropna(subset=["low"]), cells["draws"].max()
    kind = "fine-tuning seeds of the one published model" if fetched else "published models"
    region = f"the joint 95 % region of {draws} {kind} of {sample}"
    if judged.empty:
        return f"no verdict: {FEWEST_MODELS} or more would be needed for {region}", NO_VERDICT
    if apart := int((~judged["inside"]).sum()):
        too = [number > 0 for number in left_out(published).values()]
        chance = f"; judged by the others, so do {sum(too)} of these {len(too)}" if too else ""
        return f"outside: {apart} of {len(judged)} headline cells miss {region}{chance}", OUTSIDE
    return f"inside: all {len(judged)} headline cells lie in {region}", EQUAL


def changed(here: Mapping[str, Any], published: Mapping[str, Any]) -> dict[str, str]:
    """Return a sentence for all that two records both have, but set otherwise.

    Returns:
        By the value in one of the columns NAMED that stands for two different things.
    """
    ours, theirs, found = _settings(here), _settings(published), {}
    for name in sorted(ours.keys() & theirs.keys()):
        one, other = (pd.json_normalize(side[name]).iloc[0].to_dict() for side in (ours, theirs))
        keys = sorted({str(k) for k in {*one, *other} if one.get(k) != other.get(k)} - _NO_NUMBER)
        values = "; ".join(f"{k} {one.get(k)} here, {other.get(k)} published" for k in keys)
        if keys:
            found[name] = f"Not compared, because settings of {name} differ: {values}."
    return found


def _settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that accuracies follow from, by values in the columns NAMED."""
    models = {without_seed(name): entry for name, entry in record.get("models", {}).items()}
    settings = record.get("settings", {"averages": {}, "reference": ""})
    averages = {average_name(n): {"of": sorted(of)} for n, of in settings["averages"].items()}
    of_all = {settings["reference"]: {key: settings.get(key) for key in _OF_ALL}}
    return {**models, **record.get("methods", {}), **averages, **of_all}


def unshared(here: pd.DataFrame, published: pd.DataFrame) -> dict[str, str]:
    """Return a sentence for all that one side lacks, by the value in one of the columns NAMED."""
    ours, theirs = (set(side[NAMED].to_numpy().ravel()) for side in (here, published))
    where = {name: "here" if name in ours else "published" for name in sorted(ours ^ theirs)}
    return {name: f"Not compared, because {where[name]} only: {name}." for name in where}


def _seeds(here: pd.DataFrame, published: pd.DataFrame, sample: str) -> str:
    """Return which pre-training seeds are shown, in a sentence."""
    names = (set(side["model"]) - set(side["entry"]) for side in (here, published))
    ours, theirs = (", ".join(sorted(n.rpartition("-s")[2] for n in each)) for each in names)
    if not ours:
        return "No model is pre-trained here."
    return f"Pre-training seeds here: {ours}; published in {sample}: {theirs or 'none'}."


def _copy(root: Path, experiment: str) -> Path:
    return root / paths.published_path(experiment, paths.table_path(experiment, "parquet"))


def _record(path: Path) -> dict[str, Any]:
    """Return what tables were made with; nothing where it is not recorded."""
    if path.is_file():
        check_sum(path, "record")
    return read_object(path, "record") if path.is_file() else {}


def _equal(root: Path, experiment: str, tables: Sequence[Path]) -> bool:
    """Whether tables are published and equal to their copies, as far as they are copied; what they
    were made with may differ.
    """
    copies = {root / p: root / paths.published_path(experiment, p) for p in tables}
    pairs = [pair for pair in copies.items() if pair[1].is_file() and pair[1].suffix != ".json"]
    return _copy(root, experiment).is_file() and all(_same(*pair) for pair in pairs)


def _same(path: Path, copy: Path) -> bool:
    content = copy.read_bytes()
    content = gzip.decompress(content) if copy.suffix == ".gz" else content
    return path.is_file() and path.read_bytes() == content


def _made_with(*records: Mapping[str, Any]) -> list[list[str]]:
    """Return a row for each library and part of the machine: its name, and what records say."""
    sides = [record.get("evaluations", []) for record in records]
    names = dict.fromkeys(n for side in sides for e in side for n in e if n != "evaluations")
    return [
        [name, *(", ".join(sorted({e.get(name, "") for e in s})) or "not recorded" for s in sides)]
        for name in names or ["machine and versions"]
    ]


def shown(cells: pd.DataFrame, made_with: list[list[str]]) -> str:
    """Return cells, as `judged` returns them, and machines as plain text."""
    rows = [["model", "method", "dataset", "cell", "here", "published", "inside", "expected"]]
    for key, row in zip(cells.index.tolist(), cells.to_dict("records"), strict=True):
        numbers = [f"{100 * row[name]:.2f}" for name in ("here", "published", "low", "high")]
        judged = ["yes" if row["inside"] else "NO", " to ".join(numbers[2:])]
        rows.append([*key, *numbers[:2], *(["not judged", ""] if numbers[2] == "nan" else judged)])
    made = [["made with", "here", "published"], *made_with]
    return "\n\n".join(aligned(part) for part in (rows, made) if len(part) > 1)
