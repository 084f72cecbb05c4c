"""The paper's numbers: complete, consistent with each other, and in the catalogue's words."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pandas as pd
import pytest

from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue
from wiseft.study.published import numbers as published
from wiseft.study.published.numbers import COLUMNS, ROW_COLUMNS, contradictions
from wiseft.tabulate.schema import TABLE, conform

REPOSITORY = Path(__file__).parents[2]
SHIFTS = ["imagenet-v2", "imagenet-r", "imagenet-sketch", "objectnet", "imagenet-a"]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue(REPOSITORY)


def wide(found: pd.DataFrame) -> pd.DataFrame:
    return found.pivot_table(
        index=["table", "row"], columns="dataset", values="percent", sort=False
    )


def test_every_table_has_all_its_numbers() -> None:
    found = published.numbers().groupby("table").size().to_dict()
    sweep = 21 * 8
    assert found == {
        1: 9 * 8,
        2: 3 * 7,
        3: 4 * 8,
        6: 8 * 4,
        7: 3 * 5,
        8: 6 * 4 * 8,
        13: 15 * 8,
        **dict.fromkeys((4, 5, 9, 10), 2 * sweep),
        **dict.fromkeys((11, 12), sweep),
    }


def test_the_per_alpha_tables_have_the_papers_grid() -> None:
    found = published.numbers()
    sweeps = found[found["table"].isin([4, 5, 9, 10, 11, 12])]
    grid = [round(0.05 * step, 3) for step in range(21)]
    for _, part in sweeps.groupby(["table", "method", "dataset"]):
        assert part["alpha"].tolist() == grid


def test_averages_are_those_of_the_datasets_wherever_a_row_has_one_alpha() -> None:
    found = published.numbers()
    one_alpha = found["alpha"].notna() | (found["table"] == 13)
    rows = wide(found[one_alpha]).dropna(subset="avg:shifts")
    assert len(rows) == 7 + 210 + 3 * 6 + 15
    shifts = rows[SHIFTS].mean(axis=1)
    # Every number is rounded to 0.1, so their mean may be off by 0.05, and the average by as much.
    assert (shifts - rows["avg:shifts"]).abs().max() < 0.1001
    both = (rows["imagenet"] + shifts) / 2
    assert (both - rows["avg:reference-and-shifts"]).abs().max() < 0.1001


def test_optimal_rows_are_the_best_of_their_own_column() -> None:
    found = published.numbers()
    sweeps = found[found["table"].isin([4, 5, 9, 10, 11, 12])]
    best = sweeps.groupby(["model", "method", "dataset"])["percent"].max()
    optimal = found[found["table"].isin([1, 8]) & (found["selection"] == "oracle-column")]
    assert len(optimal) == (2 + 6) * 8
    for line in optimal.to_dict("records"):
        key = (line["model"], line["method"], line["dataset"])
        assert line["percent"] == best[key], key


def test_table_3_follows_from_the_per_alpha_tables() -> None:
    found = published.numbers()
    sweeps = found[found["table"].isin([4, 5])]
    curves = sweeps.pivot_table(
        index=["model", "method", "dataset"], columns="alpha", values="percent"
    )
    gains = (curves.max(axis=1) - curves[0.5]).round(1)
    third = found[found["table"] == 3].set_index(["model", "method", "dataset"])["percent"]
    difference = (gains[third.index] - third).abs()
    assert difference.max() < 0.1001  # the paper rounds after subtracting
    assert (difference > 0.01).sum() <= 3


def test_tables_agree_where_they_show_the_same_number() -> None:
    """Two tables contradict each other nowhere but in table 13's averages, which are defined
    otherwise and stand under another selection."""
    found = published.numbers()
    found = found[found["metric"] != "difference"]
    key = ["model", "reference", "method", "variant", "combination", "dataset", "split", "view"]
    spread = found.groupby([*key, "metric", "selection", "alpha"], dropna=False)[
        "percent"
    ].nunique()
    assert spread.max() == 1
    averages = found[(found["model"] == "clip-vit-l-14-336") & (found["method"] == "end-to-end")]
    averages = averages[averages["selection"].str.startswith("oracle")]
    averages = averages.drop_duplicates(["selection", "dataset"])
    values = averages.set_index(["selection", "dataset"])["percent"]
    assert values["oracle-column", "avg:shifts"] == 77.4
    assert values["oracle-table13", "avg:shifts"] == 77.6
    assert values["oracle-column", "avg:reference-and-shifts"] == 81.9
    assert values["oracle-table13", "avg:reference-and-shifts"] == 82.3


def test_the_papers_own_zero_shot_numbers_contradict_each_other_by_up_to_0_8() -> None:
    found = contradictions().set_index(["model", "dataset"])
    assert tuple(found.loc[("clip-vit-l-14-336", "objectnet")]) == (68.5, 69.1)
    assert tuple(found.loc[("clip-vit-l-14-336", "imagenet-a")]) == (77.6, 77.7)
    assert tuple(found.loc[("clip-vit-b-16", "imagenet-v2")]) == (61.9, 62.6)
    assert tuple(found.loc[("clip-vit-b-16", "objectnet")]) == (53.0, 53.8)
    assert (found["high"] - found["low"]).max() == pytest.approx(0.8)


def test_zero_shot_rows_are_those_of_the_right_table() -> None:
    found = published.numbers()
    objectnet = found[(found["dataset"] == "objectnet") & (found["alpha"] == 0)]
    mine = objectnet[objectnet["model"] == "clip-vit-l-14-336"].set_index("table")
    ours = mine[mine["variant"] == ""]
    assert ours.loc[1, "percent"] == 69.1 and ours.loc[1, "method"] == "linear-classifier"
    assert ours.loc[8, "percent"] == 68.5 and ours.loc[8, "method"] == "end-to-end"


def test_names_are_those_of_the_catalogue(catalogue: Catalogue) -> None:
    found = published.numbers()
    places = found[~found["dataset"].str.startswith("avg:")]
    for name, split, view, metric in set(
        places[["dataset", "split", "view", "metric"]].itertuples(index=False, name=None)
    ):
        entry = catalogue.dataset(name)
        assert split in entry.evaluate
        views = {each.name: each.metric for each in entry.views}
        assert view in views
        assert metric in (views[view], "difference")
    methods = found[["method", "variant"]].drop_duplicates().itertuples(index=False, name=None)
    ours = {"end-to-end", "linear-classifier"}
    for method, variant in methods:
        if method in ours and variant not in ("basic", "radford"):
            catalogue.method_settings("__".join(filter(None, (method, variant))))


def test_rows_have_the_columns_and_types_of_the_tidy_table(catalogue: Catalogue) -> None:
    found = published.rows(catalogue=catalogue)
    assert tuple(TABLE) == ROW_COLUMNS
    pd.testing.assert_frame_equal(conform(found, TABLE), found)
    assert found["value"].between(0, 1).all()
    assert set(found["source"]) == {"published"}


def test_rows_know_the_test_samples_but_not_those_of_averages(catalogue: Catalogue) -> None:
    found = published.rows(catalogue=catalogue)
    n = found.drop_duplicates(["dataset", "split", "view"]).set_index(["dataset", "split", "view"])[
        "n"
    ]
    assert n["imagenet", "test", "all"] == 50_000
    assert n["imagenet-vid-robust", "test", "all"] == 1_109
    assert n["ytbb-robust", "test", "all"] == 2_030
    assert n["fmow", "id-test", "all"] == 11_327
    assert pd.isna(n["fmow", "test", "worst-region"])
    assert pd.isna(n["avg:shifts", "test", "all"])
    assert published.rows([4])["n"].isna().all()


def test_alpha_one_half_stands_under_both_its_selections() -> None:
    found = published.rows([4])
    half = found[found["alpha"] == 0.5]
    assert half.groupby("selection").size().to_dict() == {"fixed": 16, "grid": 16}
    assert (found["selection"] == "grid").sum() == 2 * 21 * 8


def test_a_number_of_several_tables_stands_under_the_first_of_them() -> None:
    key = ["run", "combination", "alpha", "dataset", "split", "view", "metric", "selection"]
    for order in ([4, 1], [1, 4]):
        found = published.rows(order)
        assert not found.duplicated(key).any()
        here = found[(found["dataset"] == "imagenet") & (found["alpha"] == 1.0)]
        here = here[(here["variant"] == "") & (here["selection"] == "grid")]
        assert set(here["experiment"]) == {f"table-{order[0]}"}


def test_models_can_be_selected() -> None:
    found = published.rows([8], models=["align"])
    assert set(found["model"]) == {"align"}
    assert set(found["run"]) == {"align__imagenet__end-to-end__align"}


@pytest.mark.parametrize(
    ("tables", "models", "expected"),
    [
        ([14], [], "table 14 of the paper has no row of the model that was asked for"),
        ([3], [], "table 3 of the paper has no row"),
        ([4], ["align"], "table 4 of the paper has no row of the model align"),
    ],
)
def test_what_the_paper_has_not_is_a_sentence(
    tables: list[int], models: list[str], expected: str
) -> None:
    with pytest.raises(WiseftError, match=re.escape(expected)):
        published.rows(tables, models)


def test_numbers_agree_with_the_typed_tables(reference_data: Path) -> None:
    """Against a second copy of the tables, where there is one, in its own words."""
    short = {
        "IN": "imagenet",
        "IN-V2": "imagenet-v2",
        "IN-R": "imagenet-r",
        "ObjectNet": "objectnet",
    }
    short |= {"IN-Sketch": "imagenet-sketch", "IN-A": "imagenet-a", "avg_shifts": "avg:shifts"}
    short |= {"avg_ref_shifts": "avg:reference-and-shifts"}
    compared = 0
    for path in sorted((reference_data / "paper_tables").glob("*.csv")):
        with path.open() as file:
            theirs = list(csv.DictReader(file))
        numbers = [int(n) for n in re.findall(r"\d+", path.stem)]
        for table in numbers if "per_alpha" in path.stem else numbers[:1]:
            lines = [one for one in theirs if one.get("table", f"table{table}") == f"table{table}"]
            ours = published.numbers()
            ours = ours[ours["table"] == table]
            compared += _compare(lines, ours, short)
    assert compared == len(published.numbers())


def _compare(theirs: list[dict[str, str]], ours: pd.DataFrame, short: dict[str, str]) -> int:
    """Compare row by row, in order, and return how many numbers were compared."""
    count = 0
    for line, (_, mine) in zip(theirs, ours.groupby("row", sort=False), strict=True):
        values = [float(v) for v in line.values() if re.fullmatch(r"\d+\.\d+", v or "")]
        values = values[1:] if "alpha" in line else values
        if "ObjectNet" in line or "IN" in line:
            there = {short[key]: float(line[key]) for key in short if key in line}
            assert mine.set_index("dataset")["percent"].to_dict() == there
        else:
            assert mine["percent"].tolist() == values
        count += len(mine)
    return count


def test_headings_are_distinct() -> None:
    found = published.numbers()
    assert not found.duplicated(["table", "row", "column"]).any()
    assert set(found["table"]) == set(published.TABLES)
    assert set(COLUMNS) >= set(SHIFTS)
