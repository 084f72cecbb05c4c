"""Settings of one recipe: which are admissible, what alpha gains, and curves at equal reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from tests.tabulate.conftest import GRID, Bench
from tests.tabulate.test_two_way import MODELS, expected

from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.tabulate.inputs import read_inputs
from wiseft.tabulate.models import of_runs
from wiseft.tabulate.schema import TUNING, read
from wiseft.tabulate.settings import TabulateSettings
from wiseft.tabulate.stage import Tables, tabulate
from wiseft.tabulate.tuning import tuning_rows

SETTINGS: dict[str, Any] = {
    "averages": {"shifts": ["one", "two"]},
    "held_out": {"dataset": "ref", "split": "held-out"},
    "test_split": "test",
    "reference": "ref",
    "bootstrap": {"resamples": 100, "seed": 0},
}
IDS = ["end-to-end__gentle", "end-to-end__middle", "end-to-end__steep"]
TUNING_KEY = {"title": "learning rate", "methods": IDS}
HELD_OUT = {"gentle": 0.80, "middle": 0.82, "steep": 0.60}
# Right of 50 on the reference and of 40 on `one`, by alpha; `two` stays where it is.
REFERENCE = {
    "gentle": (40, 42, 44, 46, 48),
    "middle": (40, 43, 46, 47, 47),
    "steep": (40, 44, 48, 46, 44),  # falls again: what comes after the maximum is left out
}
ONE = {"gentle": (20, 22, 24, 26, 28), "middle": (20, 23, 26, 27, 27), "steep": (20, 0, 0, 0, 0)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Tables]:
    """Four models, two of them with two fine-tuning seeds; the tables of all."""
    bench, draw = Bench(tmp_path_factory.mktemp("tuning")), np.random.default_rng(4)
    for place, model in enumerate(MODELS):
        for variant in HELD_OUT:
            for seed in range(1 + place % 2):
                about = {"model": model, "variant": variant, "seed": seed}
                ease = np.random.default_rng(0).normal(0, 0.25, 200)
                right = [draw.random(200) < HELD_OUT[variant] + ease for _ in GRID]
                held_out = {("weight", a): each for a, each in zip(GRID, right, strict=True)}
                test = bench.curve(50, REFERENCE[variant])
                bench.add("ref", {"held-out": held_out, "test": test}, **about)
                one = ONE[variant]
                if variant == "steep":  # at 40, 44, 48 of the reference
                    one = (20, 26 + 2 * place, 32 + 4 * place - 8 * (place > 2), 10, 5)
                bench.add("one", {"test": bench.curve(40, one)}, **about)
                bench.add("two", {"test": bench.curve(20, (10,) * 5)}, **about)
    settings = TabulateSettings.model_validate(SETTINGS | {"tuning": TUNING_KEY})
    return bench, tabulate("demo", settings, bench.metrics, bench.predictions)


@pytest.fixture(scope="module")
def tuned(made: tuple[Bench, Tables]) -> Callable[..., pd.DataFrame]:
    """Return the table of settings under another rule, from the same numbers."""
    bench, tables = made
    known = TabulateSettings.model_validate(SETTINGS | {"tuning": TUNING_KEY})
    inputs = read_inputs(bench.metrics, bench.predictions, known)
    grid = of_runs(tables.table[tables.table["selection"] == "grid"])

    def make(**changes: Any) -> pd.DataFrame:
        settings = TabulateSettings.model_validate(SETTINGS | {"tuning": TUNING_KEY | changes})
        return tuning_rows(grid, tables.comparisons, settings, inputs)

    return make


def row_of(rows: pd.DataFrame, variant: str, quantity: str, dataset: str = "ref") -> Any:
    for name, value in (("variant", variant), ("quantity", quantity), ("dataset", dataset)):
        rows = rows[rows[name] == value]
    assert len(rows) == 1
    return rows.iloc[0]


def held_out_right(bench: Bench, variant: str) -> pd.DataFrame:
    """Return how often each model's fine-tuned end is right on each held-out sample."""
    columns = {}
    for place, model in enumerate(MODELS):
        seeds = []
        for seed in range(1 + place % 2):
            run = f"{model}__ref__end-to-end__{variant}"
            folder = bench.root / run / f"seed-{seed}" / "evaluate" / "ref"
            frame = pd.read_parquet(folder / "predictions.parquet").query("split == 'held-out'")
            seeds.append(frame["weight/all/1.000/prediction"] == frame["label"])
        columns[model] = np.mean(seeds, axis=0)
    return pd.DataFrame(columns)


def test_held_out_ends_and_what_is_admissible(made):
    bench, _ = made
    rows = made[1].tuning
    assert list(rows["variant"].unique()) == ["gentle", "middle", "steep"]
    right = {variant: held_out_right(bench, variant) for variant in HELD_OUT}
    means = {variant: each.mean() for variant, each in right.items()}
    best = max(means, key=lambda variant: means[variant].mean())
    for variant, each in right.items():
        row = row_of(rows, variant, "held-out")
        assert row["value"] == pytest.approx(means[variant].mean())
        parts = (each - means[variant]) / 200
        ends = expected(means[variant].to_numpy(), parts.assign(stratum=""))
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(ends)
        row = row_of(rows, variant, "to-the-best")
        apart = each - right[best]
        assert row["value"] == pytest.approx(apart.to_numpy().mean(), abs=1e-12)
        assert row["against"] == f"end-to-end__{best}"
        if variant == best:
            assert (row["ci_low"], row["ci_high"]) == pytest.approx((0, 0))
            continue
        ends = expected(apart.mean().to_numpy(), ((apart - apart.mean()) / 200).assign(stratum=""))
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(ends)
        assert (row["n"], row["ci_method"], row["model"]) == (4, "two-way", "tiny")
    admissible = rows.groupby("variant")["admissible"].unique()
    assert {name: list(found) for name, found in admissible.items()} == {
        "gentle": [1],  # worse in the mean, and not clearly
        "middle": [1],
        "steep": [0],
    }


def test_a_loss_within_the_limit_is_admitted_whatever_the_interval_says(made, tuned):
    loss = -row_of(made[1].tuning, "steep", "to-the-best")["value"]
    for within, found in ((loss - 1e-6, 0), (loss + 1e-6, 1)):
        rows = tuned(within=within)
        assert row_of(rows, "steep", "to-the-best")["admissible"] == found


def test_gains_are_those_of_the_comparisons(made):
    rows, comparisons = made[1].tuning, made[1].comparisons
    gains = rows[rows["quantity"].isin(["over-zero-shot", "over-fine-tuned"])]
    assert len(gains) == 3 * 2 * 2
    contrasts = {"over-zero-shot": "0.500-vs-0.000", "over-fine-tuned": "0.500-vs-1.000"}
    for row in gains.to_dict("records"):
        same = comparisons[
            (comparisons["variant"] == row["variant"])
            & (comparisons["contrast"] == contrasts[row["quantity"]])
            & (comparisons["dataset"] == row["dataset"])
        ]
        (mean,) = same[same["run"] == "all"].to_dict("records")
        assert row["value"] == mean["difference"]
        assert [row[end] for end in ("ci_low", "ci_high")] == [mean["ci_low"], mean["ci_high"]]


def test_curves_are_held_against_the_gentlest_at_equal_reference_accuracy(made):
    rows = made[1].tuning
    assert not len(rows[(rows["variant"] == "gentle") & (rows["quantity"] == "equal-reference")])
    # Per right sample of the reference, `gentle` and `middle` gain one right sample of `one`.
    middle = row_of(rows, "middle", "equal-reference", "avg:shifts")
    assert middle["value"] == pytest.approx(0, abs=1e-12)
    assert (middle["x_low"], middle["x_high"]) == pytest.approx((40 / 50, 47 / 50))
    # `steep` gains 1.5, 2 and 2.5 and, of the last model, first 3 and then 1.
    at_end = np.array([12 - 8, 16 - 8, 20 - 8, 16 - 8]) / 40 / 2
    half_way = np.array([6 - 4, 8 - 4, 10 - 4, 12 - 4]) / 40 / 2
    mean = (half_way / 2 + (half_way + at_end) / 2) / 2
    row = row_of(rows, "steep", "equal-reference", "avg:shifts")
    assert row["against"] == "end-to-end__gentle"
    assert (row["x_low"], row["x_high"]) == pytest.approx((40 / 50, 48 / 50))
    ends = t.interval(0.95, 3, loc=mean.mean(), scale=mean.std(ddof=1) / 2)
    found = row["value"], row["ci_low"], row["ci_high"]
    assert found == pytest.approx((mean.mean(), *ends))
    assert row["ci_method"] == "t-over-models"


def test_the_command_writes_the_table(made, tmp_path: Path):
    bench, tables = made
    files = {name: str(tmp_path / f"{name}.csv") for name in ("comparisons", "selection", "fits")}
    files |= {"table-csv": str(tmp_path / "t.csv"), "table-parquet": str(tmp_path / "t.parquet")}
    arguments = ["tabulate", "--experiment", "demo", "--tuning", str(tmp_path / "tuning.csv")]
    arguments += ["--settings", json.dumps(SETTINGS | {"tuning": TUNING_KEY})]
    arguments += [text for name, path in files.items() for text in (f"--{name}", path)]
    arguments += [str(path) for path in [*bench.metrics, *bench.predictions]]
    with pytest.raises(SystemExit) as leave:
        main(arguments)
    assert leave.value.code == 0
    written = read(tmp_path / "tuning.csv", TUNING, "tuning")
    assert written["value"].to_numpy() == pytest.approx(tables.tuning["value"].to_numpy(), abs=1e-6)
    for text in ("variant", "quantity", "admissible"):
        assert list(written[text]) == list(tables.tuning[text])


def test_a_setting_without_runs_is_named(tuned):
    with pytest.raises(WiseftError, match="tuning lists end-to-end__other"):
        tuned(methods=[*IDS, "end-to-end__other"])


def test_of_one_model_the_limit_alone_decides(made):
    bench, _ = made
    files = [path for path in bench.metrics if f"/{MODELS[0]}__" in str(path)]
    settings = TabulateSettings.model_validate(SETTINGS | {"tuning": TUNING_KEY | {"within": 0.1}})
    predictions = [path.parent / "predictions.parquet" for path in files]
    rows = tabulate("demo", settings, files, predictions).tuning
    assert set(rows["quantity"]) == {"held-out", "to-the-best"}
    assert set(rows["ci_method"]) == {"too-few-models"} and set(rows["n"]) == {1}
    assert rows["ci_low"].isna().all()
    loss = row_of(rows, "steep", "to-the-best")
    assert loss["value"] < -0.1 and not loss["admissible"]
    assert row_of(rows, "gentle", "to-the-best")["admissible"]
