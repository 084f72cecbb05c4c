"""Every figure of every experiment can be drawn from a table of that experiment's runs, and its
legend is true: every mark stands in it with its look, and every entry is drawn.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from tests.figures import paper_table
from tests.figures.legends import problems
from tests.published.test_experiments import pairs_of, with_file

from wiseft.figures.style import paper_style
from wiseft.study.config import Catalogue
from wiseft.study.paper.context import figure_context
from wiseft.study.paper.figure import draw_figure
from wiseft.study.paper.published import join

ROOT = Path(__file__).parents[2]
CATALOGUE = Catalogue(ROOT)
EXPERIMENTS = [
    name
    for name in CATALOGUE.names("experiments")
    if CATALOGUE.experiment(name).figures and not CATALOGUE.experiment(name).data_only
]


def _table(name: str, folder: Path) -> pd.DataFrame:
    """Return an invented table of an experiment's runs, with the paper's numbers beside them."""
    entry = CATALOGUE.experiment(name)
    measured, published = paper_table.of_experiment(name), entry.published
    measured = pd.concat([measured, pairs_of(entry)], ignore_index=True)
    if published is None:
        return measured
    return join([measured], published, CATALOGUE, folder)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_figures_of_an_experiment_can_be_drawn(name: str, tmp_path: Path) -> None:
    entry, table = CATALOGUE.experiment(name), _table(name, tmp_path)
    context = figure_context(entry, CATALOGUE)
    with paper_style() as style:
        for figure, settings in entry.figures.items():
            options = with_file(entry, settings.options, tmp_path)
            drawn = draw_figure(figure, settings.draw, table, style, options, context)
            assert any(ax.lines or ax.patches for ax in drawn.axes)
            assert problems(drawn) == [], figure
