"""Percentage points that interpolation gains with few training images (the form of the paper's
Figures 17 to 19), against the size of the training set. The gain is over the zero-shot model, over
the fine-tuned model, and over the better of the two. Each line is an α; the thick one is 0.5. The
dotted line takes the best α of every dataset by its test labels: it is an oracle, not a way to
choose. A column of several datasets shows their mean, and its better model is the one with the
higher mean.
"""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from wiseft.errors import WiseftError
from wiseft.figures.axes import no_numbers, short_number
from wiseft.figures.legend import place_legend
from wiseft.figures.marks import legend_line
from wiseft.figures.select import FIXED_ALPHA, curve, grid_rows, rows
from wiseft.figures.style import BLACK, GREY, SCALE, Look, Style
from wiseft.tabulate.models import mean_over_runs

Base = Literal["zero-shot", "fine-tuned", "better"]
AGAINST: dict[Base, str] = {
    "zero-shot": "Gain over zero-shot (pp)",
    "fine-tuned": "Gain over fine-tuned (pp)",
    "better": "Gain over the better (pp)",
}
PANEL_HEIGHT = 1.55
"""Inches of a row."""
OPTIMAL = Look("best α of each dataset (oracle)", BLACK, "X", (0, (1, 1.3)))


def draw(
    table: pd.DataFrame,
    style: Style,
    *,
    columns: dict[str, list[str]],
    x: dict[str, float] | dict[str, dict[str, float]],
    xlabel: str = "Training images of each class",
    alphas: list[float] | None = None,
    method: str = "linear-classifier",
    own_reference: bool = False,
) -> Figure:
    """Draw a column of panels for each group of datasets.

    Args:
        table: the tidy table.
        style: looks and widths.
        columns: datasets by the title of their column; a column of several shows their mean.
        x: the size of the training set by variant of the method or, if it differs between
            datasets, by dataset and variant.
        xlabel: label of the x axis.
        alphas: a line for each; by default 0, 0.25, 0.5, 0.75 and 1.
        method: the method to draw.
        own_reference: whether only runs that were trained on the dataset itself count.

    Raises:
        WiseftError: if a dataset lacks a variant or an alpha, or a column has no dataset.
    """
    grid = grid_rows(table)
    lines = [0.0, 0.25, 0.5, 0.75, 1.0] if alphas is None else alphas
    if len({_look(alpha) for alpha in lines}) < len(lines):
        raise WiseftError(
            f"option alphas lists {', '.join(f'{a:g}' for a in lines)}, of which two look alike; "
            "lines are told apart by the nearest of 0, 0.25, 0.5, 0.75 and 1"
        )
    width = style.page_width if len(columns) > 1 else style.column_width
    figure = Figure(figsize=(width, PANEL_HEIGHT * len(AGAINST)), layout="constrained")
    labels = max(4, round(9 / len(columns)))
    panels = figure.subplots(len(AGAINST), len(columns), squeeze=False, sharex="col")
    for place, (title, datasets) in enumerate(columns.items()):
        accuracies = _accuracies(grid, datasets, _sizes(x, datasets), method, own_reference)
        there = list(dict.fromkeys(accuracies["dataset"]))
        for ax, base in zip(panels[:, place], AGAINST, strict=True):
            if there:
                _draw_panel(ax, gains_over(accuracies, base, lines), labels)
            else:
                no_numbers(ax)
        part = f"{len(there)} of {len(datasets)}: {', '.join(there)}"
        title = part if 0 < len(there) < len(datasets) else title
        panels[0, place].set_title(title, loc="left", fontweight="bold")
        panels[-1, place].set_xlabel(xlabel)
    for ax, label in zip(panels[:, 0], AGAINST.values(), strict=True):
        ax.set_ylabel(label)
    handles = [legend_line(f"α = {alpha:g}", _look(alpha)) for alpha in lines]
    handles.append(legend_line(OPTIMAL.label, OPTIMAL, markersize=6))
    if any(len(ax.lines) for ax in panels.flat):
        place_legend(figure, handles, 3 if len(columns) > 1 else 2)
    return figure


def _sizes(
    x: dict[str, float] | dict[str, dict[str, float]], datasets: list[str]
) -> dict[str, float]:
    """Return the size of the training set by variant, which a column's datasets must share."""
    if not datasets:
        raise WiseftError("a column of option columns has no dataset")
    by_dataset = all(isinstance(value, dict) for value in x.values())
    found: list[Any] = [x[name] for name in datasets if name in x] if by_dataset else [x]
    if not found or not found[0]:
        raise WiseftError(f"option x has no sizes for {', '.join(datasets)}")
    if any(sizes != found[0] for sizes in found):
        raise WiseftError(
            f"the datasets {', '.join(datasets)} share a column but differ in `x`; give "
            "them columns of their own, or one size for each variant"
        )
    return dict(found[0])


def _accuracies(
    grid: pd.DataFrame,
    datasets: list[str],
    sizes: dict[str, float],
    method: str,
    own_reference: bool,
) -> pd.DataFrame:
    """Return size, dataset, alpha and value (a fraction; mean over runs).

    Datasets without any number are left out, then sizes that not all others have.
    """
    parts = [pd.DataFrame(columns=["alpha", "value", "dataset", "size"])]
    measured = [name for name in datasets if not own_reference or name in set(grid["reference"])]
    for dataset in measured:
        here = rows(grid, reference=dataset) if own_reference else grid
        there = set(rows(here, method=method, variant=list(sizes))["variant"])
        for variant, size in sizes.items():
            if variant not in there:  # this size has not been measured
                continue
            sweep = curve(rows(here, method=method, variant=variant), dataset, method)
            mean = mean_over_runs(sweep)[["alpha", "value"]]
            parts.append(mean.assign(dataset=dataset, size=size))
    found = pd.concat(parts[1:] or parts, ignore_index=True)
    count = found.groupby("size")["dataset"].transform("nunique")
    return found[count == count.max()]


def gains_over(
    accuracies: pd.DataFrame, base: Base, alphas: list[float]
) -> dict[float | None, pd.Series]:
    """Return gains (fractions, means over datasets) by alpha, each a series over sizes.

    The better of zero-shot and fine-tuned is the one with the higher mean over the datasets; the
    best alpha is chosen for each dataset by itself, and stands under None.

    Args:
        accuracies: columns size, dataset, alpha, value.
        base: what they are held against.
        alphas: alphas that must be in `accuracies`.

    Raises:
        WiseftError: if an alpha, or an end, is not in `accuracies`.
    """
    means = accuracies.groupby(["size", "alpha"])["value"].mean().unstack("alpha")
    missing = [alpha for alpha in [0.0, 1.0, *alphas] if alpha not in means.columns]
    if missing or means.isna().to_numpy().any():
        raise WiseftError(
            f"every size needs the alphas {', '.join(f'{a:g}' for a in alphas)} and both ends, but "
            f"the table has {', '.join(f'{a:g}' for a in means.columns)}"
        )
    start, end = means[0.0], means[1.0]
    level = {"zero-shot": start, "fine-tuned": end, "better": start.where(start > end, end)}[base]
    gains: dict[float | None, pd.Series] = {alpha: means[alpha] - level for alpha in alphas}
    best = accuracies.groupby(["size", "dataset"])["value"].max()
    return gains | {None: best.groupby("size").mean() - level}


def _look(alpha: float) -> Look:
    return SCALE[round(alpha * (len(SCALE) - 1))]


def _draw_panel(ax: Axes, gains: dict[float | None, pd.Series], labels: int) -> None:
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=1, gid="zero")
    for alpha, gain in gains.items():
        look = OPTIMAL if alpha is None else _look(alpha)
        ax.plot(
            gain.index,
            100 * gain.to_numpy(),
            **look.line,
            marker=look.marker,
            markersize=5 if alpha is None else 3.4,
            linewidth=1.6 if alpha == FIXED_ALPHA else 1.0,
            zorder=3,
            gid=f"gain:{'optimal' if alpha is None else f'{alpha:.3f}'}",
        )
    sizes = next(iter(gains.values())).index
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(_apart([float(size) for size in sizes], labels)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))


def _apart(sizes: list[float], most: int) -> list[float]:
    """Return at most so many sizes whose labels have room on a log axis, the largest among them."""
    factor = (max(sizes) / min(sizes)) ** (1 / most)
    kept: list[float] = []
    for size in sorted(sizes, reverse=True):
        if not kept or kept[-1] / size >= factor:
            kept.append(size)
    return sorted(kept)
