"""Gains where data are few, gains within a tolerance, and bars: each by hand, then as drawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from tests.figures import paper_table
from tests.figures.legends import problems

from wiseft.errors import WiseftError
from wiseft.figures.style import Style, paper_style
from wiseft.study.drawings.gains import gains_over, short_number
from wiseft.study.drawings.tradeoff import gain_within, spread
from wiseft.study.paper.figure import draw_figure

# Two datasets, one size: zero-shot 0.6 and 0.8, fine-tuned 0.7 and 0.5, in between 0.75 and 0.75.
BY_HAND = pd.DataFrame(
    {
        "size": [5] * 6,
        "dataset": ["a"] * 3 + ["b"] * 3,
        "alpha": [0.0, 0.5, 1.0] * 2,
        "value": [0.6, 0.75, 0.7, 0.8, 0.75, 0.5],
    }
)


@pytest.fixture
def style() -> Iterator[Style]:
    with paper_style() as active:
        yield active


def _lines(figure: Figure, panel: int, gid: str) -> list[Any]:
    return [line for line in figure.axes[panel].lines if line.get_gid() == gid]


@pytest.mark.parametrize(
    ("base", "fixed", "best"),
    [
        ("zero-shot", 0.05, 0.075),  # 0.75 - 0.70; best: (0.75 + 0.80) / 2 - 0.70
        ("fine-tuned", 0.15, 0.175),  # 0.75 - 0.60
        ("better", 0.05, 0.075),  # zero-shot has the higher mean
    ],
)
def test_gains_by_hand(base: Any, fixed: float, best: float) -> None:
    gains = gains_over(BY_HAND, base, [0.5])
    assert gains[0.5][5] == pytest.approx(fixed)
    assert gains[None][5] == pytest.approx(best)


def test_gains_need_both_ends_and_the_alphas() -> None:
    with pytest.raises(WiseftError, match=r"0\.25"):
        gains_over(BY_HAND, "zero-shot", [0.25])
    with pytest.raises(WiseftError, match="both ends"):
        gains_over(BY_HAND[BY_HAND["alpha"] > 0], "fine-tuned", [0.5])


def _few_shot() -> pd.DataFrame:
    rows = []
    for dataset, end in (("cars", 0.8), ("dtd", 0.6)):
        for shots in (1, 10):
            for alpha in (0.0, 0.25, 0.5, 0.75, 1.0):
                value = 0.55 + (end - 0.55) * alpha * (shots / 10) + 0.1 * alpha * (1 - alpha)
                about = {"reference": dataset, "dataset": dataset, "variant": f"shots-{shots}"}
                rows.append(
                    paper_table.row(method="linear-classifier", alpha=alpha, value=value, **about)
                )
    return paper_table.table(rows)


def test_gains_draw_a_row_a_base_and_a_column_a_group(style: Style) -> None:
    sizes = {"cars": {"shots-1": 196, "shots-10": 1960}, "dtd": {"shots-1": 47, "shots-10": 470}}
    options = {"columns": {"Cars": ["cars"], "DTD": ["dtd"]}, "x": sizes, "own_reference": True}
    figure = draw_figure("f", "gains", _few_shot(), style, options)
    assert len(figure.axes) == 6
    (line,) = _lines(figure, 0, "gain:1.000")
    assert line.get_xdata() == pytest.approx([196, 1960])
    assert line.get_ydata() == pytest.approx([2.5, 25.0])
    (line,) = _lines(figure, 1, "gain:1.000")
    assert line.get_ydata() == pytest.approx([0.5, 5.0])
    mean = {"columns": {"both": ["cars", "dtd"]}, "x": {"shots-1": 1, "shots-10": 10}}
    figure = draw_figure("f", "gains", _few_shot(), style, mean)
    (line,) = _lines(figure, 0, "gain:1.000")
    assert line.get_ydata() == pytest.approx([1.5, 15.0])
    assert len(_lines(figure, 0, "gain:optimal")) == 1


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"columns": {"all": []}, "x": {"shots-1": 1}}, "no dataset"),
        ({"columns": {"all": ["cars"]}, "x": {"shots-3": 3}}, "shots-3"),
        ({"columns": {"all": ["cars", "dtd"]}, "x": {"cars": {"a": 1}, "dtd": {"a": 2}}}, "differ"),
        ({"columns": {"all": ["cars"]}, "x": {"dtd": {"shots-1": 1}}}, "no sizes for cars"),
    ],
)
def test_gains_name_what_is_missing(style: Style, options: dict[str, Any], part: str) -> None:
    with pytest.raises(WiseftError, match=f"figure f: .*{part}"):
        draw_figure("f", "gains", _few_shot(), style, options)


def test_gain_within_a_tolerance_by_hand() -> None:
    mean = pd.DataFrame(
        {
            "alpha": [0.0, 0.4, 0.7, 0.9, 1.0],
            "value_x": [0.70, 0.790, 0.799, 0.801, 0.80],
            "value_y": [0.60, 0.62, 0.58, 0.55, 0.50],
        }
    )
    assert gain_within(mean, 0.0) == pytest.approx(0.05)  # alpha 0.9 loses nothing
    assert gain_within(mean, 0.001) == pytest.approx(0.08)
    assert gain_within(mean, 0.01) == pytest.approx(0.12)
    with pytest.raises(WiseftError, match="alpha 1"):
        gain_within(mean[mean["alpha"] < 1], 0.0)


def test_tradeoff_draws_a_point_a_model_and_tolerance(style: Style, tmp_path: Path) -> None:
    hours = {"clip-rn50": 3000.0, "clip-vit-l-14": 74000.0, "clip-vit-l-14-336": 80000.0}
    file = tmp_path / "hours.csv"
    file.write_text("model,gpu_hours\n" + "".join(f"{m},{h}\n" for m, h in hours.items()))
    sweeps = [
        paper_table.sweep(strength=0.4 + 0.2 * place, model=model, method="linear-classifier")
        for place, model in enumerate(hours)
    ]
    table = paper_table.table(*sweeps)
    figure = draw_figure("f", "tradeoff", table, style, {"file": str(file)})
    found = {line.get_gid(): line for line in figure.axes[0].lines if line.get_gid() != "zero"}
    assert list(found) == ["tolerance:0", "tolerance:0.1", "tolerance:1"]
    assert list(found["tolerance:0"].get_xdata()) == list(hours.values())
    gains = np.array([line.get_ydata() for line in found.values()])
    assert (gains >= 0).all()
    assert (np.diff(gains, axis=0) >= 0).all()
    names = [text.get_text() for text in figure.axes[0].texts]
    assert names == list(hours)


def test_tradeoff_takes_hours_from_a_file(style: Style, tmp_path: Path) -> None:
    file = tmp_path / "hours.csv"
    file.write_text("# by hand\nmodel, gpu_hours, source\nclip-vit-b-16, 3e3, a guess\n")
    sweep = paper_table.sweep(model="clip-vit-b-16", method="linear-classifier")
    options = {"file": str(file), "labels": {"clip-vit-b-16": "ViT-B/16"}}
    figure = draw_figure("f", "tradeoff", paper_table.table(sweep), style, options)
    assert [text.get_text() for text in figure.axes[0].texts] == ["ViT-B/16"]
    assert list(figure.axes[0].lines[0].get_xdata()) == [3000.0]
    assert problems(figure) == []


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (None, "hours.csv, which must be a CSV with the columns model and gpu_hours"),
        ("", "which must be a CSV with the columns"),
        ("model,hours\na,1\n", "but has 1 rows of model, hours"),
        ("model,gpu_hours\n", "but has 0 rows"),
        ("model,gpu_hours\na,0\n", "gpu_hours '0' of model 'a'"),
        ("model,gpu_hours\na,many\n", "gpu_hours 'many' of model 'a'"),
        ("model,gpu_hours\na,1\na,2\n", "gpu_hours '2' of model 'a'"),
        ("model,gpu_hours\nclip-rn101,5\n", "clip-rn101"),
    ],
)
def test_a_file_of_hours_that_is_wrong_is_a_sentence(
    style: Style, tmp_path: Path, text: str | None, part: str
) -> None:
    file = tmp_path / "hours.csv"
    if text is not None:
        file.write_text(text)
    table = paper_table.table(paper_table.sweep(method="linear-classifier"))
    with pytest.raises(WiseftError, match=f"figure f: .*{part}"):
        draw_figure("f", "tradeoff", table, style, {"file": str(file)})


def test_gains_refuse_alphas_that_would_look_alike(style: Style) -> None:
    options = {"columns": {"ImageNet": ["imagenet"]}, "x": {"": 1}, "alphas": [0.4, 0.5]}
    with pytest.raises(WiseftError, match=r"0.4, 0.5, of which two look alike"):
        draw_figure("f", "gains", paper_table.measured(), style, options)


def test_names_are_spread_and_keep_their_order() -> None:
    places = spread([0.1, 0.5, 0.51, 0.52], 0.05)
    assert places[0] == 0.1
    assert min(np.diff(places)) == pytest.approx(0.05, abs=1e-3)
    assert np.mean(places[1:]) == pytest.approx(0.51)


def test_short_numbers() -> None:
    assert [short_number(v) for v in (1, 50, 505, 9800, 1_281_167)] == [
        *("1", "50", "505", "9.8k", "1.3M")
    ]


PAIRS = [
    {"label": "zero-shot and fine-tuned", "where": {"method": "zero-shot-vs-linear"}},
    {"label": "two fine-tuned", "where": {"method": "linear-vs-linear"}},
]


def _diversity() -> pd.DataFrame:
    rows = []
    for place, dataset in enumerate(("imagenet", "objectnet")):
        for seed in (0, 1):
            for pair, value in (("zero-shot-vs-linear", 0.12), ("linear-vs-linear", 0.06)):
                value += 0.01 * place + 0.002 * seed
                about = {"method": pair, "metric": "prediction-diversity", "seed": seed}
                rows.append(paper_table.row(dataset=dataset, value=value, **about))
    return paper_table.table(rows)


def test_bars_are_means_with_the_range_of_the_runs(style: Style) -> None:
    panel = {"title": "PD", "where": {"metric": "prediction-diversity"}}
    options = {"across": "dataset", "names": ["imagenet", "objectnet"], "panels": [panel]}
    figure = draw_figure("f", "bars", _diversity(), style, {**options, "series": PAIRS})
    heights = {
        label: [bar.get_height() for bar in figure.axes[0].patches if bar.get_gid() == label]
        for label in (f"bar:{pair['label']}" for pair in PAIRS)
    }
    assert list(heights.values()) == [
        pytest.approx([0.121, 0.131]),
        pytest.approx([0.061, 0.071]),
    ]
    hatches = {bar.get_hatch() for bar in figure.axes[0].patches}
    assert len(hatches) == 2  # told apart without colour
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == options["names"]


@pytest.mark.parametrize(
    ("where", "part"),
    [
        ({"metric": "cka"}, "cka"),
        ({"colour": "red"}, "colour"),
        ({}, "several rows of a run.*metric"),
    ],
)
def test_bars_name_what_is_missing_or_not_one_number(
    style: Style, where: dict[str, Any], part: str
) -> None:
    table = _diversity()
    table = pd.concat([table, table.assign(metric="other", value=0.5)], ignore_index=True)
    options = {"across": "dataset", "names": ["imagenet"], "series": PAIRS}
    with pytest.raises(WiseftError, match=f"figure f: .*{part}"):
        draw_figure("f", "bars", table, style, {**options, "panels": [{"where": where}]})
