"""Words of the figures: names of datasets and lines, and the ticks of logit axes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape

import numpy as np
from scipy.special import logit

from wiseft.tabulate.schema import AVERAGE_PREFIX

STEPS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""Distances in percent between the ticks of an axis that is nearly linear."""
WHOLE_STEPS = tuple(step for step in STEPS if step >= 1)
LEAST_TICKS = 3
"""With fewer, a reader cannot see how the axis is scaled."""
NICE = (
    *(50.0, 90.0, 99.0, 10.0, 1.0, 99.9, 0.1),
    *(80.0, 95.0, 60.0, 98.0, 20.0, 40.0, 70.0, 30.0, 5.0, 97.0, 99.5, 2.0, 0.5, 99.8, 0.2),
    *(85.0, 75.0, 96.0, 93.0, 92.0, 94.0, 15.0, 25.0, 65.0, 55.0, 45.0, 35.0, 91.0, 98.5, 99.2),
)
"""Ticks in percent of an axis that is not, the most welcome first."""

FEW = 2
"""So few points of a curve are not joined: a line would pretend to know what is in between."""
SEPARATOR = ", "
"""Between the parts of a line's name."""


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


def accuracy_label(dataset: str, titles: Mapping[str, str]) -> str:
    """Return the label of an axis of accuracies on a dataset, or of those of an average."""
    name = name_of(dataset, titles)
    average = dataset.startswith(AVERAGE_PREFIX)
    return f"Average accuracy on {name} (%)" if average else f"{name} accuracy (%)"


def variant_names(variants: Iterable[str]) -> dict[str, str]:
    """Return what tells variants of a method apart, in words.

    It is empty for a variant whose name all others continue: of `digits` and `digits-lr-6e-3`, the
    second is named `learning rate 6e-3`.
    """
    names = set(variants)
    stem = min(names, key=len)
    if all(name.startswith(f"{stem}-" if stem else "") for name in names - {stem}):
        left = {name: name.removeprefix(stem).removeprefix("-") for name in names}
    else:
        left = {name: name or "default" for name in names}
    return {name: re.sub(r"^lr-", "learning rate ", rest) for name, rest in left.items()}


def logit_ticks(low: float, high: float, most: int = 10) -> list[float]:
    """Return ticks within [low, high] (fractions), no closer than a `most`-th of the axis.

    A range where one distance in percent serves gets evenly stepped ticks; a wide one gets those
    of `NICE` that have room, such as 60 70 80 90 95 98 99.
    """
    room = float(logit(high) - logit(low)) / (most + 0.5)
    even = _even_ticks(low, high, STEPS, room)
    if even:
        return even
    chosen: list[float] = []
    for percent in NICE:
        tick = percent / 100
        if low <= tick <= high and all(abs(logit(tick) - logit(c)) >= room for c in chosen):
            chosen.append(tick)
    if len(chosen) < LEAST_TICKS:  # two digits take less room than the `most` allows for
        chosen = _even_ticks(low, high, WHOLE_STEPS, 0.8 * room) or chosen
    return sorted(chosen)


def _even_ticks(low: float, high: float, steps: Iterable[float], room: float) -> list[float]:
    """Return ticks of the first step (percent) that leaves `room` (logits); of none, no tick."""
    for step in steps:
        count = np.arange(np.ceil(100 * low / step - 1e-9), np.floor(100 * high / step + 1e-9) + 1)
        ticks = np.round(count * step / 100, 6)
        ticks = ticks[(ticks > 0) & (ticks < 1)]
        gaps = np.diff(logit(ticks))
        if len(ticks) >= LEAST_TICKS and gaps.min() >= room and gaps.max() < 2.2 * gaps.min():
            return [float(tick) for tick in ticks]
    return []


def panel_title(dataset: str, titles: dict[str, str]) -> str:
    """Return a dataset's name as readers know it; of an average, that it is one."""
    average = "Average of " if dataset.startswith(AVERAGE_PREFIX) else ""
    return average + name_of(dataset, titles)
