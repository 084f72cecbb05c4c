"""The tables of results in docs/icons.md are those of the published tables."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from wiseft.tabulate.schema import read_table

REPOSITORY = Path(__file__).parents[2]
FINE_TUNED, ZERO_SHOT = "0.500-vs-1.000", "0.500-vs-0.000"
RATES = ("3e-4", "6e-4", "1e-3", "3e-3", "6e-3")
OTHERS = {
    "linear classifier": ("linear-classifier", ""),
    "LoRA": ("lora", ""),
    "one image per class": ("end-to-end", "-shots-1"),
}
DIRECTIONS = {
    "A": ("icons-seeds", "icons", "6e-3", ("avg:designers", "avg:styles")),
    "B": ("icons-vendors-seeds", "icons-vendors", "3e-3", ("avg:one-colour", "avg:styles")),
}
"""Experiment, reference (which names the variants), the chosen rate, and the averages shown."""


def rows(direction: str) -> dict[str, list[list[float]]]:
    """Return the numbers of a direction's table, cell by cell, by the first cell."""
    page = (REPOSITORY / "docs/icons.md").read_text().split("## What came out")[1]
    lines = page.split(f"**{direction}, fine-tuned on")[1].split("\n\n")[1].splitlines()[2:]
    cells = [line.strip("| ").split(" | ") for line in lines]
    return {
        name: [[float(each) for each in re.findall(r"[-+]?\d+\.\d", cell)] for cell in numbers]
        for name, *numbers in cells
    }


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_numbers_by_method(direction: str) -> None:
    experiment, reference, chosen, averages = DIRECTIONS[direction]
    folder = REPOSITORY / "published/tables" / experiment
    table = read_table(folder / f"{experiment}.parquet")
    same = {"selection": "grid", "split": "test", "view": "all", "combination": "weight"}
    for column, value in same.items():
        table = table[table[column] == value]
    table = table[(table["run"] != "all") & table["alpha"].isin([0.0, 0.5, 1.0])]
    compared = pd.read_csv(folder / f"{experiment}.comparisons.csv.gz", keep_default_na=False)
    compared = compared[(compared["run"] == "all") & (compared["combination"] == "weight")]
    compared = compared.set_index(["method", "variant", "contrast", "dataset"])
    printed = rows(direction)
    assert set(RATES) | {"linear classifier"} <= set(printed)
    for name, (of_reference, *cells) in printed.items():
        method, suffix = OTHERS.get(name) or (
            "end-to-end",
            "" if name == chosen else f"-lr-{name}",
        )
        variant = reference + suffix
        mine = table[(table["method"] == method) & (table["variant"] == variant)]
        each = 100 * mine.groupby(["dataset", "model", "alpha"])["value"].mean().unstack()
        assert of_reference == pytest.approx(_ends(each.loc[reference]), abs=0.051), name
        for number, dataset in enumerate(averages):
            ends, over_zero_shot, over_fine_tuned, new = cells[4 * number : 4 * number + 4]
            assert ends == pytest.approx(_ends(each.loc[dataset]), abs=0.051), name
            for cell, contrast in ((over_zero_shot, ZERO_SHOT), (over_fine_tuned, FINE_TUNED)):
                row = compared.loc[(method, variant, contrast, dataset)]
                found = [100 * float(row[key]) for key in ("difference", "ci_low", "ci_high")]
                assert cell == pytest.approx(found, abs=0.051), name
            gains = each.loc[dataset][0.5] - each.loc[dataset][1.0]
            scale = gains.std() * np.sqrt(1 + 1 / len(gains))
            expected = t.interval(0.95, len(gains) - 1, gains.mean(), scale)
            assert new == pytest.approx(list(expected), abs=0.051), name


def _ends(of: pd.DataFrame) -> list[float]:
    return [of[1.0].mean(), of[0.5].mean()]


def grid(experiment: str = "icons-seeds") -> pd.DataFrame:
    """Return an experiment's accuracies in weight space on test images, of single runs."""
    table = read_table(REPOSITORY / f"published/tables/{experiment}/{experiment}.parquet")
    same = {"combination": "weight", "selection": "grid", "split": "test"}
    for column, value in same.items():
        table = table[table[column] == value]
    return table[table["run"] != "all"]


def of_models(variant: str, dataset: str, method: str = "end-to-end") -> pd.DataFrame:
    """Return accuracies in %, models by alphas; of a kept dataset too."""
    rows = grid()
    rows = rows[rows["view"].isin(["all", "kept"]) & (rows["dataset"] == dataset)]
    rows = rows[(rows["variant"] == variant) & (rows["method"] == method)]
    return 100 * rows.groupby(["model", "alpha"])["value"].mean().unstack()


def found(pattern: str) -> list[float]:
    """Return the numbers of the first place on the page that a pattern finds."""
    page = " ".join((REPOSITORY / "docs/icons.md").read_text().split())
    match = re.search(pattern, page)
    assert match, pattern
    return [float(each) for each in re.findall(r"(?<![\w.])-?\d+\.\d", match[0])]


def interval(each: pd.Series) -> list[float]:
    scale = each.std() / np.sqrt(len(each))
    return [each.mean(), *t.interval(0.95, len(each) - 1, each.mean(), scale)]


def test_a_steep_rate_at_one_half_against_a_gentle_end() -> None:
    expected = []
    for dataset in ("icons", "avg:designers", "avg:styles"):
        steep, gentle = (of_models(f"icons-lr-{rate}", dataset) for rate in ("3e-3", "1e-3"))
        expected += interval(steep[0.5] - gentle[1.0])
    numbers = found(r"Alpha 0.5 at 3e-3 equals .*? of styles \[[^]]*\]")[1:]
    assert numbers == pytest.approx(expected, abs=0.051)


def test_sentences_about_lora_one_prompt_one_image_and_other_things() -> None:
    lora, linear = (of_models("icons", "icons", each) for each in ("lora", "linear-classifier"))
    ends = [each[1.0].mean() for each in (lora, linear, of_models("icons", "icons"))]
    assert found(r"it reads [\d.]+ % of the reference, and they [\d.]+ and [\d.]+") == (
        pytest.approx(ends, abs=0.051)
    )
    halves = [
        of_models("icons", "avg:designers", each)[0.5].mean() for each in ("lora", "end-to-end")
    ]
    assert found(r"reads [\d.]+ % of unseen designers, and they [\d.]+") == (
        pytest.approx(halves, abs=0.051)
    )
    one = of_models("icons", "icons-one-prompt")
    less = (of_models("icons", "icons") - one).mean()
    numbers = found(r"\*\*One prompt\*\* reads .*? fine-tuned end")
    expected = [one[0.0].mean(), less[0.5], 0.5, less[1.0]]
    assert numbers == pytest.approx(expected, abs=0.051)
    few = of_models("icons-shots-1", "icons").mean()
    assert found(r"Alpha 0.1 is best on the reference, [\d.]+ points") == (
        pytest.approx([few.idxmax(), few.max() - few[0.0]], abs=0.051)
    )
    gentle, steep = (of_models(each, "icons-other") for each in ("icons-lr-3e-3", "icons"))
    others = [steep[0.0], gentle[0.5], steep[0.5], gentle[1.0], steep[1.0]]
    numbers = found(r"Zero-shot reads [\d.]+ % of them.*?48\.5 %")
    assert [n for n in numbers if n != 0.5] == pytest.approx(
        [each.mean() for each in others], abs=0.051
    )


def test_choices_of_alpha() -> None:
    file = REPOSITORY / "published/tables/icons-seeds/icons-seeds.selection.csv.gz"
    rows = pd.read_csv(file, keep_default_na=False)
    same = {"run": "all", "method": "end-to-end", "variant": "icons", "combination": "weight"}
    for column, value in {**same, "dataset": "avg:shifts"}.items():
        rows = rows[rows[column] == value]
    rows, expected = rows.set_index("selection"), []
    for name in ("fixed", "held-out", "held-out-1se", "dawin"):
        keys = ["regret", "regret_ci_low", "regret_ci_high"]
        numbers = [100 * float(rows.loc[name, key]) for key in keys]
        expected += [-numbers[0], -numbers[2], -numbers[1]] if name == "dawin" else numbers
    numbers = found(r"\*\*Choosing alpha\*\* .*? gains [\d.]+ \[[^]]*\]")
    assert numbers[1:] == pytest.approx(expected, abs=0.051)


def test_lengths_of_pre_training() -> None:
    page = (REPOSITORY / "docs/icons.md").read_text()
    lines = page.split("**Three lengths")[1].split("\n\n")[1].splitlines()[2:]
    printed = [[float(n) for n in re.findall(r"[-+]?\d+\.\d", line)] for line in lines]
    rows = grid("icons-lengths").query("view == 'all' and variant == 'icons'")
    at = 100 * rows.set_index(["model", "dataset", "alpha"])["value"]
    for model, numbers in zip(("-brief", "-short", ""), printed, strict=True):
        own = at[f"icons-rn{model}-s40"].unstack()
        own = own.loc[["avg:designers", "avg:styles", "icons"]]
        expected = [*own[0.0][:2], *(own[0.5] - own[1.0])]
        assert numbers == pytest.approx(expected, abs=0.051)


def test_the_file_of_sets() -> None:
    """Its accuracies, and the numbers of sets that the page gives."""
    sets = pd.read_csv(REPOSITORY / "docs/icons-by-set.csv", dtype={"rate": str})
    rows = grid().query("method == 'end-to-end'")
    rows = rows[rows["view"].str.contains("/") & rows["dataset"].str.startswith("icons-")]
    views = 100 * rows.groupby(["variant", "dataset", "view", "alpha"])["value"].mean().unstack()
    for rate, variant in (("3e-3", "icons-lr-3e-3"), ("6e-3", "icons")):
        mine = sets[sets["rate"] == rate]
        parts = mine["dataset"].isin(["icons-emoji", "icons-colour"])
        assert (parts.sum(), (~parts).sum()) == (15, 14)
        for row in mine.to_dict("records"):
            at = views.loc[variant, row["dataset"], f"all/{row['set']}"]
            numbers = [row["zero-shot"], row["alpha 0.5"], row["fine-tuned"]]
            assert numbers == pytest.approx([at[0.0], at[0.5], at[1.0]], abs=0.051), row["set"]


def test_numbers_by_style() -> None:
    page = (REPOSITORY / "docs/icons.md").read_text()
    lines = page.split("style by style")[1].split("\n\n")[1].splitlines()[2:]
    printed = [[float(n) for n in re.findall(r"\| (\d+\.\d)(?= \|)", line)] for line in lines]
    folder = REPOSITORY / "published/tables/icons-seeds"
    table = read_table(folder / "icons-seeds.parquet")
    named = {"method": "end-to-end", "variant": "icons", "combination": "weight", "view": "all"}
    for column, value in {**named, "selection": "grid", "split": "test"}.items():
        table = table[table[column] == value]
    table = table[(table["run"] != "all") & table["alpha"].isin([0.0, 0.5, 1.0])]
    means = 100 * table.groupby(["dataset", "alpha"])["value"].mean().unstack()
    styles = ("emoji", "colour", "pixel", "hand-drawn", "wireframe", "sticker")
    styles += ("three-dimensional", "offset-print", "silhouette")
    expected = means.loc[[f"icons-{style}" for style in styles]].to_numpy()
    assert np.array(printed) == pytest.approx(expected, abs=0.051)
    compared = pd.read_csv(folder / "icons-seeds.comparisons.csv.gz", keep_default_na=False)
    for column, value in {**named, "run": "all"}.items():
        compared = compared[compared[column] == value] if column != "view" else compared
    compared = compared.set_index(["contrast", "dataset"])
    for style, line in zip(styles, lines, strict=True):
        numbers = [float(n) for n in re.findall(r"[-+]?\d+\.\d", line)][3:]
        both = [compared.loc[each, f"icons-{style}"] for each in (ZERO_SHOT, FINE_TUNED)]
        keys = ("difference", "ci_low", "ci_high")
        expected = [100 * float(row[key]) for row in both for key in keys]
        assert numbers == pytest.approx(expected, abs=0.051), style
        assert {row["ci_method"] for row in both} == {"t-over-models"}, "as the page says"
