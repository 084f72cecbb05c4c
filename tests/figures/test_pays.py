"""When interpolation pays, against the paper's printed numbers and against counts made by hand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from wiseft.errors import WiseftError
from wiseft.figures.style import paper_style
from wiseft.study.config import Catalogue
from wiseft.study.config.experiment_parts import PublishedSettings
from wiseft.study.drawings.pays import LOOKS, Group, bonuses, draw
from wiseft.study.paper.figure import draw_figure
from wiseft.study.paper.published import join
from wiseft.tabulate.schema import TABLE, conform, read_table

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    catalogue = Catalogue(REPOSITORY)
    return join([], PublishedSettings(tables=[4, 5, 8]), catalogue, REPOSITORY / "datasets")


def _measured(values: dict[str, tuple[float, float, float]]) -> pd.DataFrame:
    """Return the rows of models, each with its accuracies at alpha 0, 0.5 and 1."""
    columns = ["model", "run", "alpha", "value"]
    rows = [
        [model, f"{model}-run", alpha, value]
        for model, each in values.items()
        for alpha, value in zip((0.0, 0.5, 1.0), each, strict=True)
    ]
    same = {"source": "measured", "experiment": "e", "reference": "r", "method": "end-to-end"}
    same |= {"variant": "v", "combination": "weight", "dataset": "avg:shifts", "view": "all"}
    same |= {"split": "test", "metric": "accuracy", "selection": "grid"}
    frame = pd.DataFrame(rows, columns=columns).assign(seed=0, **same)
    return conform(frame.reindex(columns=list(TABLE)), TABLE)


def test_the_numbers_are_those_that_the_paper_prints(published: pd.DataFrame) -> None:
    found = bonuses(published[published["method"] == "end-to-end"]).set_index("model")
    # Table 8: BASIC-L has 84.1, 83.4 and 76.3 % on the average of the shifts; Table 5: B/16.
    assert found.loc["basic-l", "bonus"] == pytest.approx(83.4 - (84.1 + 76.3) / 2, abs=0.06)
    assert found.loc["basic-l", "gap"] == pytest.approx(84.1 - 76.3, abs=0.06)
    assert found.loc["clip-vit-b-16", "bonus"] == pytest.approx(63.0 - (58.1 + 53.8) / 2, abs=0.06)


def test_models_that_differ_by_a_seed_are_one_mark_with_a_t_interval() -> None:
    each = {"m-s1": (0.80, 0.85, 0.80), "m-s2": (0.80, 0.86, 0.82), "m-s3": (0.82, 0.88, 0.80)}
    (point,) = bonuses(_measured(each)).to_dict("records")
    bonus = np.array([5.0, 5.0, 7.0])
    low, high = ttest_1samp(bonus, 0).confidence_interval(0.95)
    assert (point["model"], point["gap"]) == ("m", pytest.approx(0.0))
    assert [point["bonus"], point["ci_low"], point["ci_high"]] == pytest.approx(
        [bonus.mean(), low, high]
    )


def test_marks_above_the_border_are_better_than_both_ends(published: pd.DataFrame) -> None:
    """Checked against the accuracies themselves, not against bonus and gap."""
    table = pd.concat([published, _measured({"m": (0.3, 0.5, 0.55)})], ignore_index=True)
    found = bonuses(table[table["method"] == "end-to-end"]).set_index("model")
    here = table[(table["dataset"] == "avg:shifts") & (table["selection"] == "grid")]
    here = here[here["method"] == "end-to-end"]
    wide = here.pivot_table("value", "model", "alpha")[[0.0, 0.5, 1.0]].dropna()
    better = wide[0.5] > wide[[0.0, 1.0]].max(axis=1)
    above = found["bonus"] > found["gap"].abs() / 2
    assert better.to_dict() == above[better.index].to_dict()
    assert better["clip-vit-b-16"] and not better["basic-l"] and not better["m"]


def test_a_group_of_which_nothing_is_there_is_left_out(
    published: pd.DataFrame,
) -> None:
    groups = [
        Group(label="paper", where={"method": "end-to-end"}, names={"basic-l": "BASIC-L"}),
        Group(label="nobody", where={"experiment": "not-run"}),
    ]
    with paper_style() as style:
        figure = draw(published, style, groups=groups)
    names = [text.get_text() for text in figure.axes[0].texts if text.get_gid() == "name"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert (names, legend) == (["BASIC-L"], ["paper"])
    marks = {
        float(line.get_ydata()[0]) for line in figure.axes[0].lines if line.get_gid() == "paper"
    }
    shown = bonuses(published[published["method"] == "end-to-end"])
    assert marks == set(shown["bonus"])


def test_groups_without_a_look_of_their_own_are_refused(published: pd.DataFrame) -> None:
    groups = [{"label": str(n), "where": {}} for n in range(len(LOOKS) + 1)]
    with paper_style() as style, pytest.raises(WiseftError, match=rf"groups.*most {len(LOOKS)}"):
        draw_figure("many", "pays", published, style, {"groups": groups})


MEASURED = {
    "digits, rate 6e-3": ("digits-seeds", "end-to-end", "digits-lr-6e-3"),
    "digits, rate 3e-3": ("digits-seeds", "end-to-end", "digits"),
    "digits, rate 1e-3": ("digits-seeds", "end-to-end", "digits-lr-1e-3"),
    "digits, linear classifier": ("digits-seeds", "linear-classifier", "digits"),
    "icons, rate 6e-3": ("icons-seeds", "end-to-end", "icons"),
    "icons, rate 3e-3": ("icons-seeds", "end-to-end", "icons-lr-3e-3"),
    "icons, rate 3e-4": ("icons-seeds", "end-to-end", "icons-lr-3e-4"),
    "icons, linear classifier": ("icons-seeds", "linear-classifier", "icons"),
    "icons, fine-tuned on emoji": ("icons-vendors-seeds", "end-to-end", "icons-vendors"),
    "photographs, end to end": ("photos", "end-to-end", "photos"),
}
"""Experiment, method and variant by the begin of a row of docs/when-it-pays.md."""


@pytest.mark.parametrize("row", MEASURED)
def test_the_page_has_the_numbers_of_the_published_tables(row: str) -> None:
    text = (REPOSITORY / "docs/when-it-pays.md").read_text()
    (line,) = (each for each in text.splitlines() if each.startswith(f"| {row}"))
    cells = [re.findall(r"[-+]?\d+\.\d", cell) for cell in line.split("|")[2:-1]]
    printed = [float(each[0]) for each in cells]
    experiment, method, variant = MEASURED[row]
    table = read_table(REPOSITORY / f"published/tables/{experiment}/{experiment}.parquet")
    here = table[(table["dataset"] == "avg:shifts") & (table["selection"] == "grid")]
    here = here[(here["method"] == method) & (here["variant"] == variant)]
    here = here[(here["combination"] == "weight") & (here["split"] == "test")]
    by_model = here.groupby(["model", "alpha"])["value"].mean().unstack()
    start, middle, end = (100 * by_model[alpha].mean() for alpha in (0.0, 0.5, 1.0))
    found = [start, end, middle, middle - end, middle - max(start, end)]
    assert printed == pytest.approx(found, abs=0.051)
    folder = REPOSITORY / "published/tables" / experiment
    compared = pd.read_csv(folder / f"{experiment}.comparisons.csv.gz", keep_default_na=False)
    compared = compared[(compared["run"] == "all") & (compared["dataset"] == "avg:shifts")]
    compared = compared[(compared["method"] == method) & (compared["variant"] == variant)]
    compared = compared[compared["combination"] == "weight"].set_index("contrast")
    for better, cell in zip((1, int(end > start)), cells[3:], strict=True):
        contrast = f"0.500-vs-{better}.000"
        about = compared.loc[[contrast]] if contrast in compared.index else compared[:0]
        ends = [100 * float(about[name].iloc[0]) for name in ("ci_low", "ci_high") if len(about)]
        assert [float(each) for each in cell[1:]] == pytest.approx(ends, abs=0.051)
