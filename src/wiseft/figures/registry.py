"""The one way to draw and to save a figure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import pandas as pd
from matplotlib.figure import Figure
from pydantic import ConfigDict, create_model

from wiseft.base import plugins
from wiseft.base.io import atomic_path
from wiseft.base.rehearsal import mark
from wiseft.base.validation import validate
from wiseft.errors import WiseftError
from wiseft.figures.style import Style, paper_style

# No format may hold a date: the same table gives the same bytes.
METADATA: dict[str, dict[str, Any]] = {
    ".pdf": {"CreationDate": None},
    ".png": {},
    ".svg": {"Date": None},
}


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
        function = plugins.load(plugins.DRAWINGS, draw).draw
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


def save_figure(figure: Figure, paths: Iterable[Path]) -> None:
    """Save a figure as PDF, PNG or SVG by each path's suffix, within the active style.

    Raises:
        WiseftError: if a suffix is another one.
    """
    targets = [Path(path) for path in paths]
    for path in targets:
        if path.suffix not in METADATA:
            raise WiseftError(f"{path}: expected a file that ends in {', '.join(METADATA)}.")
    mark(figure)
    for path in targets:
        with atomic_path(path) as temporary:
            figure.savefig(temporary, metadata=METADATA[path.suffix])


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
