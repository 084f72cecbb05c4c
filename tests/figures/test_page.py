"""The interactive page: what it holds, and that it needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from scipy.special import logit
from tests.figures import paper_table
from typer.testing import CliRunner

from wiseft.cli import app
from wiseft.errors import WiseftError
from wiseft.figures.page import PageSettings, build, build_page
from wiseft.figures.page.chart import charts
from wiseft.figures.page.content import (
    FARTHEST,
    answer,
    lines_of,
    models_of,
    over_settings,
    records,
    signed,
    table_data,
)
from wiseft.study.config import Catalogue
from wiseft.study.paper.context import page_context
from wiseft.tabulate.schema import TABLE, TUNING, read, write_parquet

PUBLISHED = Path(__file__).parents[2] / "published/tables/digits-seeds/digits-seeds.tuning.csv.gz"
MODEL = "clip-vit-l-14-336"
SHIFTS = ["avg:shifts", *paper_table.SHIFTS]
SETTINGS = PageSettings(
    experiment="made-up",
    title="Made up <numbers>",
    reference="imagenet",
    datasets=["imagenet", *paper_table.SHIFTS, "cifar10.1"],
    averages=["shifts"],
    titles={"imagenet": "ImageNet", "avg:shifts": "5 shifts"},
    captions={"figure-1": "A & B"},
)


def both() -> pd.DataFrame:
    """Return invented measured rows, and the paper's own."""
    return pd.concat([paper_table.measured(), paper_table.published()], ignore_index=True)


def embedded(page: str, name: str) -> dict:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    assert found, name
    return json.loads(found[1])


@pytest.fixture(scope="module")
def page() -> str:
    output = Path("results/made-up/index.html")
    return build_page(both(), SETTINGS, output, [Path("data/tables/made-up.csv")])


def test_lines_are_methods_of_models_measured_before_published():
    lines = lines_of(both(), "imagenet", SHIFTS, "all")
    ours = [line for line in lines if line.model == "clip-vit-l-14-336"]
    assert [(line.method, line.source) for line in ours] == [
        ("end-to-end", "measured"),
        ("end-to-end", "published"),
        ("linear-classifier", "measured"),
        ("linear-classifier", "published"),
    ]
    assert ours[0].color == ours[1].color != ours[2].color
    assert {"align", "basic-l", "vit-h-14-jft"} <= set(models_of(lines))


def test_models_that_only_other_people_trained_are_no_lines():
    methods = {line.method for line in lines_of(both(), "imagenet", SHIFTS, "all")}
    assert not methods & {"standard", "zero-shot", "from-scratch", "independent-ensemble"}


def test_only_chosen_methods_are_lines_and_the_page_says_how_many_are_not():
    lines = lines_of(both(), "imagenet", SHIFTS, "all", ["linear-classifier"])
    measured = {line.method for line in lines if line.source == "measured"}
    assert measured == {"linear-classifier"}
    assert "end-to-end" in {line.method for line in lines}, "published lines stay"
    chosen = SETTINGS.model_copy(update={"methods": ["linear-classifier"], "further_methods": 3})
    assert "3 further methods are in the tables" in build_page(both(), chosen, Path("index.html"))


def test_ten_methods_are_shown_where_an_experiment_does_not_choose():
    catalogue = Catalogue(paper_table.ROOT)
    entry = catalogue.experiment("linear-alternatives")
    context = page_context(entry, catalogue)
    assert (len(context["methods"]), context["further_methods"]) == (10, len(entry.methods) - 10)
    chosen = catalogue.experiment("digits-studies")
    assert page_context(chosen, catalogue)["methods"] == chosen.page


def test_a_searched_linear_classifier_stands_beside_the_published_one():
    def variants(*names: str) -> set[tuple[str, str]]:
        sweeps = [paper_table.sweep(method="linear-classifier", variant=name) for name in names]
        published = both()[both()["source"] == "published"]
        table = pd.concat([paper_table.table(*sweeps), published])
        lines = lines_of(table, "imagenet", SHIFTS, "all")
        chosen = [line for line in lines if line.model == "clip-vit-l-14-336"]
        return {(x.variant, x.source) for x in chosen if x.method == "linear-classifier"}

    assert variants("search-l1") == {("", "measured"), ("", "published")}
    assert variants("search-l1", "search-none") == {
        ("search-l1", "measured"),
        ("search-none", "measured"),
        ("", "published"),
    }
    assert ("search-l1", "measured") in variants("search-l1", "")


def test_every_line_of_a_model_has_a_colour_of_its_own():
    swept = [
        paper_table.sweep(method=method, variant=variant)
        for method in ("end-to-end", "contrastive", "lp-ft")
        for variant in ("a", "b")
    ]
    lines = lines_of(paper_table.table(*swept), "imagenet", SHIFTS, "all")
    assert len(lines) == len({line.color for line in lines}) == len({line.label for line in lines})


def test_several_seeds_are_one_line_of_their_mean():
    table = pd.concat(
        [
            paper_table.table(paper_table.sweep(seed=0)),
            paper_table.table(paper_table.sweep(1.2, seed=1)),
        ]
    )
    (line,) = lines_of(table, "imagenet", SHIFTS, "all")
    at = line.values["objectnet"].set_index("alpha")["value"]
    each = [paper_table.accuracy("objectnet", 0.5, strength) for strength in (1.0, 1.2)]
    assert line.runs == 2
    assert at[0.5] == pytest.approx(sum(each) / 2, abs=1e-4)


def test_the_recommended_alpha_is_the_lower_median_of_what_held_out_images_chose():
    parts = []
    for seed, alpha in ((0, 0.8), (1, 0.6)):
        swept = paper_table.table(paper_table.sweep(seed=seed))
        picked = swept[(swept["alpha"] == alpha) & (swept["dataset"] == "imagenet")]
        parts += [swept, picked.assign(selection="held-out-1se")]
    (line,) = lines_of(pd.concat(parts), "imagenet", SHIFTS, "all")
    assert line.recommended == 0.6
    marked = [p for p in records([line], "imagenet", ["objectnet"], {}) if p["recommended"]]
    assert [point["alpha"] for point in marked] == [0.6]
    (without,) = lines_of(parts[0], "imagenet", SHIFTS, "all")
    assert without.recommended is None
    given = embedded(
        build_page(parts[0], SETTINGS.model_copy(update={"recommended": 0.3}), Path("i")), "data"
    )
    assert given["start"]["alpha"] == "0.300"
    assert {line["recommended"] for line in given["lines"]} == {0.3}


def test_an_average_is_called_by_what_it_is_and_one_of_a_single_set_by_that():
    catalogue = Catalogue(paper_table.ROOT)
    digits = page_context(catalogue.experiment("digits"), catalogue)
    assert digits["titles"]["avg:shifts"] == "8 shifts"
    assert digits["titles"]["avg:natural"] == "3 sets by other writers"
    photos = page_context(catalogue.experiment("photos"), catalogue)
    assert photos["averages"] == ["shifts", "corruptions"]
    assert photos["titles"]["avg:other-side"] == photos["titles"]["cifar10-lower"]


def compared(*rows: tuple[str, str, int, float, float, float]) -> pd.DataFrame:
    """Return paired comparisons: dataset, end, seed, difference and interval in points."""
    names = ["dataset", "end", "seed", "difference", "ci_low", "ci_high"]
    frame = pd.DataFrame(rows, columns=names).astype({"seed": str})
    frame[names[3:]] /= 100
    frame["contrast"] = "0.500-vs-" + frame["end"]
    return frame.assign(model="clip-vit-l-14-336", method="end-to-end", variant="")


def found(rows: pd.DataFrame | None, shift: str = "avg:shifts", alpha: float = 0.5) -> list[str]:
    (line,) = lines_of(paper_table.table(paper_table.sweep()), "imagenet", SHIFTS, "all")
    return answer(line, ("imagenet", shift), alpha, SETTINGS.titles, rows)


def test_the_page_leads_with_what_an_alpha_gains_and_costs():
    """The numbers are those of the table, the intervals those of the paired comparisons."""
    (line,) = lines_of(paper_table.table(paper_table.sweep()), "imagenet", SHIFTS, "all")
    at = {
        name: line.values[name].set_index("alpha")["value"] for name in ("avg:shifts", "imagenet")
    }
    points = {name: 100 * (v[0.5] - v[1.0]) for name, v in at.items()}
    rows = compared(
        ("avg:shifts", "1.000", 0, points["avg:shifts"], 1.26, 9.9),
        ("imagenet", "1.000", 0, points["imagenet"], -0.14, 0.9),
    )
    said = found(rows)
    assert said[0] == (
        f"α = 0.5: {points['avg:shifts']:+.1f} points [1.3, 9.9] under shift (average of 5 shifts),"
        f" for {signed(points['imagenet'])} points [−0.1, 0.9] on ImageNet, compared with the "
        "fine-tuned model."
    )
    page = build_page(paper_table.table(paper_table.sweep()), SETTINGS, Path("i"), (), (), rows)
    shown = re.search(r'<p class="answer" id="answer">(.*?)</p>', page)[1]
    assert shown == said[0]


@pytest.mark.parametrize(
    ("ends", "kind"),
    [((-1.0, 2.0), "no gain that these images can show, "), ((-3.0, -1.0), "a loss of accuracy, ")],
)
def test_nothing_gained_is_said(ends, kind):
    rows = [compared(("objectnet", "1.000", 0, 0.5, *ends))]
    assert found(pd.concat(rows), "objectnet")[0].startswith(f"α = 0.5: {kind}")
    assert " on objectnet, and " in found(pd.concat(rows), "objectnet")[0]


def test_an_end_that_is_chosen_and_several_runs_are_said():
    assert (
        found(None, alpha=1.0)[0] == "α = 1, the fine-tuned model itself, is what is chosen here."
    )
    assert found(None, alpha=0.0)[1] == "α = 0, the zero-shot model itself, is what is chosen here."
    several = compared(
        ("avg:shifts", "1.000", 0, 3.0, 2.0, 4.0), ("avg:shifts", "1.000", 1, 5.0, 4.0, 6.0)
    )
    assert "points (+3.0 to +5.0 in 2 runs) under shift" in found(several)[0]


def test_several_settings_that_are_admitted_lead_together(tmp_path):
    rows = read(PUBLISHED, TUNING, "tuning")
    datasets, titles = ("mnist", "avg:shifts"), {"avg:shifts": "8 shifts"}
    shown = rows[(rows["admissible"] == 1) & (rows["quantity"] == "over-fine-tuned")]
    gains = shown[shown["dataset"] == "avg:shifts"].sort_values("value")
    assert len(gains) > 1
    least, most = (
        f"{signed(100 * of.value)} [{signed(100 * of.ci_low)}, {signed(100 * of.ci_high)}]"
        for of in gains.iloc[[0, -1]].itertuples()
    )
    (said,) = over_settings(rows, "digits-rn", datasets, titles)
    assert said.startswith(f"α = 0.5: {least} to {most} points under shift (average of 8 shifts)")
    assert f"over the {len(gains)} settings" in said and " on mnist, " in said
    assert over_settings(rows, "another", datasets, titles) == []
    assert over_settings(rows[rows["variant"] == "digits"], "digits-rn", datasets, titles) == []

    of_page = {"dataset": rows["dataset"].replace("mnist", "imagenet"), "model": MODEL}
    html = build_page(both(), SETTINGS, tmp_path / "index.html", tuning=rows.assign(**of_page))
    first = html.index("settings that held-out images admit")
    assert first < html.index("compared with the zero-shot")


def test_a_doubt_leads_in_place_of_an_answer():
    unsure = SETTINGS.model_copy(update={"says": "No alpha is recommended. <Why>."})
    page = build_page(both(), unsure, Path("index.html"))
    assert '<p class="answer" id="answer">No alpha is recommended. &lt;Why&gt;.</p>' in page


def test_results_link_to_each_other():
    page = build_page(both(), SETTINGS, Path("index.html"), beside=["summary.md", "report.html"])
    assert '<a href="summary.md">summary</a> · <a href="report.html">report</a>' in page
    assert "<nav>" not in build_page(both(), SETTINGS, Path("index.html"))


def test_points_are_logits_with_texts_in_percent():
    lines = lines_of(paper_table.measured(), "imagenet", SHIFTS, "all")
    points = records(lines, "imagenet", ["objectnet"], {})
    (point,) = [p for p in points if p["alpha"] == 0.5 and "end-to-end" in p["line"]]
    row = lines[0].values["objectnet"].set_index("alpha").loc[0.5]
    assert point["y"] == pytest.approx(float(logit(row["value"])), abs=1e-5)
    low, high = 100 * row["ci_low"], 100 * row["ci_high"]
    assert point["accuracy"] == f"{100 * row['value']:.1f} % [{low:.1f}, {high:.1f}]"
    assert point["joined"]


def test_an_accuracy_of_one_is_in_the_table_and_not_in_the_chart():
    table = paper_table.measured()
    everywhere = (table["dataset"] == "objectnet") & (table["alpha"] == 0.5)
    table.loc[everywhere, ["value", "ci_high"]] = 1.0
    lines = lines_of(table, "imagenet", ["objectnet"], "all")
    assert 0.5 not in {p["alpha"] for p in records(lines, "imagenet", ["objectnet"], {})}
    numbers = table_data(lines, "imagenet", ["objectnet"], {})
    assert numbers["lines"][0]["values"]["objectnet"]["0.500"][0] == 100.0


@pytest.mark.parametrize("dataset", ["objectnet", "imagenet"])
def test_a_panel_without_a_point_is_empty(dataset: str):
    """A logit axis has no place for 0 or 1: the page must come out, whatever the accuracies are."""
    table = paper_table.measured()
    table.loc[table["dataset"] == dataset, ["value", "ci_low", "n_correct"]] = 0
    text = build_page(table, SETTINGS, Path("results/made-up/index.html"))
    assert "Infinity" not in json.dumps(embedded(text, "chart-specs"))


def test_three_points_are_joined_and_two_are_not():
    """Of the video sets the paper has three alphas."""
    names = ["imagenet-vid-robust", "objectnet"]
    lines = lines_of(paper_table.published(), "imagenet", names, "all")
    points = records(lines, "imagenet", names, {})
    assert {p["joined"] for p in points if p["dataset"] == "imagenet-vid-robust"} == {True}
    table = paper_table.published()
    ends = table[table["dataset"].ne("objectnet") | table["alpha"].isin([0.0, 1.0])]
    points = records(lines_of(ends, "imagenet", names, "all"), "imagenet", names, {})
    assert {p["joined"] for p in points if p["dataset"] == "objectnet"} == {False}


def test_the_table_has_the_published_numbers(page):
    data = embedded(page, "data")
    (line,) = [line for line in data["lines"] if line["key"].endswith("336/end-to-end//published")]
    assert line["values"]["imagenet"]["0.500"][0] == 86.8
    assert line["values"]["imagenet-a"]["1.000"][0] == 65.4
    assert [each["name"] for each in data["datasets"]] == ["imagenet", *SHIFTS]
    assert data["start"] == {"model": "clip-vit-l-14-336", "alpha": "0.500"}


def test_the_chart_has_a_panel_a_dataset_and_moves_by_signals(page):
    lead, spec = embedded(page, "chart-specs")
    titles = [mark["title"]["text"] for mark in spec["marks"] if "title" in mark]
    assert titles == paper_table.SHIFTS
    assert "Accuracy: Average of 5 shifts against ImageNet</h2>" in page
    for each in (lead, spec):
        signals = {signal["name"]: signal.get("value") for signal in each["signals"]}
        assert (signals["alpha"], signals["model"]) == (0.5, "clip-vit-l-14-336")
    assert spec["layout"]["columns"] == {"signal": "columns"}


def test_intervals_of_points_are_logits_and_end_outside_of_the_panel_at_0_and_100():
    table = paper_table.measured()
    one = (table["dataset"] == "objectnet") & (table["alpha"] == 0.5)
    table.loc[one, "ci_high"] = 1.0
    lines = lines_of(table, "imagenet", ["objectnet"], "all")
    points = [p for p in records(lines, "imagenet", ["objectnet"], {}) if p["alpha"] == 0.5]
    row = lines[0].values["objectnet"].set_index("alpha").loc[0.5]
    assert points[0]["y_low"] == pytest.approx(float(logit(row["ci_low"])), abs=1e-5)
    assert points[0]["y_high"] == FARTHEST
    assert [point["first"] for point in points] == [True, False], "only the first line's are drawn"


def test_published_numbers_are_dotted_only_beside_measured_ones():
    for table, dotted in ((both(), True), (paper_table.published(), False)):
        lines = lines_of(table, "imagenet", ["objectnet"], "all")
        points = records(lines, "imagenet", ["objectnet"], {})
        text = json.dumps(charts(points, lines, [("objectnet", "")], "", (lines[0].model, 0.5)))
        assert ('"strokeDash": {"field"' in text) is dotted


def test_the_page_asks_for_nothing(page):
    """Every source and every style is inside; links are relative."""
    markup = re.sub(r"<script[ >].*?</script>", "", page, flags=re.S)
    assert not re.findall(r"<(?:link|img|iframe)\b", markup)
    assert not re.findall(r"<script[^>]*src=", page)
    assert "url(" not in markup and "@import" not in markup
    links = re.findall(r'href="([^"]*)"', markup)
    assert "../../data/tables/made-up.csv" in links and "figures/figure-1.svg" in links
    assert not [link for link in links if link.startswith(("http", "/", "//"))]
    assert "default-src 'none'" in page


def test_texts_are_escaped(page):
    assert "<h1>Made up &lt;numbers&gt;</h1>" in page
    assert "A &amp; B" in page
    data = {"a": "</script><b>", "b": "<!--<script>"}
    assert "<" not in build._embedded(data) and json.loads(build._embedded(data)) == data


def test_the_policy_names_every_script_and_style_by_its_sum(page):
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page, re.S)[1]
    assert "unsafe" not in policy and "default-src 'none'" in policy
    for kind, texts in (
        ("script-src", re.findall(r"<script>(.*?)</script>", page, re.S)),
        ("style-src", re.findall(r"<style>(.*?)</style>", page, re.S)),
    ):
        allowed = re.search(f"{kind} ([^;]*)", policy)[1].split()
        sums = [base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in texts]
        assert allowed == [f"'sha256-{each.decode()}'" for each in sums], kind
    assert not re.search(
        r"<[^>]* (?:style|on\w+)=", re.sub(r"<script.*?</script>", "", page, flags=re.S)
    )


def test_what_the_page_is_about_comes_from_the_experiment():
    catalogue = Catalogue(paper_table.ROOT)
    entry = catalogue.experiment("paper")
    settings = PageSettings.model_validate(page_context(entry, catalogue))
    assert settings.title == entry.title and settings.titles["imagenet"] == "ImageNet"
    assert settings.captions["figure-1"] == entry.figures["figure-1"].caption


def test_without_the_middle_the_page_opens_at_the_first_alpha():
    table = paper_table.table(paper_table.sweep(alphas=[0.2, 0.4, 0.6, 1.0]))
    data = embedded(build_page(table, SETTINGS, Path("index.html")), "data")
    assert data["start"]["alpha"] == "0.200"


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.iloc[:0],
        lambda table: table[table["alpha"].isin([0.0, 1.0])],
        lambda table: table[table["dataset"] == "imagenet"],
    ],
)
def test_nothing_to_slide_along_is_said(change):
    with pytest.raises(WiseftError, match="the page needs a run with several alphas on imagenet"):
        build_page(change(paper_table.measured()), SETTINGS, Path("index.html"))


def test_a_wrong_chart_is_an_error_here_and_not_in_a_browser():
    with pytest.raises(WiseftError, match="the page's chart is not valid"):
        build.compiled({"mark": "no such mark", "data": {"values": []}})


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "vl_convert", None)
    build.library.cache_clear()
    with pytest.raises(WiseftError, match="pip install vl-convert-python"):
        build.library()


def test_the_command_writes_the_same_page_twice(tmp_path):
    table = tmp_path / "table.parquet"
    write_parquet(table, both(), TABLE)
    settings = SETTINGS.model_dump_json()
    texts = []
    for name in ("a", "b"):
        output = tmp_path / name / "index.html"
        command = ["page", "--table", table, "--settings", settings, "--output", output]
        done = CliRunner().invoke(app, [*map(str, command), "--link", str(tmp_path / "table.csv")])
        assert done.exit_code == 0, done.output
        texts.append(output.read_text())
    assert texts[0] == texts[1]
    assert 'href="../table.csv"' in texts[0]


def test_a_recommended_alpha_is_what_the_page_opens_with():
    output = Path("results/made-up/index.html")
    settings = SETTINGS.model_copy(update={"recommended": 0.3})
    page = build_page(both(), settings, output)
    data = embedded(page, "data")
    assert data["start"]["alpha"] == "0.300"
    assert {line["recommended"] for line in data["lines"]} == {0.3}
