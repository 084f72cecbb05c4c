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
