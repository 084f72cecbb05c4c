"""The numbers by learning rate in README and docs/digits.md are those of the published tables."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import t

from wiseft.tabulate.schema import read_table

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "published/tables/digits-seeds"
RATES = {f"{n}e-{e}": f"digits-lr-{n}e-{e}" for n, e in ((3, 4), (6, 4), (1, 3), (2, 3), (6, 3))}
RATES["3e-3"] = "digits"
FINE_TUNED, ZERO_SHOT = "0.500-vs-1.000", "0.500-vs-0.000"
SHIFTS = "avg:shifts"


@pytest.fixture(scope="module")
def grid() -> pd.DataFrame:
    table = read_table(FOLDER / "digits-seeds.parquet")
    same = {"selection": "grid", "split": "test", "view": "all", "combination": "weight"}
    for column, value in {**same, "method": "end-to-end"}.items():
        table = table[table[column] == value]
    return table[table["run"] != "all"]


@pytest.fixture(scope="module")
def compared() -> pd.DataFrame:
    table = pd.read_csv(FOLDER / "digits-seeds.comparisons.csv.gz", keep_default_na=False)
    same = {"run": "all", "method": "end-to-end", "combination": "weight"}
    for column, value in same.items():
        table = table[table[column] == value]
    return table.set_index(["variant", "contrast", "dataset"])


def printed(page: str, rate: str) -> list[list[float]]:
    """Return the numbers of a rate's row, cell by cell."""
    lines = (REPOSITORY / page).read_text().splitlines()
    (line,) = (each for each in lines if re.match(rf"\| \(?{rate}\)? \| \d.*\[", each))
    cells = line.split("|")[2:-1]
    return [[float(each) for each in re.findall(r"[-+]?\d+\.\d+", cell)] for cell in cells]


def accuracies(grid: pd.DataFrame, variant: str, alpha: float) -> list[float]:
    """Return the means over models on MNIST and on the shifts."""
    here = grid[(grid["variant"] == variant) & (grid["alpha"] == alpha)]
    each = here.groupby(["dataset", "model"])["value"].mean().groupby("dataset").mean()
    return [100 * each["mnist"], 100 * each[SHIFTS]]


def gain(compared: pd.DataFrame, *of: str) -> list[float]:
    row = compared.loc[of]
    return [100 * float(row[name]) for name in ("difference", "ci_low", "ci_high")]


def new_gain(grid: pd.DataFrame, variant: str) -> list[float]:
    """Return where the gain over the fine-tuned end of one new pre-training is expected."""
    here = grid[(grid["variant"] == variant) & (grid["dataset"] == SHIFTS)]
    each = here.groupby(["model", "alpha"])["value"].mean().unstack()
    gains = 100 * (each[0.5] - each[1.0])
    scale = gains.std() * (1 + 1 / len(gains)) ** 0.5
    return list(t.interval(0.95, len(gains) - 1, gains.mean(), scale))


@pytest.mark.parametrize("rate", ["1e-3", "2e-3", "3e-3", "6e-3"])
def test_readme(rate: str, grid: pd.DataFrame, compared: pd.DataFrame) -> None:
    variant = RATES[rate]
    expected = [accuracies(grid, variant, 1.0), accuracies(grid, variant, 0.5)]
    expected += [gain(compared, variant, FINE_TUNED, SHIFTS), new_gain(grid, variant)]
    for cell, numbers in zip(printed("README.md", rate), expected, strict=True):
        assert cell == pytest.approx(numbers, abs=0.051)


def test_readme_says_where_one_half_stays(grid: pd.DataFrame) -> None:
    halves = [accuracies(grid, RATES[r], 0.5)[1] for r in ("1e-3", "2e-3", "3e-3", "6e-3")]
    said = re.search(r"stays at\s+(\d+) to (\d+) %", (REPOSITORY / "README.md").read_text())
    assert said and [int(n) for n in said.groups()] == [round(min(halves)), round(max(halves))]


@pytest.mark.parametrize(
    ("name", "method", "variant"),
    [
        ("digits, rate 1e-3", "end-to-end", "digits-lr-1e-3"),
        ("icons, rate 3e-4", "end-to-end", "icons-lr-3e-4"),
        ("icons, linear classifier", "linear-classifier", "icons"),
    ],
)
def test_exceptions_of_the_rule_are_not_established(name: str, method: str, variant: str) -> None:
    """Ends that differ by less than 5 points, and a gain whose interval holds zero."""
    page = (REPOSITORY / "docs/when-it-pays.md").read_text()
    assert "digits at 1e-3, icons at 3e-4, and the linear classifier of icons" in page
    (line,) = (each for each in page.splitlines() if each.startswith(f"| {name}"))
    experiment = f"{name.split(',')[0]}-seeds"
    file = REPOSITORY / "published/tables" / experiment / f"{experiment}.comparisons.csv.gz"
    rows = pd.read_csv(file, keep_default_na=False)
    rows = rows[(rows["run"] == "all") & (rows["combination"] == "weight")]
    rows = rows[(rows["method"] == method) & (rows["variant"] == variant)]
    rows = rows.set_index(["contrast", "dataset"])
    row = rows.loc[FINE_TUNED, SHIFTS]
    expected = [100 * float(row[key]) for key in ("difference", "ci_low", "ci_high")]
    assert expected[1] < 0 < expected[2]
    zero_shot, fine_tuned, _, *gain_printed = map(float, re.findall(r"[-+]?\d+\.\d", line))
    assert abs(zero_shot - fine_tuned) < 5
    assert gain_printed[:3] == pytest.approx(expected, abs=0.051)


@pytest.mark.parametrize("rate", RATES)
def test_page(rate: str, grid: pd.DataFrame, compared: pd.DataFrame) -> None:
    variant = RATES[rate]
    tuning = pd.read_csv(FOLDER / "digits-seeds.tuning.csv.gz", keep_default_na=False)
    tuning = tuning[tuning["variant"] == variant].set_index(["quantity", "dataset"])
    held_out, *cells, curve = printed("docs/digits.md", rate)
    assert held_out == pytest.approx(
        [100 * float(tuning.loc["held-out", "mnist"]["value"])], abs=0.0051
    )
    expected = [accuracies(grid, variant, 1.0), accuracies(grid, variant, 0.5)]
    expected += [gain(compared, variant, each, SHIFTS) for each in (ZERO_SHOT, FINE_TUNED)]
    expected += [new_gain(grid, variant), gain(compared, variant, FINE_TUNED, "mnist")]
    for cell, numbers in zip(cells, expected, strict=True):
        assert cell == pytest.approx(numbers, abs=0.051)
    if ("equal-reference", SHIFTS) in tuning.index:
        row = tuning.loc["equal-reference", SHIFTS]
        numbers = [100 * float(row[name]) for name in ("value", "ci_low", "ci_high")]
        assert curve == pytest.approx(numbers, abs=0.051)
    else:
        assert rate == "1e-3" and curve == []
