"""What an experiment's numbers and figures were made from, as a page of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import yaml

from wiseft.base.provenance import LIBRARIES, git_commit, versions
from wiseft.base.rehearsal import noted
from wiseft.base.templates import filled
from wiseft.figures.labels import links_beside
from wiseft.study.config.paths import metrics_path
from wiseft.study.published.addresses import ZERO_SHOT
from wiseft.study.published.successors import SECOND_HAND, SUCCESSORS
from wiseft.study.published.testbed import CLIP_EXPERIMENT, EXPERIMENT
from wiseft.tabulate.inputs import upgrades
from wiseft.tabulate.schema import MEASURED

TOOLS = ("pandas", "scipy", "matplotlib", "vl-convert-python", "snakemake")
"""Libraries that tables and figures are made with, beside those of the numbers."""
KEYS = ["source", "experiment", "model", "method", "variant", "run", "seed"]
OTHERS = {
    EXPERIMENT: "ImageNet test bed, Taori et al. 2020: wiseft testbed",
    CLIP_EXPERIMENT: f"open_clip, docs/{ZERO_SHOT.file}: wiseft testbed",
    SUCCESSORS: "a later paper, by its letter: docs/paper.md",
    SECOND_HAND: "a summary of a later paper: docs/paper.md",
}
"""Where other people's numbers are from, by the experiment of their rows."""


def provenance_page(
    table: pd.DataFrame,
    settings: Mapping[str, Any],
    files: Mapping[str, str],
    beside: Sequence[str] = (),
    evaluations: Sequence[Mapping[str, str]] = (),
) -> str:
    """Return an HTML page that links to nothing but the results beside it.

    Args:
        table: the tidy table.
        settings: of the experiment, shown as they are.
        files: sha256 of the tables that all else is made from, by path.
        beside: names of the results in its folder.
        evaluations: what they were made with, as `evaluated_with` returns it.
    """
    names = list(dict.fromkeys(name for each in evaluations for name in each))
    return filled(
        "study/paper/provenance.html.j2",
        note=noted(""),
        beside=links_beside(beside),
        files=files,
        software={"commit": git_commit(), **versions(LIBRARIES + TOOLS)},
        names=names,
        evaluations=[[each.get(name, "") for name in names] for each in evaluations],
        upgrades=" ".join(upgrades(evaluations)),
        keys=[*KEYS, "rows", "from"],
        runs=_runs(table),
        settings=yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True),
    )


def _runs(table: pd.DataFrame) -> list[list[str]]:
    """Return a row for each run: its keys, how many numbers it has, and where they are from."""
    keys = table[KEYS].astype("string").fillna("")
    rows = []
    for values, part in keys.groupby(KEYS, sort=True):
        key = dict(zip(KEYS, map(str, values), strict=True))
        rows.append([*key.values(), str(len(part)), _origin(key)])
    return rows


def _origin(key: Mapping[str, str]) -> str:
    if key["source"] == MEASURED:
        return metrics_path(key["run"], key["seed"], "*").as_posix()
    if key["experiment"] in OTHERS:
        return OTHERS[key["experiment"]]
    return f"arXiv 2109.01903 v3, {key['experiment']}"
