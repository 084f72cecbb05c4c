"""Words of the figures: names of datasets and labels of axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from wiseft.base.metrics import ALL_FRAMES, MACRO_F1, WORST_GROUP
from wiseft.figures.series import Quantity
from wiseft.tabulate.schema import AVERAGE_PREFIX

METRICS = {
    WORST_GROUP: "worst-group accuracy",
    MACRO_F1: "macro F1",
    ALL_FRAMES: "all frames right",
}
THROUGH = "-classes"
"""Ends the name of a view through another dataset's classes."""


def result_name(file: str) -> str:
    """Return what a result of an experiment is called, whose file is named so."""
    return file.partition(".")[0].replace("index", "page")


def links_beside(files: Iterable[str]) -> str:
    """Return links to results in the same folder, as HTML; nothing of none."""
    links = [f'<a href="{escape(file)}">{escape(result_name(file))}</a>' for file in files]
    return f"<nav>See also: {' · '.join(links)}</nav>" if links else ""


def name_of(dataset: str, titles: Mapping[str, str]) -> str:
    """Return a dataset's name as readers know it, or that of an average without its prefix."""
    return titles.get(dataset, dataset.removeprefix(AVERAGE_PREFIX))


def axis_label(of: Quantity, titles: Mapping[str, str]) -> str:
    """Return the label of an axis: dataset, and the classes that it is restricted to."""
    if of.label:
        return of.label
    name = name_of(of.dataset, titles)
    if of.dataset.startswith(AVERAGE_PREFIX):
        return f"Average accuracy on {name} (%)"
    if of.view.endswith(THROUGH):
        through = name_of(of.view.removesuffix(THROUGH), titles)
        return f"{name} accuracy (%),\nclasses of {through}"
    return f"{name} accuracy (%)"


def short_number(value: float) -> str:
    """Return a number of at most about four characters, e.g. `50k` or `1.3M`."""
    for step, letter in ((1e6, "M"), (1e3, "k")):
        if value >= step:
            return f"{float(f'{value / step:.2g}'):g}{letter}"
    return f"{value:g}"
