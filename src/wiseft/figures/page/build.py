"""Puts the page together: texts, data, chart and the library that draws it, in one file."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from wiseft.base.alphas import FIXED_ALPHA
from wiseft.base.rehearsal import noted, titled
from wiseft.base.templates import filled
from wiseft.base.typed import Entry
from wiseft.errors import WiseftError
from wiseft.figures.labels import links_beside, name_of, panel_title
from wiseft.figures.page.chart import COLUMNS, COLUMNS_SIGNAL, charts
from wiseft.figures.page.content import (
    Line,
    answer,
    lines_of,
    models_of,
    over_settings,
    part,
    records,
    table_data,
)
from wiseft.tabulate.models import FEWEST_MODELS
from wiseft.tabulate.schema import AVERAGE_PREFIX, MEASURED, PUBLISHED


class PageSettings(Entry):
    """What the page says and shows; from the experiment."""

    experiment: str
    """Name; files that the page saves are named after it."""
    title: str
    """Heading of the page."""
    about: str = ""
    """Text below the findings."""
    details: str = ""
    """Text at the end: how the numbers were made."""
    says: str = ""
    """First sentence of the page. Default: the gain of an alpha."""
    reference: str
    """Dataset on the x axes."""
    datasets: list[str]
    """Shifts in order; those without rows are left out."""
    averages: list[str] = Field([])
    """Averages, whose panels come first."""
    titles: dict[str, str] = Field({})
    """Titles of datasets."""
    samples: str = "images"
    """What was evaluated."""
    captions: dict[str, str] = Field({})
    """Captions of the figures by name."""
    view: str = "all"
    """View to show of every dataset."""
    methods: list[str] = Field([])
    """Measured methods to show; none: all."""
    further_methods: int = 0
    """Number of methods that are not shown."""
    recommended: float | None = None
    """Alpha to start with and recommend; null: 0.5, and the held-out choice."""


def build_page(
    table: pd.DataFrame,
    settings: PageSettings,
    output: Path,
    links: Sequence[Path] = (),
    beside: Sequence[str] = (),
    comparisons: pd.DataFrame | None = None,
    flips: str = "",
    tuning: pd.DataFrame | None = None,
) -> str:
    """Return the page as HTML.

    Args:
        table: the tidy table; published rows stand beside measured ones.
        settings: what the page says and shows.
        output: where the page will lie; figures lie in the folder `figures` beside it.
        links: files to link to.
        beside: names of further results in its folder, linked to at the top.
        comparisons: paired differences to both ends, whose intervals what was found gets.
        flips: HTML that stands below the numbers.
        tuning: settings of one recipe (`schema.TUNING`), if there are several.

    Raises:
        WiseftError: if the table has nothing to show, or the library is not installed.
    """
    reference, titles = settings.reference, settings.titles
    wanted = [*(AVERAGE_PREFIX + name for name in settings.averages), *settings.datasets]
    wanted = [name for name in dict.fromkeys(wanted) if name != reference]
    lines = lines_of(table, reference, wanted, settings.view, settings.methods)
    if settings.recommended is not None:
        lines = [replace(line, recommended=settings.recommended) for line in lines]
    names = [name for name in wanted if any(name in line.values for line in lines)]
    models = models_of(lines)
    model, alpha = _start(lines, models, reference, settings.recommended)
    specs = charts(
        records(lines, reference, names, titles),
        lines,
        [(name, panel_title(name, titles)) for name in names],
        name_of(reference, titles),
        (model, alpha),
    )
    data = table_data(lines, reference, names, titles)
    data |= {"experiment": settings.experiment, "start": {"model": model, "alpha": f"{alpha:.3f}"}}
    data |= {"columns": COLUMNS}
    first = next(line for line in lines if line.model == model and names[0] in line.values)
    who = [model] if len(models) > 1 else []
    who += [first.label] if len({line.label for line in lines}) > 1 else []
    found = answer(
        first, (reference, names[0]), alpha, titles, comparisons, ", ".join(who), settings.samples
    )
    over = [] if tuning is None else over_settings(tuning, model, (reference, names[0]), titles)
    said = [settings.says] if settings.says else [*over, *found]
    scripts, style = [library(), part("page.js")], part("page.css")
    sources = {line.source for line in lines}
    return filled(
        "figures/page/template.html",
        title=titled(settings.title),
        answer=said[0],
        second=noted(" ".join(said[1:])),
        about=settings.about,
        details=settings.details,
        reference=name_of(reference, titles),
        lead=panel_title(names[0], titles),
        models=len(models),
        panels=len(names),
        beside=links_beside(beside),
        measured=MEASURED in sources,
        published=PUBLISHED in sources,
        further=settings.further_methods,
        chosen=any(line.recommended is not None for line in lines),
        samples=settings.samples,
        seeds=max(line.models for line in lines),
        fewest=FEWEST_MODELS,
        flips=flips,
        links=_links(links, output),
        captions=settings.captions,
        data=_embedded(data),
        specs=_embedded([compiled(spec) for spec in specs]),
        library=scripts[0],
        script=scripts[1],
        style=style,
        script_hashes=" ".join(map(_hash, scripts)),
        style_hash=_hash(style),
    )


def _start(
    lines: list[Line], models: list[str], reference: str, recommended: float | None
) -> tuple[str, float]:
    """Return what a page opens with: the model with numbers on the most datasets, and an alpha."""
    by_model = {name: [line for line in lines if line.model == name] for name in models}
    model = max(models, key=lambda name: len(set().union(*(one.values for one in by_model[name]))))
    alphas = pd.concat([line.values[reference]["alpha"] for line in by_model[model]])
    wanted = float(FIXED_ALPHA) if recommended is None else recommended
    return model, wanted if wanted in alphas.to_numpy() else float(alphas.min())


def _links(links: Sequence[Path], output: Path) -> list[tuple[str, str]]:
    """Return names and addresses of files, seen from the page."""
    names = [path.name for path in links]  # of sweeps all alike: their folders tell them apart
    own = [f"{path.parent.name}/" * (names.count(path.name) > 1) + path.name for path in links]
    at = [Path(os.path.relpath(path, output.parent)).as_posix() for path in links]
    return list(zip(own, at, strict=True))


def _embedded(data: Any) -> str:
    """Return JSON that cannot end the script element that it stands in, nor (by `<!--<script`)
    keep it from ending.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _hash(text: str) -> str:
    """Return how a content-security policy names the one text that it allows."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def compiled(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a Vega-Lite chart as Vega, so that an error shows here and not in a browser.

    The number of panels in a row becomes a signal, which Vega-Lite has no word for.

    Raises:
        WiseftError: if Vega-Lite refuses the chart or is not installed.
    """
    try:
        vega = dict(_vl_convert().vegalite_to_vega(spec))
    except ValueError as error:
        raise WiseftError(f"the page's chart is not valid: {error}") from None
    if "layout" in vega:
        vega["signals"].append({"name": COLUMNS_SIGNAL, "value": vega["layout"]["columns"]})
        vega["layout"]["columns"] = {"signal": COLUMNS_SIGNAL}
    return vega


@cache
def library() -> str:
    """Return Vega and Vega-Embed as one script, from the package that carries them.

    Raises:
        WiseftError: if the package is not installed.
    """
    script: str = _vl_convert().javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return script.replace("</script", "<\\/script")


def _vl_convert() -> Any:
    try:
        import vl_convert
    except ImportError:
        raise WiseftError(
            "the page needs vl-convert-python, which carries Vega; install it: "
            "pip install vl-convert-python"
        ) from None
    return vl_convert
