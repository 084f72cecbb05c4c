"""How differently two classifiers predict the same samples (the form of the paper's Figures 5,
left, and 27 to 30). PD: share of samples that exactly one predicts right. CC: complement of
Cohen's kappa. KL: mean divergence of the second one's probabilities from the first one's. CKAC:
complement of the centred kernel alignment of the logits. For a single run, bars have a 95 %
interval if the measure is a share. For several runs, they show the mean with the range of the
runs.
"""

from __future__ import annotations

from typing import Literal

import pandas as pd
from matplotlib.figure import Figure
from pydantic import Field

from wiseft.base.typed import Entry
from wiseft.errors import WiseftError
from wiseft.figures.labels import name_of
from wiseft.figures.style import Style
from wiseft.study.drawings import bars
from wiseft.study.drawings.bars import BarPanel, BarSeries
from wiseft.tabulate.schema import PAIR_PREFIX

MEASURES = {
    "prediction-diversity": ("PD", "Prediction diversity"),
    "cka-complement": ("CKAC", "CKA complement"),
    "kappa-complement": ("CC", "Kappa complement"),
    "kl-divergence": ("KL", "KL divergence (nats)"),
}
"""Short and long name of each measure, in the order of panels."""


class PairSeries(Entry):
    """Bars of one pair of classifiers."""

    label: str = Field(description="Text in the legend.")
    first: str = Field("zero-shot", description="First model: `zero-shot`, or a method's id.")
    second: str = Field(description="Second model: a method's id.")

    @property
    def bars(self) -> BarSeries:
        """The series as bars of the tidy table."""
        method, _, variant = self.second.partition("__")
        where = {"method": method, "variant": variant, "combination": PAIR_PREFIX + self.first}
        return BarSeries(label=self.label, where=where)


def draw(
    table: pd.DataFrame,
    style: Style,
    *,
    pairs: list[PairSeries],
    datasets: list[str],
    measures: list[str] | None = None,
    across: Literal["dataset", "model"] = "dataset",
    models: list[str] | None = None,
    labels: dict[str, str] | None = None,
    titles: dict[str, str] | None = None,
    columns: int = 2,
) -> Figure:
    """Draw one panel per measure with datasets below the bars, or per dataset with models.

    Args:
        table: the tidy table.
        style: looks and widths.
        pairs: pairs of classifiers; each is a series of bars.
        datasets: in reading order.
        measures: some of `MEASURES`, by default all; only one if models are below the bars.
        across: whether datasets or models are below the bars.
        models: in reading order; needed if they are below the bars, else a selection of rows.
        labels: texts of datasets and models that differ from `titles` and names.
        titles: names of the datasets as readers know them.
        columns: number of panels in a row.

    Raises:
        WiseftError: if a measure is unknown, a bar has no row or several, or there are no names to
            write below the bars.
    """
    chosen = list(MEASURES) if measures is None else measures
    if unknown := [name for name in chosen if name not in MEASURES]:
        raise WiseftError(f"measure {unknown[0]} is not one of {', '.join(MEASURES)}")
    names = {**(titles or {}), **(labels or {})}
    if across == "dataset":
        below, of_models = datasets, {} if models is None else {"model": models}
        panels = [
            BarPanel(title=short, ylabel=long, where={"metric": name, **of_models})
            for name, (short, long) in ((name, MEASURES[name]) for name in chosen)
        ]
    elif len(chosen) == 1 and models:
        below, long = models, MEASURES[chosen[0]][1]
        panels = [
            BarPanel(
                title=name_of(name, names),
                ylabel=long if place % columns == 0 else "",
                where={"metric": chosen[0], "dataset": name},
            )
            for place, name in enumerate(datasets)
        ]
    else:
        raise WiseftError(
            "with `across: model` there is one panel a dataset: give one of `measures`, and "
            "`models`"
        )
    return bars.draw(
        table,
        style,
        across=across,
        names=below,
        panels=panels,
        series=[pair.bars for pair in pairs],
        labels={name: name_of(name, names) for name in below},
        columns=columns,
    )
