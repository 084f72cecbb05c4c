"""docs/cells.md: which experiment measures each cell of the paper's tables, and what nobody can.

    python -m tools.cells > docs/cells.md

An experiment measures a cell if a table with all its runs, datasets and alphas would fill it in
(`wiseft paper-tables`). Where several do, those count that show the cell's table themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from wiseft.base.names import split_run_name
from wiseft.base.templates import row
from wiseft.study.config import Catalogue, ExperimentEntry
from wiseft.study.paper.paper_tables import cells
from wiseft.study.published.numbers import TABLES, numbers
from wiseft.study.targets import experiment_runs
from wiseft.tabulate.schema import TABLE, frame_of

_BASIC = "BASIC's weights are not public; `basic` trains CLIP ViT-B/16 by its recipe"
NEVER = {
    ("variant", "radford"): "quoted from Radford et al. (2021), who measured them",
    ("method", "coop"): "learned prompts (CoOp), a method that is not trained here",
    ("model", "align"): "ALIGN's weights are not public; `align` measures an open replica",
    ("model", "vit-h-14-jft"): "neither JFT-300M nor the weights of its ViT-H/14 are public; `jft` "
    "measures a ViT-B/16 of ImageNet-21k",
    ("model", "basic-m"): _BASIC,
    ("model", "basic-l"): _BASIC,
}
"""Why rows of the paper cannot be measured, by a column of `numbers` and its value."""
HEAD = """# What of the paper's tables can be measured

`python -m tools.cells > docs/cells.md` writes this page from the experiments; do not edit it.
It counts cells of Tables 1 to 13, averages included. Tables 9 to 12 are about models without
public weights. Figures show [open models](paper.md#with-measured-numbers) beside those.
"""


def planned(entry: ExperimentEntry, catalogue: Catalogue) -> pd.DataFrame:
    """Return a tidy table as the experiment will make it; all values are one half."""

    def records() -> Iterator[dict[str, Any]]:
        for run in experiment_runs(entry):
            names = ("model", "reference", "method", "variant")
            about = dict(zip(names, split_run_name(run.name), strict=True))
            about |= {"source": "measured", "selection": "grid", "run": run.name, "seed": run.seed}
            points = list(product(entry.combinations, entry.alphas))
            for name in entry.datasets:
                dataset = catalogue.dataset(name)
                places = product(dataset.evaluate, dataset.views, points)
                for split, view, (combination, alpha) in places:
                    place = {"dataset": name, "split": split, "view": view.name}
                    place |= {"metric": view.metric, "combination": combination, "alpha": alpha}
                    yield {**about, **place, "value": 0.5}

    return frame_of(list(records()), TABLE)


def sources(catalogue: Catalogue) -> pd.DataFrame:
    """Return every cell with `by`, the experiments that measure it, and `why` none ever can."""
    joined = catalogue.experiment_entry("paper").published
    entries = [catalogue.experiment(name) for name in (joined.measured if joined else [])]
    found = cells([planned(entry, catalogue) for entry in entries])
    runs = {entry.experiment: {run.name for run in experiment_runs(entry)} for entry in entries}
    shown = {e.experiment: set(e.published.tables) if e.published else set() for e in entries}

    def by(cell: Any) -> str:
        names = [name for name, there in runs.items() if cell.run in there]
        own = [name for name in names if cell.table in shown[name]]
        return ", ".join(f"`{name}`" for name in own or names[:1])

    found = found.assign(by=[by(cell) for cell in found.itertuples()], why="")
    printed = numbers()
    assert (printed[["table", "row", "column"]] == found[["table", "row", "column"]]).all(axis=None)
    for (column, value), why in NEVER.items():
        found.loc[printed[column] == value, "why"] = why
    return found


def page(catalogue: Catalogue) -> str:
    """Return the page as Markdown."""
    found = sources(catalogue)
    counts = found.groupby(["table", "by", "why"], sort=False).size().reset_index(name="n")
    counts = counts.sort_values("table", kind="stable")
    lines = [row(["table", "cells", "measured by", "never, because"]), "| --- | ---: | --- | --- |"]
    for one in counts.to_dict("records"):
        name = f"{one['table']}: {TABLES[int(one['table'])]}"
        lines.append(row([name, one["n"], one["by"], one["why"]]))
    open_, never = int((found["by"] != "").sum()), int((found["why"] != "").sum())
    total = f"Experiments measure {open_:,} of {len(found):,} cells; {never:,} stay published."
    return "\n".join([HEAD, total, "", *lines, ""])


if __name__ == "__main__":
    print(page(Catalogue(Path())), end="")
