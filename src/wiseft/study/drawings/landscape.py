"""Accuracy against α on each dataset (the form of the paper's Figure 6). All panels span the same
number of percentage points. Solid grey is the chord of the end-to-end curve: (1 - α) times the
zero-shot plus α times the fine-tuned accuracy. The paper's first observation is a curve above it.
Dash-dotted is the better of the two ends. The paper's second observation is a curve above it.

Error bars are 95 % Clopper-Pearson intervals of single runs, with their ends averaged over the
runs. Bands go from the smallest to the largest run. For a linear classifier, weight space and
output space are the same.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wiseft.errors import WiseftError
from wiseft.figures.axes import percent_axis
from wiseft.figures.labels import FEW
from wiseft.figures.legend import FIXED, SMALL, fitting_legend, together
from wiseft.figures.line_names import by_line, has_output_space, lines_to_draw
from wiseft.figures.marks import legend_line
from wiseft.figures.select import FIXED_ALPHA, curve, grid_rows, reference_of, rows, shifts_of
from wiseft.figures.style import BLACK, DASHDOT, DOTTED, FADED_LINE, GREY, OUTPUT_SPACE, Look, Style
from wiseft.tabulate.intervals import with_intervals
from wiseft.tabulate.models import each_run, mean_over_runs
from wiseft.tabulate.schema import MEASURED, PUBLISHED

CHORD = Look("chord between the ends", GREY, "", "-")
BETTER_END = Look("better end", BLACK, "", DASHDOT)
OPTIMUM = Look("best α (its value is not published)", BLACK, "", DOTTED)
GAIN = Look("pp: α = 0.5 over fine-tuned", BLACK, "", "none")


def draw(
    table: pd.DataFrame,
    style: Style,
    *,
    datasets: list[str] | None = None,
    groups: dict[str, list[str]] | None = None,
    labels: dict[str, str] | None = None,
    methods: list[str] | None = None,
    models: list[str] | None = None,
    variants: list[str] | None = None,
    output_space: bool = True,
    chord: bool = True,
    gain: bool = False,
    optimum: bool = False,
    columns: int = 3,
    source: Literal["measured", "published", "all"] = "measured",
) -> Figure:
    """Draw one panel per dataset; all panels span the same number of percentage points.

    Args:
        table: the tidy table.
        style: looks and widths.
        datasets: panels in reading order; by default the reference, then the groups' members or,
            without groups, all other datasets.
        groups: datasets by the word to write in the corner of their panels, e.g. `natural`.
        labels: panel titles that differ from the dataset's name.
        methods: methods to draw; by default all of the table. Chord, better end and output-space
            ensemble belong to the first.
        models, variants: models and variants to draw, one line each; by default all.
        output_space: whether the output-space ensemble is drawn.
        chord: whether the chord between the ends and the better end are drawn.
        gain: whether to write the gain of the first method at alpha 0.5 over its fine-tuned end.
        optimum: whether the level of the best alpha is drawn where the alpha itself is unknown, as
            in the paper's Figure 16.
        columns: number of panels in a row.
        source: `all` also draws published numbers: beside measured ones, or alone in panels
            without measurements.

    Raises:
        WiseftError: if the selection is empty or not one curve a run, or if a panel has no curve.
    """
    wanted = {"model": models, "variant": variants, "dataset": datasets}
    chosen_rows = rows(table, **{name: v for name, v in wanted.items() if v is not None})
    grids = _grids(chosen_rows, source, methods)
    chosen, lines = lines_to_draw(pd.concat(grids.values()), methods)
    grids = {name: by_line(part, lines) for name, part in grids.items()}
    chosen_rows, grid = by_line(chosen_rows, lines), next(iter(grids.values()))
    looks = style.looks(chosen)
    members = [name for group in (groups or {}).values() for name in group]
    names = datasets or [reference_of(grid), *(members or shifts_of(grid))]
    corners = _corners(groups or {}, grid, names)
    n_columns = min(columns, len(names))
    n_rows = math.ceil(len(names) / n_columns)
    figure = Figure(figsize=(style.page_width, 1.75 * n_rows + 0.6), layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True)
    first = chosen[0]
    for ax, name in zip(panels.flat, names, strict=False):
        grid = grids[_sources(grids, name, first)[0]]
        mean = mean_over_runs(curve(grid, name, first))
        if chord:
            _draw_chord(ax, mean.iloc[[0, -1]])
        if output_space and has_output_space(grid, first):
            ensemble = mean_over_runs(curve(grid, name, first, "output"))
            _plot(ax, ensemble, "output", 3, **OUTPUT_SPACE.line, linewidth=1.4)
        _draw_curves(ax, grids, name, looks)
        if optimum:
            _draw_optimum(ax, chosen_rows, name, first, looks[first])
        if gain:
            _draw_gain(ax, mean, looks[first])
        percent_axis(ax.yaxis)
        ax.set_title((labels or {}).get(name, name), loc="left", fontweight="bold")
        ax.set_title(corners[name], loc="right", color="#555555")
    _span_alike(list(panels.flat[: len(names)]))
    _label_axes(panels, len(names))
    fitting_legend(figure, _legend(looks, list(grids), panels), 3)
    return figure


def _label_axes(panels: Any, n: int) -> None:
    """Name the axes at the edge of the grid of panels, and hide panels after the n-th."""
    for ax in panels.flat[n:]:
        ax.set_axis_off()
    for ax in panels.flat[:n]:
        ax.set_xlim(-0.04, 1.04)
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    for ax in panels.flat[max(0, n - panels.shape[1]) : n]:
        ax.set_xlabel("α")
        ax.tick_params(labelbottom=True)
    for ax in panels[:, 0]:
        ax.set_ylabel("Accuracy (%)")


def _grids(table: pd.DataFrame, source: str, methods: list[str] | None) -> dict[str, pd.DataFrame]:
    """Return the sweep of each source, the leading one first: measured if there is any.

    Where zero-shot models alone are measured, there is none of a method.
    """
    names = [source]
    if source == "all":
        of_methods = table[table["method"].isin(methods)] if methods else table
        there = set((of_methods if len(of_methods) else table)["source"])
        names = [name for name in (MEASURED, PUBLISHED) if name in there]
    return {name: with_intervals(grid_rows(table, name)) for name in names}


def _corners(groups: dict[str, list[str]], grid: pd.DataFrame, names: list[str]) -> dict[str, str]:
    """Return the word in each panel's corner.

    Raises:
        WiseftError: if a group lists a dataset that has no panel.
    """
    unknown = sorted({m for members in groups.values() for m in members} - set(names))
    if unknown:
        raise WiseftError(
            f"option groups lists {', '.join(unknown)}, but the panels are {', '.join(names)}"
        )
    words = {member: word for word, members in groups.items() for member in members}
    references = grid["reference"].unique().tolist()
    return {name: words.get(name, "reference" if [name] == references else "") for name in names}


def _sources(grids: dict[str, pd.DataFrame], dataset: str, method: str) -> list[str]:
    """Return the sources that have a method's curve on a dataset, measured first.

    Raises:
        WiseftError: if there is none.
    """
    there = [
        source
        for source, grid in grids.items()
        if ((grid["dataset"] == dataset) & (grid["method"] == method)).any()
    ]
    if not there:  # say which condition leaves no row
        curve(next(iter(grids.values())), dataset, method)
    return there


def _draw_curves(
    ax: Axes, grids: dict[str, pd.DataFrame], dataset: str, looks: dict[str, Look]
) -> None:
    """Draw each method's measured curve, and the published one small behind it or in its place."""
    for method, look in reversed(looks.items()):
        for source in _sources(grids, dataset, method):
            sweep = curve(grids[source], dataset, method)
            if source == PUBLISHED and len(grids) > 1:
                _draw_published(ax, mean_over_runs(sweep), look, f"mean:{method}:{source}")
            else:
                _draw_curve(ax, sweep, look, method)


def _plot(ax: Axes, mean: pd.DataFrame, name: str, zorder: int, **style: Any) -> None:
    ax.plot(mean["alpha"], mean["value"], gid=name, zorder=zorder, **style)


def _draw_chord(ax: Axes, ends: pd.DataFrame) -> None:
    _plot(ax, ends, "chord", 2, **CHORD.line, linewidth=0.8)
    level = ends["value"].max()
    ax.axhline(level, **BETTER_END.line, linewidth=0.6, zorder=2, gid="better-end")


def _draw_published(ax: Axes, mean: pd.DataFrame, look: Look, name: str) -> None:
    """Draw published numbers, which stand back behind measured ones."""
    join = len(mean) > FEW
    faded = replace(look, linestyle=FADED_LINE if join else "none")
    marks = {"marker": look.marker, "markersize": 1.8 if join else 3.2}
    _plot(ax, mean, name, 3, **faded.line, **marks, linewidth=0.9)


def _draw_optimum(ax: Axes, table: pd.DataFrame, dataset: str, method: str, look: Look) -> None:
    """Draw the level that the best alpha reaches, which may be known without the alpha."""
    best = rows(table, selection="oracle-column", method=method, dataset=dataset)
    measured = best[best["source"] == MEASURED]
    ax.axhline(
        float((measured if len(measured) else best)["value"].mean()),
        color=look.color,
        linestyle=OPTIMUM.linestyle,
        linewidth=0.8,
        zorder=2,
        gid="optimum",
    )


def _draw_gain(ax: Axes, mean: pd.DataFrame, look: Look) -> None:
    """Write the points that alpha 0.5 gains over alpha 1 below its marker."""
    by_alpha = mean.set_index("alpha")["value"]
    gain = 100 * (by_alpha[FIXED_ALPHA] - by_alpha[1.0])
    bottom = mean[mean["alpha"] == FIXED_ALPHA][["value", "ci_low"]].min(axis=1).iloc[0]
    ax.annotate(
        f"{gain:+.1f} pp".replace("-", "−"),
        xy=(FIXED_ALPHA, bottom),
        xytext=(-4, -5),  # the curve rises up to here, so below and to the right there is room
        textcoords="offset points",
        ha="left",
        va="top",
        color=look.color,
        zorder=7,
    ).set_gid("gain")


def _draw_curve(ax: Axes, sweep: pd.DataFrame, look: Look, method: str) -> None:
    """Draw the mean over runs with 95 % intervals, and the range of the runs as a band."""
    mean = mean_over_runs(sweep)
    join = len(mean) > FEW
    if len(each_run(sweep)) > 1:
        spread = sweep.groupby("alpha")["value"].agg(["min", "max"])
        ax.fill_between(
            spread.index, spread["min"], spread["max"], color=look.color, alpha=0.2, linewidth=0
        )
    ax.errorbar(
        mean["alpha"],
        mean["value"],
        yerr=[mean["value"] - mean["ci_low"], mean["ci_high"] - mean["value"]],
        fmt="none",
        ecolor=look.color,
        elinewidth=0.6,
        capsize=1.2,
        capthick=0.6,
        alpha=0.8,
        zorder=4,
    )
    marks = {"marker": look.marker, "markersize": 2.8 if join else 4.4}
    line = look.line if join else look.points
    _plot(ax, mean, f"mean:{method}", 5, **{**line, **marks}, linewidth=1.0)
    fixed = mean[mean["alpha"] == FIXED_ALPHA]
    edge = {"markerfacecolor": "white", "markeredgecolor": look.color, "markeredgewidth": 1.3}
    _plot(
        ax,
        fixed,
        f"fixed:{method}",
        6,
        marker=look.marker,
        markersize=5.2,
        linestyle="none",
        **edge,
    )


def _span_alike(panels: list[Axes]) -> None:
    """Give all panels the same number of percentage points, each centred on what it shows."""
    limits = [ax.get_ylim() for ax in panels]
    span = max(high - low for low, high in limits)
    step = next((s for s in (0.01, 0.02, 0.05, 0.1, 0.2) if span / s <= 6), 0.2)
    for ax, (low, high) in zip(panels, limits, strict=True):
        middle = (low + high) / 2
        top = min(middle + span / 2, 1 + 0.04 * span)
        bottom = max(top - span, -0.04 * span)
        ax.set_ylim(bottom, top)
        ticks = np.arange(math.ceil(bottom / step), math.floor(top / step) + 1) * step
        ax.set_yticks([tick for tick in ticks if -1e-9 <= tick <= 1 + 1e-9])


def _legend(looks: dict[str, Look], sources: list[str], panels: Any) -> list[Any]:
    """Return the entries of all that is drawn: with a line where a panel joins a curve's points."""
    joined: dict[str, bool] = {}
    for mark in [mark for ax in panels.flat for mark in (*ax.lines, *ax.texts)]:
        line = isinstance(mark, Line2D) and mark.get_linestyle() != "None"
        joined[str(mark.get_gid())] = line or joined.get(str(mark.get_gid()), False)

    def shown(look: Look, curve: str, linestyle: Any) -> Look:
        return replace(look, linestyle=linestyle if joined[curve] else "none")

    def entry(look: Look, label: str, **more: Any) -> Line2D:
        return legend_line(label, look, **{"markersize": 3.2, "linewidth": 1.0, **more})

    name, first = next(iter(looks.items()))
    large = {f"mean:{method}": look for method, look in looks.items()}
    curves = [shown(look, gid, look.linestyle) for gid, look in large.items() if gid in joined]
    handles: list[Any] = [entry(look, look.label) for look in curves]
    handles.append(together(FIXED, looks.values()))
    of_first = {"output": OUTPUT_SPACE, "chord": CHORD, "better-end": BETTER_END}
    handles += [entry(look, f"{look.label}, {name}") for k, look in of_first.items() if k in joined]
    levels = {"optimum": OPTIMUM, "gain": GAIN}
    handles += [
        entry(look, look.label, color=first.color, linewidth=0.8)
        for part, look in levels.items()
        if part in joined
    ]
    small = {f"mean:{method}:{PUBLISHED}": look for method, look in looks.items()}
    if faded := [shown(look, gid, FADED_LINE) for gid, look in small.items() if gid in joined]:
        handles.append(together(SMALL, faded))
    elif sources == [PUBLISHED]:
        handles.append(entry(Look("", GREY, "", "none"), f"all numbers {PUBLISHED}"))
    return handles
