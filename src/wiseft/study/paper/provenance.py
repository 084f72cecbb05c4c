"""What an experiment's numbers and figures were made from, as a page of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd
import yaml

from wiseft.base.provenance import LIBRARIES, git_commit, upgrades, versions
from wiseft.base.rehearsal import noted
from wiseft.figures.labels import links_beside
from wiseft.figures.series import MEASURED
from wiseft.study.config.paths import metrics_path
from wiseft.study.published.addresses import ZERO_SHOT
from wiseft.study.published.successors import SECOND_HAND, SUCCESSORS
from wiseft.study.published.testbed import CLIP_EXPERIMENT, EXPERIMENT

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
STYLE = """:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 1rem; }
table { border-collapse: collapse; }
td, th { text-align: left; padding: .15rem .7rem .15rem 0; vertical-align: top; }
pre, .scroll { overflow-x: auto; }"""


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
    software = {"commit": git_commit(), **versions(LIBRARIES + TOOLS)}
    names = list(dict.fromkeys(name for each in evaluations for name in each))
    parts = [
        f"<p>{noted('')}</p>",
        links_beside(beside),
        "<h2>Files</h2>",
        _rows(["file", "sha256"], files.items()),
        "<h2>Software</h2><p>Of tables and figures. What trained a model is in the header of its "
        "weights (<code>wiseft</code> in the safetensors metadata).</p>",
        _rows(["name", "version"], software.items()),
        "<h2>Evaluations</h2><p>What the metrics of this table say, where they are there.</p>",
        _rows(names, ([each.get(name, "") for name in names] for each in evaluations)),
        f"<p>{escape(' '.join(upgrades(evaluations)))}</p>",
        "<h2>Numbers</h2>",
        _rows([*KEYS, "rows", "from"], _runs(table)),
        "<h2>Settings</h2>",
        f"<pre>{escape(yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True))}</pre>",
    ]
    head = f'<meta charset="utf-8"><title>Provenance</title><style>{STYLE}</style>'
    body = "\n".join(parts)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


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


def _rows(head: list[str], rows: Any) -> str:
    def line(cells: Any, name: str) -> str:
        return "<tr>" + "".join(f"<{name}>{escape(str(cell))}</{name}>" for cell in cells) + "</tr>"

    lines = [line(head, "th"), *(line(row, "td") for row in rows)]
    return '<div class="scroll"><table>\n' + "\n".join(lines) + "\n</table></div>"
