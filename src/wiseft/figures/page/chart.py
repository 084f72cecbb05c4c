"""The page's charts as Vega-Lite specifications: a large panel, and one a dataset, on logit axes.

Vega-Lite has no logit scale; positions are logits, and ticks are labelled in percent. Colours of
text and axes are `currentColor`, so that the charts follow the page between light and dark. Both
ends have shapes of their own, so that small panels need no words for them. The page sets sizes,
and says in the signal `places` where names stand in the large panel. What all panels have is
written in `panel.json`; `$place` is the place of the panel's dataset.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from string import Template
from typing import Any

from scipy.special import expit, logit

from wiseft.figures.labels import logit_ticks
from wiseft.figures.page.content import FARTHEST, Line, part
from wiseft.tabulate.schema import MEASURED, PUBLISHED

COLUMNS, TICKS = 3, 6
COLUMNS_SIGNAL = "columns"
"""Panels in a row, which the page sets to what its width has room for."""
LEAD = ("crosses", "names")
"""Layers of the large panel alone: intervals, and names of points."""
FIELDS = ("series", "source", "alpha", "reference accuracy", "accuracy")
"""What a point says to a mouse."""


def charts(
    points: list[dict[str, Any]],
    lines: list[Line],
    datasets: Sequence[tuple[str, str]],
    reference: str,
    start: tuple[str, float],
) -> list[dict[str, Any]]:
    """Return two specifications: the first dataset alone and with intervals, and all others.

    Args:
        points: from :func:`wiseft.figures.page.content.records`.
        lines: for the colours.
        datasets: name and title of each panel; the second chart is left out where there is one.
        reference: title of the x axes.
        start: the model and the alpha that the page opens with.
    """
    places = {name: place for place, (name, _) in enumerate(datasets)}
    points = [point | {"panel": places[point["dataset"]]} for point in points]
    colors = {line.label: line.color for line in lines}
    scale = {"domain": list(colors), "range": list(colors.values())}
    sources = {point["source"] for point in points}
    panels = [
        _panel(place, title, reference, scale, len(sources) > 1)
        for place, (_, title) in enumerate(datasets)
    ]
    first = [point for point in points if point["panel"] == 0]
    lead = {**panels[0], "title": None, "width": 640, "height": 380}
    found = [_chart(first, lines, start, wide=True) | lead]
    if len(panels) > 1:
        several = {"concat": panels[1:], "columns": COLUMNS, "spacing": 24}
        several["resolve"] = {"scale": {"color": "shared", "strokeDash": "shared"}}
        others = [point for point in points if point["panel"] > 0]
        found.append(_chart(others, lines, start) | several)
    return found


def _chart(
    points: list[dict[str, Any]], lines: list[Line], start: tuple[str, float], wide: bool = False
) -> dict[str, Any]:
    signals = {"alpha": start[1], "model": start[0], "views": _views(points, lines, wide)}
    signals |= {"places": {}} if wide else {}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": "Accuracy under shift against reference accuracy, both on logit scales; a "
        "curve goes from the zero-shot model at alpha 0 to the fine-tuned one at alpha 1.",
        "background": None,
        "params": [{"name": name, "value": value} for name, value in signals.items()],
        "data": {"name": "points", "values": points},
        "config": json.loads(part("theme.json")),
    }


def _panel(
    place: int, title: str, reference: str, scale: dict[str, Any], dashed: bool
) -> dict[str, Any]:
    """Return a panel; published numbers are dashed where measured ones stand beside them."""
    panel: dict[str, Any] = json.loads(Template(part("panel.json")).substitute(place=place))
    panel["title"]["text"] = title
    panel["encoding"]["x"]["axis"]["title"] = f"{reference} (%)"
    panel["encoding"]["color"]["scale"] = scale
    dash = {"domain": [MEASURED, PUBLISHED], "range": [[1, 0], [3, 2]]}
    wanted = [each for each in panel["layer"] if place == 0 or each.get("name") not in LEAD]
    panel["layer"] = wanted
    for layer in wanted:
        if layer.pop("name", "") == "line" and dashed:
            layer["encoding"]["strokeDash"] = {"field": "source", "scale": dash, "legend": None}
        if layer["mark"]["type"] == "point":
            layer["encoding"] = {"tooltip": [{"field": name} for name in FIELDS]}
    return panel


def _views(points: list[dict[str, Any]], lines: list[Line], wide: bool = False) -> dict[str, Any]:
    """Return ends and ticks (logits) of each axis, by model (one shows at a time) and panel.

    Args:
        wide: whether intervals of the first line's points have to fit, too.
    """
    values: dict[str, Any] = {line.model: {} for line in lines}
    for point in points:
        here = values[point["model"]].setdefault(str(point["panel"]), {})
        for axis in ("x", "y"):
            ends = [point[f"{axis}_low"], point[f"{axis}_high"]] if wide and point["first"] else []
            known = [end for end in ends if end is not None and abs(end) < FARTHEST]
            here.setdefault(axis, []).extend([point[axis], *known])
    return {
        model: {
            panel: {axis: _view(positions) for axis, positions in axes.items()}
            for panel, axes in panels.items()
        }
        for model, panels in values.items()
    }


def _view(values: list[float]) -> dict[str, list[float]]:
    pad = 0.1 * max(max(values) - min(values), 0.2)
    low, high = min(values) - pad, max(values) + pad
    inside = 0.3 * pad  # a label at the very end would push the panel out of its row
    ticks = logit_ticks(float(expit(low + inside)), float(expit(high - inside)), most=TICKS)
    return {"ends": [round(low, 4), round(high, 4)], "ticks": [float(logit(t)) for t in ticks]}
