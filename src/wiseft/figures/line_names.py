"""The lines of a table with several models, methods and variants, and their names."""

from __future__ import annotations

import pandas as pd

from wiseft.base.names import BASELINE_METHOD
from wiseft.figures.labels import SEPARATOR, variant_names
from wiseft.figures.select import methods_of
from wiseft.tabulate.models import without_seed

LineKey = tuple[str, str, str]
"""Model without its pre-training seed, method and variant: whose runs may be averaged."""


def line_names(grid: pd.DataFrame) -> dict[LineKey, str]:
    """Return a name for everything whose runs are means over seeds and nothing else.

    It is the method where that says enough, else method, model and variant as far as they differ.
    """
    keys = [key for key in _line_keys(grid) if key[1] != BASELINE_METHOD]
    same: dict[str, set[LineKey]] = {}
    for key in keys:
        same.setdefault(key[1], set()).add(key)
    names = {}
    for model, method, variant in dict.fromkeys(keys):
        models, variants = ({key[place] for key in same[method]} for place in (0, 2))
        parts = [method, model if len(models) > 1 else "", variant_names(variants)[variant]]
        names[model, method, variant] = SEPARATOR.join(part for part in parts if part)
    return names


def _line_keys(frame: pd.DataFrame) -> list[LineKey]:
    models = [without_seed(model) for model in frame["model"]]
    return list(zip(models, frame["method"], frame["variant"], strict=True))


def by_line(frame: pd.DataFrame, names: dict[LineKey, str]) -> pd.DataFrame:
    """Return a table with the names of :func:`line_names` in the column `method`.

    Baselines keep theirs; rows of other methods than these are left out.
    """
    named = [
        method if method == BASELINE_METHOD else names.get((model, method, variant), "")
        for model, method, variant in _line_keys(frame)
    ]
    renamed = frame.assign(method=named)
    return renamed[renamed["method"] != ""]


def in_one_space(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of each run's own combination: of weights, or of outputs where its weights
    are not combined, as with a model that was trained independently.
    """
    of_weights = frame["combination"] == "weight"
    # Of means over models, the run alone says nothing.
    run = pd.MultiIndex.from_frame(frame[["run", "model", "method", "variant"]])
    swept = run.isin(run[of_weights])
    return frame[of_weights | (~swept & (frame["combination"] == "output"))]


def lines_to_draw(
    grid: pd.DataFrame, methods: list[str] | None, needed: bool = True
) -> tuple[list[str], dict[LineKey, str]]:
    """Return the names of the lines of methods, in their order, and by line. As `methods_of`."""
    order = {method: at for at, method in enumerate(methods_of(grid, methods, needed))}
    names = line_names(grid[grid["method"].isin(list(order))])
    ranked = sorted(names.items(), key=lambda item: (order[item[0][1]], item[1]))
    return list(dict.fromkeys(name for _, name in ranked)), names


def has_output_space(grid: pd.DataFrame, method: str) -> bool:
    """Whether the table has the method's output-space ensemble beside interpolated weights."""
    there = set(grid.loc[grid["method"] == method, "combination"])
    return {"weight", "output"} <= there
