"""The page's charts as Vega-Lite specifications: a large panel, and one a dataset, on logit axes.

Vega-Lite has no logit scale; positions are logits, and ticks are labelled in percent. Colours of
text and axes are `currentColor`, so that the charts follow the page between light and dark. The
page sets their sizes, and says in the signal `places` where names stand in the large panel.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from wiseft.figures.axes import expit, logit, logit_ticks
from wiseft.figures.page.content import FARTHEST, Line, part
from wiseft.figures.series import MEASURED, PUBLISHED

COLUMNS, TICKS = 3, 6
PERCENT = "format(100 / (1 + exp(-datum.value)), '.4~g')"
ALPHA_PARAMETER, MODEL_PARAMETER, VIEW_PARAMETER = "alpha", "model", "views"
COLUMNS_SIGNAL = "columns"
"""Panels in a row, which the page sets to what its width has room for."""
SHAPE = "datum.alpha == 0 ? 'square' : datum.alpha == 1 ? 'triangle-up' : 'circle'"
SIZE = "datum.alpha == 0 || datum.alpha == 1 ? {} : {}"
"""Both ends have shapes of their own, so that no panel needs words for them."""


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
    colors = {line.label: line.color for line in lines}
    scale = {"domain": list(colors), "range": list(colors.values())}
    (name, title), *others = datasets
    lead = _chart(points, lines, start, [name], wide=True)
    panel = _panel(name, title, reference, points, scale)
    at = panel.pop("at")
    panel["layer"] = [*_crosses(at), *panel["layer"], _names(at)]
    found = [lead | panel | {"title": None, "width": 640, "height": 380}]
    if others:
        several = _chart(points, lines, start, [each for each, _ in others])
        panels = [_panel(*each, reference, points, scale) for each in others]
        found.append(
            several
            | {
                "concat": [{k: v for k, v in each.items() if k != "at"} for each in panels],
                "columns": COLUMNS,
                "spacing": 24,
                "resolve": {"scale": {"color": "shared", "strokeDash": "shared"}},
            }
        )
    return found


def _chart(
    points: list[dict[str, Any]],
    lines: list[Line],
    start: tuple[str, float],
    names: list[str],
    wide: bool = False,
) -> dict[str, Any]:
    here = [point for point in points if point["dataset"] in names]
    parameters = {ALPHA_PARAMETER: start[1], MODEL_PARAMETER: start[0]}
    parameters |= {VIEW_PARAMETER: _views(here, lines, wide)} | ({"places": {}} if wide else {})
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": "Accuracy under shift against reference accuracy, both on logit scales; a "
        "curve goes from the zero-shot model at alpha 0 to the fine-tuned one at alpha 1.",
        "background": None,
        "params": [{"name": name, "value": value} for name, value in parameters.items()],
        "data": {"name": "points", "values": here},
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
    color = {"field": "series", "type": "nominal", "scale": scale, "legend": None}
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
    every = {"shape": {"expr": SHAPE}, "size": {"expr": SIZE.format(70, 26)}}
    return {
        "title": {"text": title, "anchor": "start", "limit": {"expr": "childWidth"}},
        "width": 268,
        "height": 220,
        "transform": [
            {"filter": f"datum.model == {MODEL_PARAMETER}"},
            {"filter": f"datum.dataset == {json.dumps(name)}"},
        ],
        "at": encoding,
        "layer": [
            _identity(here),
            _absent(name),
            line,
            _points(encoding, filled=True, opacity=1, **every),
            {
                "transform": [{"filter": "datum.recommended"}],
                **_points(encoding, shape="diamond", filled=True, opacity=1, size=130),
            },
            {
                "transform": [marked],
                **_points(encoding, filled=False, size=210, strokeWidth=2.6),
            },
        ],
    }


def _crosses(encoding: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the intervals of points in both directions: faint ones of the first line's, and
    strong ones at alpha.
    """
    marked = f"abs(datum.alpha - {ALPHA_PARAMETER}) < 0.0005"
    layers: list[dict[str, Any]] = []
    for test, look in ((f"datum.first && !({marked})", 0.25), (marked, 0.9)):
        for axis in ("x", "y"):
            ends = {
                axis: {**encoding[axis], "field": f"{axis}_low"},
                f"{axis}2": {"field": f"{axis}_high"},
            }
            mark = {"type": "rule", "clip": True, "aria": False, "opacity": look}
            layers.append(
                {
                    "transform": [{"filter": f"isValid(datum.{axis}_low) && ({test})"}],
                    "mark": {**mark, "strokeWidth": 1 if look < 0.5 else 2},
                    "encoding": {**encoding, **ends},
                }
            )
    return layers


def _names(encoding: dict[str, Any]) -> dict[str, Any]:
    """Return the names of points of the first line, where the page has found room for them."""
    at = "places[datum.name]"
    return {
        "transform": [{"filter": f"datum.name && {at}"}],
        "mark": {
            "type": "text",
            "text": {"expr": "datum.name"},
            "dx": {"expr": f"{at}[0]"},
            "dy": {"expr": f"{at}[1]"},
            "color": "currentColor",
            "fontSize": 13,
            "fontWeight": 600,
            "aria": False,
        },
        "encoding": {axis: encoding[axis] for axis in ("x", "y")},
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


def _views(points: list[dict[str, Any]], lines: list[Line], wide: bool = False) -> dict[str, Any]:
    """Return ends and ticks (logits) of each axis, by model (one shows at a time) and dataset.

    Args:
        wide: whether intervals of the first line's points have to fit, too.
    """
    values: dict[str, Any] = {line.model: {} for line in lines}
    for point in points:
        here = values[point["model"]].setdefault(point["dataset"], {})
        for axis in ("x", "y"):
            ends = [point[f"{axis}_low"], point[f"{axis}_high"]] if wide and point["first"] else []
            known = [end for end in ends if end is not None and abs(end) < FARTHEST]
            here.setdefault(axis, []).extend([point[axis], *known])
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
        "legend": None,
    }
    return {"strokeDash": dash}


def _absent(name: str) -> dict[str, Any]:
    """Return words for the panel of a dataset for which the chosen model has no points."""
    known = f"{VIEW_PARAMETER}[{MODEL_PARAMETER}][{json.dumps(name)}]"
    return {
        "data": {"values": [{}]},
        "mark": {
            "type": "text",
            "text": {"expr": f"{known} ? '' : 'no numbers of this model'"},
            "color": "currentColor",
            "fontSize": 12,
            "align": "left",
        },
        "encoding": {"x": {"value": 12}, "y": {"value": 20}},
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
