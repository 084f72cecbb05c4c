"""One accuracy against another, both on logit scales, with ticks in percent. A curve goes from the
zero-shot model (star) through a marker at each α to the fine-tuned model (large filled marker); α
= 0.5 is the large open marker. Two points are not joined. If a figure has measured numbers,
published ones are small, with a dotted line. Error bars are 95 % intervals at α = 0, 0.5 and 1.
Measured ones are from the table. Published shares have the Clopper-Pearson interval of the rounded
number, if the number of samples is known; averages have none.

Lines of other models are least-squares fits in logit space, drawn with their 95 % band only
between the models that they go through. The legend tells if the models themselves are not
available. ρ is effective robustness: how far a point lies above the line of the standard models.
An x axis may be restricted to the classes of the shifted dataset, as its label says. This is done
if all curves of the panel have such numbers, published or measured; curves without them are then
left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

from wiseft.base.typed import Entry
from wiseft.errors import WiseftError
from wiseft.figures.axes import (
    accuracy_axes,
    draw_identity,
    logit_limits,
    no_numbers,
    panel_grid,
    tick_counts,
)
from wiseft.figures.curves import COLUMNS, HEIGHT
from wiseft.figures.keys import Keys
from wiseft.figures.legend import place_legend
from wiseft.figures.marks import draw_curve, draw_interval, draw_star, plot
from wiseft.figures.notes import Arrow, Robustness, draw_arrow, draw_robustness, draw_tags
from wiseft.figures.series import (
    Drawn,
    Family,
    Quantity,
    Series,
    axis_label,
    paired,
    quantity,
    sources_of,
)
from wiseft.figures.style import FADED_LINE, FAMILIES, FamilyName, Look, Style
from wiseft.study.paper.other_models import FITTED, draw_families, families_of, visible
from wiseft.tabulate.models import mean_over_runs
from wiseft.tabulate.schema import MEASURED

Limits = tuple[float, float]
FADED = 0.72
"""Scale of published marks where measured ones stand beside them."""


class Panel(Entry):
    """One pair of axes."""

    title: str = Field("", description="Text above the panel; by default none.")
    x: str | Quantity = Field(description="Reference, on the x axis.")
    y: str | Quantity = Field(description="Shift, on the y axis.")
    series: list[Series] | None = Field(
        None, description="What is shown; null: the figure's series."
    )
    limits: Literal["series", "everything"] = Field(
        "series", description="Whether the view holds the series, or all fitted models too."
    )
    xlim: Limits | None = Field(None, description="Ends of the x axis in percent.")
    ylim: Limits | None = Field(None, description="Ends of the y axis in percent.")
    families: list[FamilyName] | None = Field(
        None, description="Other people's models; null: the figure's."
    )
    arrows: list[Arrow] = Field([], description="Arrows from one point to another.")
    robustness: list[Robustness] = Field([], description="Points whose effective robustness shows.")


def draw(
    table: pd.DataFrame,
    style: Style,
    *,
    panels: list[Panel],
    series: list[Series] | None = None,
    families: list[FamilyName] | None = None,
    columns: int = COLUMNS,
    height: float = HEIGHT,
    titles: dict[str, str] | None = None,
) -> Figure:
    """Draw panels of accuracies against accuracies.

    Args:
        table: the tidy table; published and measured rows of a series are drawn beside each other.
        style: looks and widths.
        panels: the axes and their content, in reading order.
        series: series of the panels that name none of their own.
        families: other people's models (`standard`, `zero-shot`, `more-data`, ...), drawn where
            the table has them; their lines are published.
        columns: number of panels in a row.
        height: height of a row in inches.
        titles: names of datasets as readers know them.

    Raises:
        WiseftError: if a series has no row on a panel's axes, or a column or family is unknown.
    """
    figure, axes = panel_grid(style, len(panels), columns, height)
    n_columns = min(columns, len(panels))
    every = [each for panel in panels for each in (panel.series or series or [])]
    looks = _looks(
        style, every, {*(families or []), *(f for p in panels for f in p.families or [])}
    )
    keys = Keys()
    ticks = tick_counts(figure, n_columns, height)
    contents = [_content(table, panel, panel.series or series or [], looks) for panel in panels]
    if not any(content.drawn for content in contents):  # say which condition leaves no row
        each = contents[0].series[0]
        paired(table, each, each.source or MEASURED, contents[0].x, contents[0].y)
    measured = any(each.source == MEASURED for content in contents for each in content.drawn)
    for ax, panel, content in zip(axes, panels, contents, strict=True):
        drawn = [replace(each, beside=measured) for each in content.drawn]
        content = replace(content, drawn=drawn)
        _draw_panel(ax, table, panel, content, families or [], titles or {}, ticks, keys)
    place_legend(figure, keys.handles(), 3 if n_columns > 1 else 2)
    return figure


def _looks(style: Style, series: list[Series], families: set[FamilyName]) -> dict[str, Look]:
    """Return the look of each series by its key; each label has one, and each look one label.

    Raises:
        WiseftError: if a label stands for two looks, or a look for two labels.
    """
    beside = [FAMILIES[name] for name in sorted(families)]
    looks = style.looks(list(dict.fromkeys(each.key for each in series)), beside)
    labels = {(each.label or looks[each.key].label, each.key) for each in series}
    for label, look in sorted(labels):
        if clash := sorted(pair for pair in labels if (pair[0] == label) != (pair[1] == look)):
            raise WiseftError(
                f"a series has label {label!r} and look {look!r}, another one label "
                f"{clash[0][0]!r} and look {clash[0][1]!r}; one thing has one label and one look "
                "in all panels of a figure"
            )
    return looks


@dataclass(frozen=True)
class _Content:
    """What a panel shows: its axes, its series, and those of them that have numbers."""

    x: Quantity
    y: Quantity
    series: list[Series]
    drawn: list[Drawn]


def _content(
    table: pd.DataFrame, panel: Panel, series: list[Series], looks: dict[str, Look]
) -> _Content:
    if not series:
        raise WiseftError(f"the panel of {panel.y} has no series; name some in `series`")
    y = quantity(panel.y)
    x = common_view(table, series, quantity(panel.x), y)
    drawn = [
        Drawn(each, source, looks[each.key], paired(table, each, source, x, y))
        for each in series
        for source in sources_of(table, each, x, y)
    ]
    return _Content(x, y, series, drawn)


def _draw_panel(
    ax: Axes,
    table: pd.DataFrame,
    panel: Panel,
    content: _Content,
    wanted: list[FamilyName],
    titles: dict[str, str],
    ticks: tuple[int, int],
    keys: Keys,
) -> None:
    """Draw one panel and add what it needs to the legend's `keys`."""
    x, y, series, drawn = content.x, content.y, content.series, content.drawn
    ax.set_title(panel.title, loc="left", fontweight="bold")
    ax.set(xlabel=axis_label(x, titles), ylabel=axis_label(y, titles))
    if not drawn:
        no_numbers(ax)
        return
    others = families_of(table, panel.families if panel.families is not None else wanted, x, y)
    accuracy_axes(ax, *_limits(panel, drawn, others), most=ticks)
    identity = draw_identity(ax)
    enlarged = panel.limits == "series"
    shown = visible(others, ax.get_xlim(), ax.get_ylim())
    draw_families(ax, shown, enlarged)
    scale = 1.0 if enlarged else 0.7
    for each in sorted(drawn, key=lambda one: one.source == MEASURED):
        _draw_series(ax, each, scale)
    for arrow in panel.arrows:
        start, end = (_point(drawn, series, place) for place in (arrow.start, arrow.end))
        if start and end:
            draw_arrow(ax, arrow, start, end)
    for arrow_up in panel.robustness:
        point = _point(drawn, series, arrow_up.of)
        if point and draw_robustness(ax, arrow_up, point, others):
            keys.add_beyond()
    for each in drawn:
        keys.add_series(each)
    keys.add_stars([each for each in drawn if each.start])
    keys.add_families(shown)
    if identity:
        keys.add_identity()


def common_view(table: pd.DataFrame, series: list[Series], x: Quantity, y: Quantity) -> Quantity:
    """Return the x axis in the view that all series have: the wished one, or `otherwise`.

    A panel has one x axis; the paper's class-subsampled one is drawn where all have it, published
    or measured: numbers of the other source, which lack it, are then left out.
    """
    if not x.otherwise:
        return x
    plain = x.model_copy(update={"view": x.otherwise, "otherwise": "", "label": ""})
    there = [each for each in series if sources_of(table, each, plain, y)]
    return x if all(sources_of(table, each, x, y) for each in there) else plain


def _limits(panel: Panel, drawn: list[Drawn], others: list[Family]) -> tuple[Limits, Limits]:
    xs: list[Any] = [each.points[["value_x", "ci_low_x", "ci_high_x"]] for each in drawn]
    ys: list[Any] = [each.points[["value_y", "ci_low_y", "ci_high_y"]] for each in drawn]
    if panel.limits == "everything":
        for family in (one for one in others if one.name in FITTED):
            ends = [[fit.x_min, fit.x_max] for fit in family.fits]
            xs += [family.points["x"], *ends]
            ys.append(family.points["y"])
            ys += [fit.predict(x) for fit, x in zip(family.fits, ends, strict=True)]
    return _ends(panel.xlim) or logit_limits(xs), _ends(panel.ylim) or logit_limits(ys)


def _ends(percent: Limits | None) -> Limits | None:
    """Return ends of an axis in percent as fractions."""
    return None if percent is None else (percent[0] / 100, percent[1] / 100)


def _draw_series(ax: Axes, each: Drawn, scale: float) -> None:
    look, points = each.look, each.points
    if each.faded:
        look = replace(look, linestyle=FADED_LINE)
        scale *= FADED
    if each.series.along == "runs":
        _draw_path(ax, each, look, scale)
    else:
        draw_curve(ax, points, look, each.name, scale, join=each.joined)
    if each.start:
        draw_star(ax, *each.start, scale)
    draw_tags(ax, points, each.series, look)


def _draw_path(ax: Axes, each: Drawn, look: Look, scale: float) -> None:
    """Draw one point a variant, joined in the order in which the series names the variants."""
    mean = path_points(each.points, each.series)
    if each.joined:
        plot(ax, mean, f"line:{each.name}", 4, **look.line, linewidth=1.0 * scale)
    # Above the ends of curves, which are larger: a variant may end where another one does.
    edge = {"markersize": 4.8 * scale, "markeredgecolor": "white", "markeredgewidth": 0.4}
    plot(ax, mean, f"path:{each.name}", 8, **look.points, **edge)
    for record in mean.to_dict("records"):
        draw_interval(ax, record, look.color, scale * 0.8)


def path_points(points: pd.DataFrame, series: Series) -> pd.DataFrame:
    """Return one row a variant, means over its runs, in the order of the series."""
    numbers = [name for name in points.columns if name.startswith(("value", "ci_"))]
    mean = points.groupby("variant", as_index=False, sort=False)[numbers].mean()
    if isinstance(series.variant, list):
        place = {name: index for index, name in enumerate(series.variant)}
        mean = mean.sort_values("variant", key=lambda column: column.map(place))
    return mean.reset_index(drop=True)


def _point(
    drawn: list[Drawn], series: list[Series], place: tuple[int, float]
) -> tuple[float, float] | None:
    """Return x and y of a series (by its place in the list) at an alpha; measured before published.

    There is none of a series that the panel has no numbers of.

    Raises:
        WiseftError: if there is no such series or alpha.
    """
    index, alpha = place
    if not 0 <= index < len(series):
        raise WiseftError(
            f"an arrow names series {index}, but the panel has {len(series)}, counted from 0"
        )
    of_series = [each for each in drawn if each.series is series[index]]
    for each in sorted(of_series, key=lambda one: one.source != MEASURED):
        mean = mean_over_runs(each.points)
        here = mean[mean["alpha"] == round(alpha, 3)]
        if len(here):
            return float(here["value_x"].iloc[0]), float(here["value_y"].iloc[0])
    if not of_series:
        return None
    raise WiseftError(f"an arrow names alpha {alpha} of series {index}, which the panel lacks")
