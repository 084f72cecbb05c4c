"""Means over pre-training seeds, against scipy and against a second way to compute them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from tests.tabulate.conftest import Bench

from wiseft.study.paper.effective import effective_rows
from wiseft.tabulate.models import over_models, prediction_interval
from wiseft.tabulate.schema import TABLE, read_table, write_parquet
from wiseft.tabulate.settings import TabulateSettings
from wiseft.tabulate.stage import Tables, tabulate

QUANTILE = 3.182446305284263  # Student's t, 0.975, three degrees of freedom
MODELS = [f"tiny-s{seed}" for seed in range(4)]
SEEDS = {"": (0, 1, 2), "hot": (1,)}  # a method with fewer seeds than the others


def by_hand(runs: Iterable[tuple[str, float]]) -> tuple[float, float, float]:
    """Return mean and interval of (model, number), without pandas or scipy."""
    each: dict[str, list[float]] = {}
    for model, number in runs:
        each.setdefault(model, []).append(number)
    means = [statistics.fmean(numbers) for numbers in each.values()]
    assert len(means) == 4
    half = QUANTILE * statistics.stdev(means) / math.sqrt(4)
    return statistics.fmean(means), statistics.fmean(means) - half, statistics.fmean(means) + half


def runs_of(frame: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    for name, value in {**wanted, "combination": "weight"}.items():
        frame = frame[frame[name] == value]
    return frame[(frame["run"] != "all") & (frame["seed"].astype(str) != "all")]


SETTINGS = TabulateSettings.model_validate(
    {
        "averages": {"shifts": ["one", "two"]},
        "held_out": {"dataset": "ref", "split": "held-out"},
        "test_split": "test",
        "reference": "ref",
        "bootstrap": {"resamples": 200, "seed": 0},
    }
)
SIZES = {"held-out": 80, "ref": 50, "one": 40, "two": 20}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Four models of one entry; the second variant has one seed a model."""
    bench, random = Bench(tmp_path_factory.mktemp("models")), np.random.default_rng(5)
    for model in MODELS:
        for variant, seed in [(name, seed) for name, seeds in SEEDS.items() for seed in seeds]:
            about = {"model": model, "variant": variant, "seed": seed}
            curves = {
                name: bench.curve(n, (n * random.uniform(0.4, 0.95, 5)).astype(int))
                for name, n in SIZES.items()
            }
            bench.add("ref", {"held-out": curves["held-out"], "test": curves["ref"]}, **about)
            for name in ("one", "two"):
                bench.add(name, {"test": curves[name]}, **about)
    for size, counts in enumerate(((20, 8, 5), (30, 12, 6), (40, 16, 8), (45, 20, 9))):
        bench.add_baseline(f"n{size}", *counts)
    return tabulate("demo", SETTINGS, bench.metrics, bench.predictions)


def test_interval_is_scipys():
    random = np.random.default_rng(0)
    rows = [
        {"model": f"m-s{seed}", "seed": run, "method": "a", "value": random.normal()}
        for seed, runs in enumerate((3, 1, 2, 3, 3))
        for run in range(runs)
    ]
    frame = pd.DataFrame(rows)
    (found,) = over_models(frame, ["method"], ["value"]).to_dict("records")
    means = [part["value"].mean() for _, part in frame.groupby("model")]
    assert abs(found["value"] - frame["value"].mean()) > 1e-3  # a model counts once, not a run
    low, high = t.interval(0.95, 4, loc=np.mean(means), scale=np.std(means, ddof=1) / np.sqrt(5))
    assert found["value"] == pytest.approx(np.mean(means))
    assert (found["value_ci_low"], found["value_ci_high"]) == pytest.approx((low, high))
    assert (found["value_low"], found["value_high"]) == (min(means), max(means))
    assert (found["model"], found["run"], found["n"]) == ("m", "all", 5)
    assert found["ci_method"] == "t-over-models"


def test_models_that_agree_have_an_interval_of_no_width():
    rows = [{"model": f"m-s{seed}", "method": "a", "value": 0.5} for seed in range(3)]
    (found,) = over_models(pd.DataFrame(rows), ["method"], ["value"]).to_dict("records")
    assert (found["value_ci_low"], found["value_ci_high"]) == (0.5, 0.5)


def test_two_models_have_no_interval_and_one_or_other_entries_no_mean():
    rows = [
        {"model": model, "method": method, "value": value}
        for method, models in (("two", ["m-s0", "m-s1"]), ("one", ["m-s0"]), ("b", ["p", "q", "r"]))
        for value, model in enumerate(models)
    ]
    (found,) = over_models(pd.DataFrame(rows), ["method"], ["value"]).to_dict("records")
    assert (found["method"], found["value"], found["n"]) == ("two", 0.5, 2)
    assert np.isnan([found["value_ci_low"], found["value_ci_high"]]).all()
    assert found["ci_method"] == "too-few-models"


def test_one_new_model_lies_in_the_prediction_interval_as_often_as_it_says():
    values = [0.80, 0.82, 0.85, 0.81]
    half = QUANTILE * statistics.stdev(values) * math.sqrt(1 + 1 / 4)
    expected = 0.82 - half, 0.82 + half
    assert prediction_interval(values) == pytest.approx(expected)
    for n, level in ((3, 0.95), (5, 0.95), (10, 0.8)):
        drawn = np.random.default_rng(n).normal(0.9, 0.02, (4000, n + 1))
        ends = np.array([prediction_interval(each, level) for each in drawn[:, :n]])
        inside = (ends[:, 0] <= drawn[:, n]) & (drawn[:, n] <= ends[:, 1])
        assert abs(inside.mean() - level) < 0.015
    assert np.isnan(prediction_interval([0.8, 0.9])).all()


def test_accuracies_of_all_models_follow_from_those_of_the_runs(tables: Tables):
    table = tables.table
    means = table[table["run"] == "all"]
    assert set(means["selection"]) == {"grid"}
    assert len(means) == 2 * 5 * (4 + 1)  # variants, alphas; four columns and an average
    assert set(means["method"]) == {"end-to-end"}, "baselines are models of another kind"
    for row in means.to_dict("records"):
        same = {key: row[key] for key in ("variant", "alpha", "dataset", "split", "selection")}
        runs = runs_of(table, **same)
        assert len(runs) == 4 * len(SEEDS[row["variant"]])
        expected = by_hand(zip(runs["model"], runs["value"], strict=True))
        if row["split"] == "test":  # tests/tabulate/test_two_way.py holds these intervals
            assert row["value"] == pytest.approx(expected[0])
            assert row["ci_method"] == "two-way"
        else:
            assert (row["value"], row["ci_low"], row["ci_high"]) == pytest.approx(expected)
            assert row["ci_method"] == "t-over-models"
        assert (row["n"], row["model"]) == (4, "tiny")
        assert pd.isna(row["seed"]) and pd.isna(row["n_correct"])


def test_differences_of_all_models_follow_from_those_of_the_runs(tables: Tables):
    rows = tables.comparisons
    means = rows[rows["run"] == "all"]
    assert len(means) == 2 * 2 * 4  # variants, contrasts; three datasets and an average
    for row in means.to_dict("records"):
        runs = runs_of(rows, **{key: row[key] for key in ("variant", "contrast", "dataset")})
        assert len(runs) == 4 * len(SEEDS[row["variant"]])
        expected = by_hand(zip(runs["model"], runs["difference"], strict=True))
        assert row["difference"] == pytest.approx(expected[0])
        assert (row["n"], row["ci_method"], row["seed"]) == (4, "two-way", "all")
        assert pd.isna(row["p_value"])


def test_choices_of_all_models_follow_from_those_of_the_runs(tables: Tables):
    rows = tables.selection
    means = rows[rows["run"] == "all"]
    assert len(means) == 2 * (6 + 7)  # of the average, there is Table 13's oracle as well
    for row in means.to_dict("records"):
        runs = runs_of(rows, **{key: row[key] for key in ("variant", "selection", "dataset")})
        assert row["n"] == 4
        for name in ("alpha", "value", "regret", "over_zero_shot", "over_fine_tuned"):
            if name == "alpha" and runs["alpha"].isna().all():
                assert pd.isna(row["alpha"]) and pd.isna(row["alpha_ci_low"])
                continue
            expected = by_hand(zip(runs["model"], runs[name], strict=True))
            found = row[name], row[f"{name}_ci_low"], row[f"{name}_ci_high"]
            assert found == pytest.approx(expected), (name, row["selection"])


def test_gains_of_a_choice_are_against_the_ends_of_the_same_run(tables: Tables):
    rows, table = runs_of(tables.selection), runs_of(tables.table, selection="grid", split="test")
    ends = table.set_index(["run", "seed", "dataset", "alpha"])["value"]
    for row in rows.to_dict("records"):
        for name, alpha in (("over_zero_shot", 0.0), ("over_fine_tuned", 1.0)):
            end = ends[row["run"], row["seed"], row["dataset"], alpha]
            assert row[name] == pytest.approx(row["value"] - end)


def test_effective_robustness_of_all_models(tables: Tables):
    runs = tables.table[tables.table["run"] != "all"]
    rows = effective_rows(runs, SETTINGS, other_models=False)
    means = rows[rows["run"] == "all"]
    assert len(means) == 2 * 5
    for row in means.to_dict("records"):
        runs = runs_of(rows, variant=row["variant"], alpha=row["alpha"])
        expected = by_hand(zip(runs["model"], runs["effective_robustness"], strict=True))
        found = row["effective_robustness"], row["ci_low"], row["ci_high"]
        assert found == pytest.approx(expected)
        assert row["extrapolated"] == runs["extrapolated"].max()


def test_means_are_read_only_by_who_asks_for_them(tables: Tables, tmp_path):
    path = tmp_path / "table.parquet"
    write_parquet(path, tables.table, TABLE)
    assert set(read_table(path, means=True)["run"]) - set(read_table(path)["run"]) == {"all"}
