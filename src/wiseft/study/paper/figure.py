"""Draws a figure of an experiment by the name of its drawing, and saves it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import pandas as pd
from matplotlib.figure import Figure
from pydantic import ConfigDict, create_model

from wiseft.base import plugins
from wiseft.base.validation import validate
from wiseft.errors import WiseftError
from wiseft.figures.saving import save_figure
from wiseft.figures.style import Style, paper_style
from wiseft.study import DRAWINGS


def draw_figure(
    name: str,
    draw: str,
    table: pd.DataFrame,
    style: Style,
    options: Mapping[str, Any],
    context: Mapping[str, Any] | None = None,
) -> Figure:
    """Draw one figure.

    Args:
        name: the figure's name, for messages, e.g. `robustness-natural`.
        draw: the drawing, a file of `wiseft.study.drawings`.
        table: the tidy table.
        style: from :func:`wiseft.figures.style.paper_style`, which must be active.
        options: keyword arguments of the drawing.
        context: what is known of the experiment (:mod:`wiseft.study.paper.context`): keyword
            arguments for the drawings that take them, and none that `options` gives.

    Raises:
        WiseftError: with the figure's name, if the drawing or an option is unknown or the table
            lacks what the figure shows.
    """
    try:
        function = plugins.load(DRAWINGS, draw).draw
        figure: Figure = function(table, style, **_options(function, options, context or {}))
        return figure
    except WiseftError as error:
        raise WiseftError(f"figure {name}: {error}") from error


def _options(
    function: Callable[..., Figure], options: Mapping[str, Any], context: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options, checked against a drawing's keyword-only parameters."""
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {
        parameter.name: (
            hints[parameter.name],
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    model = create_model("FigureOptions", __config__=ConfigDict(extra="forbid"), **fields)
    taken = {key: value for key, value in context.items() if key in fields}
    settings = validate(model, {**taken, **options}, "options")
    return {key: getattr(settings, key) for key in settings.model_fields_set}


def make_figure(
    name: str,
    draw: str,
    table: pd.DataFrame,
    options: Mapping[str, Any],
    paths: Iterable[Path],
    context: Mapping[str, Any] | None = None,
) -> None:
    """Draw one figure in the paper's style and save it. Raises as the two functions it calls."""
    with paper_style() as style:
        save_figure(draw_figure(name, draw, table, style, options, context), paths)
