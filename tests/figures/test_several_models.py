"""Five pre-training seeds, three methods, of one of them fewer seeds: what a reader is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from scipy.stats import t
from tests.figures.conftest import AVERAGES, HOT, PRETRAINED, SETTINGS, make_table, make_tables
from tests.figures.test_figures import assert_legible

from wiseft.base.templates import percent, points
from wiseft.figures.labels import variant_names
from wiseft.figures.page import PageSettings, build_page
from wiseft.figures.page.content import lines_of, table_data
from wiseft.figures.style import Style, paper_style
from wiseft.study.paper.figure import draw_figure
from wiseft.study.paper.headline import headline, headline_metrics
from wiseft.study.paper.summary import Tables, summary
from wiseft.tabulate.schema import TUNING, frame_of
from wiseft.tabulate.settings import TabulateSettings, Tuning

METHODS = ["end-to-end", "end-to-end, learning rate 6e-3", "linear-classifier"]
TITLES = ["WiSE-FT, end-to-end", "WiSE-FT, end-to-end, learning rate 6e-3"]
TITLES += ["WiSE-FT, linear classifier"]
KNOWN = TabulateSettings.model_validate(SETTINGS)


@pytest.fixture(scope="module")
def tables(several: pd.DataFrame) -> Tables:
    return make_tables(several)


@pytest.fixture(scope="module")
def text(tables: Tables) -> str:
    return summary("synthetic", tables, KNOWN)


@pytest.fixture
def style() -> Iterator[Style]:
    with paper_style() as active:
        yield active


def mean_row(frame: pd.DataFrame, **wanted: Any) -> Any:
    for name, value in {"run": "all", "combination": "weight", **wanted}.items():
        frame = frame[frame[name] == value]
    assert len(frame) == 1, frame
    return frame.iloc[0]


def ends(row: Any, show: Any, name: str = "ci") -> str:
    return f"[{show(row[f'{name}_low'])}, {show(row[f'{name}_high'])}]"


def new_ends(tables: Tables, row: Any) -> str:
    """Return the prediction interval of a difference, from those of the models."""
    rows = tables.comparisons
    for name in ("method", "variant", "contrast", "dataset"):
        rows = rows[rows[name] == row[name]]
    values = rows[(rows["seed"] == "all") & (rows["run"] != "all")]["difference"]
    assert len(values) == 5
    half = t.ppf(0.975, 4) * values.std() * (1 + 1 / 5) ** 0.5
    return f"new [{points(values.mean() - half)}, {points(values.mean() + half)}]"


def accuracy(table: pd.DataFrame, dataset: str, alpha: float, variant: str = "digits") -> Any:
    wanted = {"dataset": dataset, "alpha": alpha, "variant": variant, "split": "test"}
    return mean_row(table, method="end-to-end", **wanted)


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize(("title", "variant"), [(TITLES[0], "digits"), (TITLES[1], HOT)])
def test_accuracies_have_the_tables_intervals_and_that_of_a_new_model(
    several, text, title, variant, average
) -> None:
    (line,) = re.findall(rf"^\| {title} \| average of {average} \|.*\] \(.*$", text, re.M)
    for found, alpha in zip(line.split("|")[3:6], (0.0, 0.5, 1.0), strict=True):
        row = accuracy(several, f"avg:{average}", alpha, variant)
        runs = several[
            (several["dataset"] == row["dataset"])
            & (several["alpha"] == alpha)
            & (several["combination"] == "weight")
            & (several["method"] == "end-to-end")
            & (several["variant"] == variant)
            & (several["run"] != "all")
        ]
        values, models = runs["value"], runs.groupby("model")["value"].mean()
        assert len(values) == (15 if variant == "digits" else 5)
        shown = f"({percent(values.min())} to {percent(values.max())})"
        half = t.ppf(0.975, 4) * models.std() * (1 + 1 / 5) ** 0.5
        new = f"new [{percent(models.mean() - half)}, {percent(models.mean() + half)}]"
        assert found.strip() == f"{percent(row['value'])} {ends(row, percent)}; {new} {shown}"


def test_differences_of_all_models_have_their_t_interval(tables: Tables, text: str) -> None:
    wanted = {"method": "end-to-end", "variant": "digits", "contrast": "0.500-vs-1.000"}
    row = mean_row(tables.comparisons, dataset="avg:natural", **wanted)
    shown = f"{points(row['difference'])} {ends(row, points)}; {new_ends(tables, row)}"
    assert f"{shown} ({points(row['low'])} to" in text
    words = "mean [interval]; new pre-training (range of their means)"
    assert text.count(f"| **all 5 models: {words}** |") == 8
    mfeat = mean_row(tables.comparisons, dataset="mfeat", **wanted)
    shown = f"{points(mfeat['difference'])} {ends(mfeat, points)}; {new_ends(tables, mfeat)}"
    assert f"| mfeat | {shown} (" in text


def test_each_method_has_its_choices_with_gains_against_both_ends(tables, text) -> None:
    section = text[text.index("## Choosing α") : text.index("## Effective robustness")]
    assert re.findall(r"^### (.*)$", section, re.M) == TITLES
    last = section[section.index(f"### {TITLES[2]}") :]
    for dataset in ("mnist", *(f"avg:{name}" for name in AVERAGES)):
        for choice in ("fixed", "held-out", "oracle-column"):
            row = mean_row(
                tables.selection, method="linear-classifier", dataset=dataset, selection=choice
            )
            cells = [
                f"{show(row[name])} {ends(row, show, f'{name}_ci')}"
                for name, show in (
                    ("value", percent),
                    ("over_zero_shot", points),
                    ("over_fine_tuned", points),
                )
            ]
            assert f"| {' | '.join(cells)} |" in last


def test_words_of_several_models(text: str, tables: Tables) -> None:
    assert "Fine-tuning seeds: 0, 1, 2; of WiSE-FT, end-to-end, learning rate 6e-3: 0." in text
    assert (
        "**Intervals over 5 models**" in text and "Means [95 % t intervals over 5 models]" in text
    )
    assert "Nothing about pre-training can be inferred" not in text
    wanted = {"method": "end-to-end", "variant": "digits", "contrast": "0.500-vs-0.000"}
    row = mean_row(tables.comparisons, dataset="avg:natural", **wanted)
    assert (
        f"α = 0.5 is {percent(-row['difference'])} points below zero-shot "
        f"{ends(row, points)}; {new_ends(tables, row)}"
    ) in text


def test_words_of_intervals_that_count_images(tables: Tables) -> None:
    means = tables.table["run"] == "all"
    table = tables.table.assign(ci_method=tables.table["ci_method"].mask(means, "two-way"))
    text = summary("synthetic", replace(tables, table=table), KNOWN)
    assert "**Intervals over 5 models and the test images**" in text
    assert "other\n  pre-training seeds of the same recipe and other test images: a model" in text
    assert "Means [95 % t intervals over 5 models]" in text


TUNED = {"title": "learning rate", "methods": ["end-to-end__digits", f"end-to-end__{HOT}"]}


def tuning_row(variant: str, quantity: str, dataset: str, value: float, **more: Any) -> Any:
    ends = {"ci_low": value - 0.01, "ci_high": value + 0.01}
    about = {"experiment": "synthetic", "model": "digits-rn", "method": "end-to-end", "n": 5}
    at = {"variant": variant, "quantity": quantity, "dataset": dataset, "value": value}
    return about | at | {"admissible": 1, "against": "end-to-end__digits"} | ends | more


def test_settings_of_one_recipe_are_a_range_from_worst_to_best(tables: Tables) -> None:
    rows = []
    for variant, gain, admissible in (("digits", 0.012, 1), (HOT, 0.052, 1)):
        named = {"admissible": admissible}
        rows += [tuning_row(variant, "held-out", "mnist", 0.98, **named)]
        rows += [tuning_row(variant, "to-the-best", "mnist", -0.001, **named)]
        for dataset in ("mnist", *(f"avg:{name}" for name in AVERAGES)):
            rows += [tuning_row(variant, "over-fine-tuned", dataset, gain, **named)]
            rows += [tuning_row(variant, "over-zero-shot", dataset, -gain, **named)]
    more = {"x_low": 0.92, "x_high": 0.981}
    rows += [tuning_row(HOT, "equal-reference", "avg:natural", -0.003, **more)]
    settings = KNOWN.model_copy(update={"tuning": Tuning.model_validate(TUNED)})
    text = summary("s", replace(tables, tuning=frame_of(rows, TUNING)), settings)
    hot = TITLES[1]
    assert "## Settings of one recipe: learning rate" in text
    assert (
        f"- average of natural: over fine-tuned +1.2 [+0.2, +2.2] ({TITLES[0]}) to "
        f"+5.2 [+4.2, +6.2] ({hot}); over zero-shot −5.2 [−6.2, −4.2] ({hot}) to "
        f"−1.2 [−2.2, −0.2] ({TITLES[0]}). At equal reference accuracy, curves differ from the "
        f"gentlest one's by −0.3 [−1.3, +0.7] ({hot}).\n"
    ) in text
    assert f"over zero-shot −5.2 [−6.2, −4.2] ({hot}) to −1.2 [−2.2, −0.2] ({TITLES[0]}).\n" in text
    assert f"| {hot} | yes | 98.0 [97.0, 99.0] | −0.1 [−1.1, +0.9] |" in text
    assert "| −0.3 [−1.3, +0.7] | 92.0, 98.1 |" in text
    rows = [row | {"admissible": int(row["variant"] == "digits")} for row in rows]
    text = summary("s", replace(tables, tuning=frame_of(rows, TUNING)), settings)
    assert f"| {hot} | no |" in text
    assert f"over fine-tuned +1.2 [+0.2, +2.2] ({TITLES[0]}); over" in text


@pytest.mark.parametrize(("models", "count"), [(PRETRAINED[:1], "one"), (PRETRAINED[:2], "two")])
def test_words_of_too_few_models(models: tuple[str, ...], count: str) -> None:
    table = make_table(seeds=(0, 1), models=models)
    text = summary("synthetic", make_tables(table), KNOWN)
    assert "Nothing about pre-training can be inferred" in text
    assert f"from {count} pre-training" in text
    assert (
        "[interval" not in text and "intervals over models stand" in text
    )  # from three on, it says
    natural = re.findall(r"^\| WiSE-FT, end-to-end \| average of natural \|(.*)\|$", text, re.M)[0]
    assert ("[" in natural) == (count == "one")  # of two models, no interval is printed


def test_effective_robustness_of_several_models(tables: Tables, text: str) -> None:
    wanted = {"method": "end-to-end", "variant": "digits", "dataset": "avg:natural"}
    row = mean_row(tables.effective, alpha=0.0, **wanted)
    assert f"{points(row['effective_robustness'])} {ends(row, points)} |" in text


def expected_new(several: pd.DataFrame, alpha: float) -> tuple[float, float]:
    """Return mean +- t s sqrt(1 + 1/n) of the leading method on the natural sets, by scipy."""
    runs = several[(several["run"] != "all") & (several["alpha"] == alpha)]
    runs = runs[(runs["dataset"] == "avg:natural") & (runs["variant"] == "digits")]
    runs = runs[(runs["method"] == "end-to-end") & (runs["combination"] == "weight")]
    runs = runs[(runs["selection"] == "grid") & (runs["split"] == "test")]
    each = runs.groupby("model")["value"].mean()
    scale = each.std() * (1 + 1 / len(each)) ** 0.5
    return t.interval(0.95, len(each) - 1, each.mean(), scale)


def test_headline_has_the_t_intervals(several: pd.DataFrame) -> None:
    lines = headline(several).splitlines()
    assert lines[0] == (
        "accuracy (%), test, end-to-end, mean of 5 models [95 % interval], and where one new model "
        "is expected (95 %)"
    )
    row = accuracy(several, "avg:natural", 0.5)
    assert f" {percent(row['value'])} {ends(row, percent)} " in lines[6]
    low, high = expected_new(several, 0.5)
    assert f" [{percent(low)}, {percent(high)}] " in lines[7] and "one new model" in lines[7]
    found = headline_metrics(several)
    assert list(found) == METHODS
    leaves = found["end-to-end"]["avg:natural"]
    assert leaves["0.500"] == pytest.approx(row["value"], abs=1e-6)
    assert leaves["0.500 t-low"] == pytest.approx(row["ci_low"], abs=1e-6)
    assert leaves["0.500 t-high"] == pytest.approx(row["ci_high"], abs=1e-6)


def test_page_shows_means_over_models(several: pd.DataFrame, tmp_path) -> None:
    names = ["avg:natural", "mfeat"]
    lines = lines_of(several, "mnist", names, "all")
    assert [line.label for line in lines] == TITLES
    assert [(line.runs, line.models) for line in lines] == [(15, 5), (5, 5), (15, 5)]
    shown = lines[0].values["avg:natural"].set_index("alpha").loc[0.5]
    row = accuracy(several, "avg:natural", 0.5)
    for name in ("value", "ci_low", "ci_high"):
        assert shown[name] == row[name]
    new = expected_new(several, 0.5)
    assert (shown["new_low"], shown["new_high"]) == pytest.approx(new)
    (first, *_), kept = table_data(lines, "mnist", names, {})["lines"], 100 * pd.Series(new)
    assert first["values"]["avg:natural"]["0.500"][3:] == pytest.approx(kept.tolist(), abs=1e-3)
    settings = PageSettings(experiment="synthetic", title="t", reference="mnist", datasets=names)
    over = "95 % interval of the mean over 5 models"
    assert over in build_page(several, settings, tmp_path / "index.html")
    one = build_page(make_table(seeds=(0,)), settings, tmp_path / "index.html")
    assert over not in one and "nothing here says what another pre-training would give" in one


@pytest.mark.parametrize(
    ("draw", "options"), [("robustness", {"average": "natural"}), ("landscape", {})]
)
def test_figures_have_a_line_for_each_method(several, style, draw, options) -> None:
    runs = several[several["run"] != "all"]
    figure = draw_figure("f", draw, runs, style, options)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [text for text in legend if text in TITLES] == TITLES
    dataset = "mnist" if draw == "landscape" else "avg:natural"
    for method, variant in zip(METHODS[:2], ("digits", HOT), strict=True):
        (line,) = [x for x in figure.axes[0].lines if x.get_gid() == f"mean:{method}"]
        expected = [accuracy(several, dataset, alpha, variant)["value"] for alpha in (0.0, 0.5, 1)]
        assert list(line.get_ydata()[[0, 5, 10]]) == pytest.approx(expected)
    assert_legible(figure)


@pytest.mark.parametrize(
    ("draw", "options"), [("robustness", {"average": "natural"}), ("landscape", {})]
)
def test_a_legend_of_many_methods_fits_the_figure(several, style, draw, options) -> None:
    runs = several[several["run"] != "all"]
    (variant,) = {HOT} & set(runs["variant"])
    more = [
        runs[runs["variant"] == variant].assign(variant=f"digits-lr-{rate}e-4", run=f"r{rate}")
        for rate in (1, 2, 4, 5)
    ]
    figure = draw_figure("f", draw, pd.concat([runs, *more], ignore_index=True), style, options)
    figure.canvas.draw()
    (legend,) = figure.legends
    extent = legend.get_window_extent()
    assert extent.x0 >= 0 and extent.x1 <= figure.bbox.width


def test_names_of_variants_say_what_differs() -> None:
    digits = ["digits", HOT, "digits-epochs-1"]
    assert variant_names(digits) == {
        "digits": "",
        HOT: "learning rate 6e-3",
        "digits-epochs-1": "epochs-1",
    }
    assert variant_names(["digits-half-1", "digits-half-2"]) == {
        "digits-half-1": "digits-half-1",
        "digits-half-2": "digits-half-2",
    }
    assert variant_names(["", "coop"]) == {"": "", "coop": "coop"}
    assert variant_names(["anything"]) == {"anything": ""}
