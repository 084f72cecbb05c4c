"""Accuracy on an average of shifted datasets against accuracy on the reference, both on logit
scales (the form of the paper's Figure 1). A curve goes from the zero-shot model (star) through a
marker at each α to the fine-tuned model (large filled marker); α = 0.5 is the large open marker.
Up is more robust, right is more accurate on the reference. If there are two panels, the left one
shows everything, and a frame in it marks the part that the right one enlarges. Thin lines there
are single runs, thick lines their mean.

Error bars are 95 % intervals of single runs (reference: Clopper-Pearson; average: cluster
bootstrap). Their ends are averaged over the runs, which is no narrower than an interval of the
mean of these models. The intervals are conditional on these models. The green line is a
least-squares fit in logit space to models trained from scratch on the reference alone. The line
and its 95 % band are drawn only in the range of these models. Open triangles were trained from
scratch too, but are not part of the fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from wiseft.base.names import BASELINE_METHOD
from wiseft.errors import WiseftError
from wiseft.figures.axes import IDENTITY, accuracy_axes, draw_identity, logit_limits
from wiseft.figures.legend import FIXED, TUNED, fitting_legend, star, together
from wiseft.figures.line_names import by_line, has_output_space, lines_to_draw
from wiseft.figures.marks import draw_curve, draw_star, legend_line, plot
from wiseft.figures.notes import draw_fit
from wiseft.figures.select import grid_rows, paired_curve, reference_of
from wiseft.figures.style import AUGMENTED, FROM_SCRATCH, GREY, OUTPUT_SPACE, Look, Style
from wiseft.tabulate.models import mean_over_runs
from wiseft.tabulate.robustness import BaselineFit, average_name, baseline_fit, baseline_points


@dataclass(frozen=True)
class _Content:
    """Everything one figure shows, taken from the table once and drawn in both panels."""

    curves: dict[str, pd.DataFrame]  # by method: one row a run and alpha
    output: pd.DataFrame | None
    fitted: pd.DataFrame  # from-scratch models of the fit: x, y
    others: pd.DataFrame  # from-scratch models beside it
    fit: BaselineFit | None


def draw(
    table: pd.DataFrame,
    style: Style,
    *,
    average: str,
    methods: list[str] | None = None,
    variants: list[str] | None = None,
    fit_exclude: list[str] | None = None,
    ylabel: str | None = None,
    xlabel: str | None = None,
) -> Figure:
    """Draw the alpha curves over the reference accuracy.

    Args:
        table: the tidy table.
        style: looks and widths.
        average: the average of shifts on the y axis, e.g. `natural`.
        methods: methods to draw; by default all of the table.
        variants: variants of the methods to draw, one line each; by default all.
        fit_exclude: method ids of baselines outside the fit, drawn with a marker of their own.
        ylabel, xlabel: axis labels; by default made from the names of average and reference.

    Raises:
        WiseftError: if the selection is empty or not one curve a run, or there are neither
            methods nor baselines.
    """
    grid = grid_rows(table)
    if variants is not None:
        grid = grid[grid["variant"].isin(variants) | (grid["method"] == BASELINE_METHOD)]
    chosen, names = lines_to_draw(grid, methods, needed=False)
    grid = by_line(grid, names)
    content = _content(grid, average, chosen, fit_exclude or [])
    looks = style.looks(chosen)
    figure = Figure(figsize=(style.page_width, 3.5), layout="constrained")
    two = len(content.fitted) + len(content.others) > 0
    views = [_limits(content, with_baselines=True)] if two else []
    views += [_limits(content, with_baselines=False)] if chosen else []
    if not views:
        raise WiseftError("the table has neither methods nor baselines of the average to draw")
    panels = figure.subplots(1, len(views), squeeze=False)[0]
    identity = False
    for ax, (xlim, ylim) in zip(panels, views, strict=True):
        accuracy_axes(ax, xlim, ylim)
        identity |= draw_identity(ax)
        _draw_panel(ax, content, looks, enlarged=bool(chosen) and ax is panels[-1])
        ax.set_xlabel(xlabel or f"Accuracy on {reference_of(grid)} (reference, %)")
    panels[0].set_ylabel(ylabel or f"Accuracy on {average} (average, %)")
    if len(views) > 1:
        _mark_zoom(panels[0], *views[1])
    handles = _legend(content, looks, identity, zoom=len(views) > 1)
    fitting_legend(figure, handles, 3)
    return figure


def _content(
    grid: pd.DataFrame, average: str, methods: list[str], fit_exclude: list[str]
) -> _Content:
    x, y = reference_of(grid), average_name(average)
    curves = {method: paired_curve(grid, x, y, method) for method in methods}
    output = None
    if methods and has_output_space(grid, methods[0]):
        output = paired_curve(grid, x, y, methods[0], "output")
    every = baseline_points(grid, average)
    if every.empty:
        return _Content(curves, output, every.iloc[:0], every.iloc[:0], None)
    inside = every["variant"].isin(baseline_points(grid, average, fit_exclude)["variant"])
    fit = baseline_fit(grid, average, fit_exclude)
    return _Content(curves, output, every[inside], every[~inside], fit)


def _limits(content: _Content, with_baselines: bool) -> tuple[Any, Any]:
    """Return (x limits, y limits) in fractions."""
    frames = [*content.curves.values()]
    if content.output is not None:
        frames.append(content.output)
    ends = [mean_over_runs(frame) for frame in frames]
    xs = [f["value_x"] for f in frames] + [e[["ci_low_x", "ci_high_x"]] for e in ends]
    ys = [f["value_y"] for f in frames] + [e[["ci_low_y", "ci_high_y"]] for e in ends]
    if with_baselines:
        xs += [content.fitted["x"], content.others["x"]]
        ys += [content.fitted["y"], content.others["y"]]
    return logit_limits(xs), logit_limits(ys)


def _draw_panel(ax: Axes, content: _Content, looks: dict[str, Look], enlarged: bool) -> None:
    if not enlarged:
        _draw_baselines(ax, content)
    scale = 1.0 if enlarged else 0.7
    if content.output is not None:
        mean = mean_over_runs(content.output)
        plot(ax, mean, "output", 3, **OUTPUT_SPACE.line, linewidth=1.5 * scale)
    for method, sweep in reversed(content.curves.items()):
        draw_curve(ax, sweep, looks[method], method, scale, each=enlarged)
    if content.curves:
        first = mean_over_runs(next(iter(content.curves.values()))).iloc[0]
        draw_star(ax, first["value_x"], first["value_y"], scale)


def _draw_baselines(ax: Axes, content: _Content) -> None:
    """Draw from-scratch models, and their line with its band."""
    if content.fit is not None:
        draw_fit(ax, content.fit, FROM_SCRATCH, gid="fit")
    for points, look, size, face, name in (
        (content.fitted, FROM_SCRATCH, 3.6, FROM_SCRATCH.color, "baselines"),
        (content.others, AUGMENTED, 4.6, "white", "other-baselines"),
    ):
        if len(points):
            how: dict[str, Any] = {"markersize": size, "markerfacecolor": face, "zorder": 3}
            ax.plot(points["x"], points["y"], **look.points, **how, gid=name)


def _mark_zoom(ax: Axes, xlim: tuple[float, float], ylim: tuple[float, float]) -> None:
    """Outline in the wide panel what the other one enlarges."""
    corner, width, height = (xlim[0], ylim[0]), xlim[1] - xlim[0], ylim[1] - ylim[0]
    ax.add_patch(
        Rectangle(corner, width, height, fill=False, edgecolor=GREY, linewidth=0.6, zorder=2)
    )


def _legend(content: _Content, looks: dict[str, Look], identity: bool, zoom: bool) -> list[Any]:
    """Return the legend's handles, in the order in which the figure is read."""
    handles: list[Any] = []
    if looks:
        handles = [
            star(),
            *(legend_line(look.label, look) for look in looks.values()),
            together(FIXED, looks.values()),
            together(TUNED, looks.values()),
        ]
    if content.output is not None:
        handles.append(legend_line(f"{OUTPUT_SPACE.label}, {next(iter(looks))}", OUTPUT_SPACE))
    if len(content.fitted):
        handles.append(legend_line(FROM_SCRATCH.label, FROM_SCRATCH, linestyle="none"))
    if content.fit is not None:
        label = f"logit-linear fit (R² = {content.fit.r2:.2f}), 95% band"
        handles.append(legend_line(label, FROM_SCRATCH, marker="", linewidth=1.0))
    if len(content.others):
        white = {"linestyle": "none", "markerfacecolor": "white", "markersize": 4.6}
        handles.append(legend_line("from scratch, not in the fit", AUGMENTED, **white))
    if zoom:
        frame: dict[str, Any] = {"facecolor": "none", "edgecolor": GREY, "linewidth": 0.6}
        handles.append(Patch(**frame, label="enlarged on the right"))
    if identity:
        handles.append(Line2D([], [], **IDENTITY, label="y = x"))
    return handles
