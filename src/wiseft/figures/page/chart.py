"""The page's chart as a Vega-Lite specification: a panel a dataset, on logit axes.

Vega-Lite has no logit scale; positions are logits, and ticks are labelled in percent. Colours of
text and axes are `currentColor`, so that the chart follows the page between light and dark.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from matplotlib.path import Path
from numpy.typing import NDArray

from wiseft.figures.axes import expit, logit, logit_ticks
from wiseft.figures.page.content import Line, part
from wiseft.figures.series import MEASURED, PUBLISHED

WIDTH, HEIGHT, COLUMNS, TICKS = 268, 220, 3, 6
PANEL = WIDTH + 60
"""Pixels that a panel takes with its axis and the space beside it."""
PERCENT = "format(100 / (1 + exp(-datum.value)), '.4~g')"
ALPHA_PARAMETER, MODEL_PARAMETER, VIEW_PARAMETER = "alpha", "model", "views"
STEPS = 30
"""Between two points of a line: so many that no text fits between two of them."""
LETTER, LINE, CLEAR, REACH = 6, 12, 5, 44
"""Pixels: width of a letter and height of the name of an end, the space around it, and how far from
its point it may stand.
"""
COLUMNS_SIGNAL = "columns"
"""Panels in a row, which the page sets to what its width has room for."""


def chart(
    points: list[dict[str, Any]],
    lines: list[Line],
    datasets: list[tuple[str, str]],
    reference: str,
    start: tuple[str, float],
) -> dict[str, Any]:
    """Return the specification.

    Args:
        points: from :func:`wiseft.figures.page.content.records`.
        lines: for the colours.
        datasets: name and title of each panel.
        reference: title of the x axes.
        start: the model and the alpha that the page opens with.
    """
    colors = {line.label: line.color for line in lines}
    scale = {"domain": list(colors), "range": list(colors.values())}
    views = _views(points, lines)
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": "Accuracy under shift against reference accuracy, both on logit scales; a "
        "curve goes from the zero-shot model at alpha 0 to the fine-tuned one at alpha 1.",
        "background": None,
        "params": [
            {"name": ALPHA_PARAMETER, "value": start[1]},
            {"name": MODEL_PARAMETER, "value": start[0]},
            {"name": VIEW_PARAMETER, "value": views},
        ],
        "data": {"name": "points", "values": _with_places(points, views)},
        "transform": [{"filter": f"datum.model == {MODEL_PARAMETER}"}],
        "concat": [_panel(name, title, reference, points, scale) for name, title in datasets],
        "columns": COLUMNS,
        "spacing": 26,
        "resolve": {"scale": {"color": "shared", "strokeDash": "shared"}},
        "config": json.loads(part("theme.json")),
    }


def _panel(
    name: str, title: str, reference: str, points: list[dict[str, Any]], scale: dict[str, Any]
) -> dict[str, Any]:
    here = [point for point in points if point["dataset"] == name]
    position = {
        "x": _position("x", f"{reference} (%)", name),
        "y": _position("y", "accuracy (%)", name),
    }
    color = {"field": "series", "type": "nominal", "scale": scale, "legend": _legend("method")}
    line = {
        "transform": [{"filter": "datum.joined"}],
        "mark": {"type": "line", "strokeWidth": 1.6, "aria": False},
        "encoding": {
            **position,
            "color": color,
            **_dashes(points),
            "detail": [{"field": "line"}],
            "order": {"field": "alpha", "type": "quantitative"},
        },
    }
    marked = {"filter": f"abs(datum.alpha - {ALPHA_PARAMETER}) < 0.0005"}
    encoding = {**position, "color": color}
    return {
        "title": {"text": title, "anchor": "start"},
        "width": WIDTH,
        "height": HEIGHT,
        "transform": [{"filter": f"datum.dataset == {json.dumps(name)}"}],
        "layer": [
            _identity(here),
            _absent(name),
            line,
            _points(encoding, filled=True, opacity=1, size=26),
            {
                "transform": [{"filter": "datum.recommended"}],
                **_points(encoding, shape="diamond", filled=True, opacity=1, size=110),
            },
            _ends(position),
            {
                "transform": [marked],
                **_points(encoding, filled=False, size=190, strokeWidth=2.6),
            },
        ],
    }


def _ends(position: dict[str, Any]) -> dict[str, Any]:
    """Return the names of the ends of a panel's first line, where :func:`_with_places` says."""
    return {
        "transform": [{"filter": "datum.end"}],
        "mark": {
            "type": "text",
            "text": {"expr": "datum.end"},
            "dx": {"expr": "datum.dx"},
            "dy": {"expr": "datum.dy"},
            "color": "currentColor",
            "aria": False,
        },
        "encoding": position,
    }


def _points(encoding: dict[str, Any], **mark: Any) -> dict[str, Any]:
    """Return a layer of points that say what they are, to a mouse and to a screen reader."""
    fields = ("series", "source", "alpha", "reference accuracy", "accuracy")
    description = {
        "expr": "datum.series + ', ' + datum.source + ', ' + datum.title + ', alpha ' + "
        "datum.alpha + ': ' + datum.accuracy + ', reference ' + datum['reference accuracy']"
    }
    return {
        "mark": {"type": "point", **mark, "description": description},
        "encoding": {
            **encoding,
            "tooltip": [{"field": field, "type": "nominal"} for field in fields],
        },
    }


def _views(points: list[dict[str, Any]], lines: list[Line]) -> dict[str, Any]:
    """Return ends and ticks (logits) of each axis, by model (one shows at a time) and dataset."""
    values: dict[str, Any] = {line.model: {} for line in lines}
    for point in points:
        here = values[point["model"]].setdefault(point["dataset"], {})
        for axis in ("x", "y"):
            here.setdefault(axis, []).append(point[axis])
    return {
        model: {
            dataset: {axis: _view(positions) for axis, positions in axes.items()}
            for dataset, axes in panels.items()
        }
        for model, panels in values.items()
    }


def _view(values: list[float]) -> dict[str, list[float]]:
    pad = 0.1 * max(max(values) - min(values), 0.2)
    low, high = min(values) - pad, max(values) + pad
    inside = 0.3 * pad  # a label at the very end would push the panel out of its row
    ticks = logit_ticks(float(expit(low + inside)), float(expit(high - inside)), most=TICKS)
    return {"ends": [round(low, 4), round(high, 4)], "ticks": [float(logit(t)) for t in ticks]}


def _with_places(points: list[dict[str, Any]], views: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the points; the named ends also say where the middle of the name stands (pixels)."""
    placed = [dict(point) for point in points]
    panels: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for point in placed:
        panels.setdefault((point["model"], point["dataset"]), []).append(point)
    for (model, dataset), here in panels.items():
        view = views[model][dataset]
        low = min(view["x"]["ends"][0], view["y"]["ends"][0])
        high = max(view["x"]["ends"][1], view["y"]["ends"][1])
        lines = {"y = x": [(low, low), (high, high)]}
        for point in here:
            lines.setdefault(point["line"], []).append((point["x"], point["y"]))
        taken = np.concatenate(
            [Path(_pixels(line, view)).interpolated(STEPS).vertices for line in lines.values()]
        )
        for point in [each for each in here if each["end"]]:
            at, half = _pixels((point["x"], point["y"]), view), LETTER * len(point["end"]) / 2
            point["dx"], point["dy"] = place = _free_place(at, taken, half)
            name = at + place + [(-half, 0), (half, 0)]
            taken = np.concatenate([taken, Path(name).interpolated(STEPS).vertices])
    return placed


def _pixels(positions: Any, view: dict[str, Any]) -> NDArray[np.float64]:
    """Return positions (logits) of a panel in pixels from its upper left corner."""
    (left, right), (low, high) = view["x"]["ends"], view["y"]["ends"]
    share = (np.array(positions) - (left, high)) / (right - left, low - high)
    return np.asarray(share * (WIDTH, HEIGHT))


def _free_place(
    at: NDArray[np.float64], taken: NDArray[np.float64], half_width: float
) -> tuple[int, int]:
    """Return how far from a point (pixels) the middle of its name stands: the nearest place within
    the panel where it lies on nothing that is drawn, or else the one with the most room.
    """
    half = np.array([half_width, LINE / 2])
    steps = sorted(range(-REACH, REACH + 1, 4), key=lambda step: step < 0)  # right and below first
    offsets = np.array([(dx, dy) for dx in steps for dy in steps])
    middle = at + offsets
    inside = ((middle >= half) & (middle <= (WIDTH, HEIGHT) - half)).all(axis=1)
    room = (np.abs(taken - middle[:, None]) - half).max(axis=2).min(axis=1)
    away = np.hypot(*np.maximum(np.abs(offsets) - half, 0).T)
    dx, dy = offsets[np.lexsort((away, -np.minimum(room, CLEAR), ~inside))[0]].tolist()
    return dx, dy


def _position(axis: str, title: str, dataset: str) -> dict[str, Any]:
    here = f"{VIEW_PARAMETER}[{MODEL_PARAMETER}][{json.dumps(dataset)}]"
    # A model without the dataset has an empty panel, which still needs ends.
    ends = f"{here} ? {here}.{axis}.ends : [-1, 1]"
    ticks = f"{here} ? {here}.{axis}.ticks : []"
    return {
        "field": axis,
        "type": "quantitative",
        "scale": {"domain": {"expr": ends}, "nice": False, "zero": False},
        "axis": {"title": title, "values": {"expr": ticks}, "labelExpr": PERCENT},
    }


def _dashes(points: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an encoding that dashes published numbers where measured ones stand beside them."""
    if len({point["source"] for point in points}) == 1:
        return {}
    dash = {
        "field": "source",
        "type": "nominal",
        "scale": {"domain": [MEASURED, PUBLISHED], "range": [[1, 0], [3, 2]]},
        "legend": _legend("numbers"),
    }
    return {"strokeDash": dash}


def _absent(name: str) -> dict[str, Any]:
    """Return words for the panel of a dataset for which the chosen model has no points."""
    known = f"{VIEW_PARAMETER}[{MODEL_PARAMETER}][{json.dumps(name)}]"
    return {
        "data": {"values": [{}]},
        "mark": {
            "type": "text",
            "text": {"expr": f"{known} ? '' : 'no numbers of this model between 0 and 100 %'"},
            "color": "currentColor",
            "fontSize": 12,
        },
        "encoding": {"x": {"value": WIDTH / 2}, "y": {"value": HEIGHT / 2}},
    }


def _identity(here: list[dict[str, Any]]) -> dict[str, Any]:
    """Return y = x, clipped to the panel."""
    values = [point[axis] for point in here for axis in ("x", "y")] or [0.0]
    ends = [{"x": end, "y": end} for end in (min(values) - 1, max(values) + 1)]
    return {
        "data": {"values": ends},
        "mark": {
            "type": "line",
            "clip": True,
            "stroke": "currentColor",
            "opacity": 0.5,
            "strokeDash": [5, 3],
            "strokeWidth": 1,
            "aria": False,
        },
        "encoding": {
            "x": {"field": "x", "type": "quantitative"},
            "y": {"field": "y", "type": "quantitative"},
        },
    }


def _legend(title: str) -> dict[str, Any]:
    return {"orient": "top", "title": title, "direction": "horizontal", "columns": 3}
