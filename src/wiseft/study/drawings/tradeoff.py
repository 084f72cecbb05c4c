"""Gain over the fine-tuned model on the average of the shifts, against estimated GPU hours of
pre-training (the form of the paper's Figure 20). Each tolerance is the number of points that the
reference may lose against the fine-tuned model. Each point is at the best α within the tolerance,
by test labels. With a tolerance of zero α = 1 is always allowed, so no point lies below zero.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from wiseft.errors import WiseftError
from wiseft.figures.axes import panel_grid, short_number
from wiseft.figures.marks import legend_line
from wiseft.figures.select import grid_rows, paired_curve, reference_of, rows
from wiseft.figures.style import BLUE, GREEN, GREY, VERMILLION, Look, Style
from wiseft.tabulate.models import mean_over_runs
from wiseft.tabulate.robustness import average_name

METHOD, AVERAGE = "linear-classifier", "shifts"
"""What is drawn: a method's gain over its fine-tuned model on an average."""
TOLERANCES = {
    0.0: (Look("", GREEN, "o", "none"), 7.0),
    0.1: (Look("", BLUE, "s", "none"), 4.5),
    1.0: (Look("", VERMILLION, "D", "none"), 2.5),
}
"""Percentage points that the reference may lose, each with a look and a size: gains grow with what
may be lost, and equal ones stay visible.
"""
NAME_GAP = 0.05
"""Least distance of the models' names, as a share of the axis."""


def draw(
    table: pd.DataFrame,
    style: Style,
    *,
    file: str,
    variant: str = "",
    labels: dict[str, str] | None = None,
) -> Figure:
    """Draw one point per model and tolerance.

    Args:
        table: the tidy table.
        style: looks and widths.
        file: CSV with the columns `model` and `gpu_hours`, and any others: estimated GPU hours of
            pre-training. Models that are not in the table are left out.
        variant: variant of the method.
        labels: names of the models; by default the table's.

    Raises:
        WiseftError: if no model is in the table, or the file is missing or wrong.
    """
    hours = read_hours(Path(file))
    grid = rows(grid_rows(table), method=METHOD, variant=variant, model=list(hours))
    hours = {model: value for model, value in hours.items() if model in set(grid["model"])}
    figure, (ax,) = panel_grid(style, 1, 1, 3.0)
    curves = [_curve(rows(grid, model=model)) for model in hours]
    handles = []
    for tolerance, (look, size) in TOLERANCES.items():
        text = f"reference loses at most {tolerance:g} pp"
        handles.append(legend_line(text, look, markersize=size))
        gains = [100 * gain_within(curve, tolerance / 100) for curve in curves]
        name = f"tolerance:{tolerance:g}"
        ax.plot(list(hours.values()), gains, **look.points, markersize=size, gid=name)
    # The line of no gain, over hours on a log scale.
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=1, gid="zero")
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    ax.margins(x=0.08, y=0.12)
    _draw_names(ax, hours, labels or {})
    ax.set_xlabel("Pre-training (GPU hours, estimated)")
    ax.set_ylabel(f"Gain on {AVERAGE} over fine-tuned (pp)")
    figure.legend(handles=handles, loc="outside lower center", ncols=1)
    return figure


def read_hours(path: Path) -> dict[str, float]:
    """Return GPU hours by model from a CSV with the columns `model` and `gpu_hours`.

    Raises:
        WiseftError: if there is no such file, or it lacks a column or has no row, or a model twice
            or with hours that are no positive number.
    """
    what = "a CSV with the columns model and gpu_hours (docs/paper.md, GPU hours of pre-training)"
    try:
        lines = pd.read_csv(path, comment="#", skipinitialspace=True, dtype=str)
    except (OSError, ValueError) as error:
        raise WiseftError(f"option file is {path}, which must be {what}: {error}") from None
    if not {"model", "gpu_hours"} <= set(lines.columns) or lines.empty:
        found = ", ".join(map(str, lines.columns))
        raise WiseftError(f"{path} must be {what}, but has {len(lines)} rows of {found}")
    hours = pd.to_numeric(lines["gpu_hours"], errors="coerce")
    wrong = lines[lines["model"].duplicated() | ~(hours.gt(0) & hours.lt(np.inf))]
    if len(wrong):
        model, text = wrong[["model", "gpu_hours"]].iloc[0]
        raise WiseftError(
            f"{path} has gpu_hours {text!r} of model {model!r}, but every model must stand there "
            "once, with a number above 0"
        )
    return dict(zip(lines["model"], hours.astype(float), strict=True))


def _draw_names(ax: Axes, hours: dict[str, float], labels: dict[str, str]) -> None:
    """Write the models' names above the panel, each with a line down to its place."""
    models = sorted(hours, key=lambda name: hours[name])
    low, high = np.log(ax.get_xlim())
    places = spread([float((np.log(hours[m]) - low) / (high - low)) for m in models], NAME_GAP)
    for model, place in zip(models, places, strict=True):
        ax.annotate(
            labels.get(model, model),
            xy=(hours[model], 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(place, 1.06),
            textcoords="axes fraction",
            ha="center",
            va="bottom",
            rotation=90,
            fontsize=6,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkB": 0},
        ).set_gid("model")


def spread(places: list[float], gap: float) -> list[float]:
    """Return places in ascending order, moved as little as it takes to be a gap apart."""
    moved = list(places)
    for _ in range(10 * len(moved)):
        for index in range(len(moved) - 1):
            lack = gap - (moved[index + 1] - moved[index])
            if lack > 0:
                moved[index] -= lack / 2
                moved[index + 1] += lack / 2
    return moved


def _curve(here: pd.DataFrame) -> pd.DataFrame:
    """Return a model's accuracy on the reference and on the average, by alpha."""
    return mean_over_runs(paired_curve(here, reference_of(here), average_name(AVERAGE), METHOD))


def gain_within(mean: pd.DataFrame, tolerance: float) -> float:
    """Return the largest gain on y over alpha 1 among alphas that lose at most so much on x.

    Args:
        mean: columns alpha, value_x, value_y (fractions), alpha 1 among them.
        tolerance: a fraction.

    Raises:
        WiseftError: if alpha 1 is missing.
    """
    end = mean[mean["alpha"] == 1.0]
    if end.empty:
        raise WiseftError("the gain over the fine-tuned model needs alpha 1, which is missing")
    floor = float(end["value_x"].iloc[0]) - tolerance
    allowed = mean[mean["value_x"] >= floor - 1e-12]
    return float(allowed["value_y"].max() - end["value_y"].iloc[0])
