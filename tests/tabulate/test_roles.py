"""A reference whose test split is a shift of it, as in WILDS: `reference_split`."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from tests.tabulate.test_views import ACCURACY, guesses, run

from wiseft.base.metrics import Truth, measure
from wiseft.study.paper.headline import headline, headline_metrics
from wiseft.study.paper.summary import Tables, summary
from wiseft.study.targets import Targets
from wiseft.tabulate.comparisons import MCNEMAR
from wiseft.tabulate.schema import EFFECTIVE, frame_of

N = 60
SIZES = {"held-out": N, "id-test": N, "test": 2 * N}
WORST = {"worst": {"metric": "worst-group-accuracy", "group": "region", "ignore": []}}
F1 = {"all": {"metric": "macro-f1"}, "top-1": {"metric": "accuracy"}}
RIGHT = {"held-out": (0.4, 0.8, 0.95), "id-test": (0.4, 0.8, 0.95), "test": (0.5, 0.9, 0.3)}
"""In distribution alpha 1 is the best, under shift 0.5."""


def add(bench, views) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"split": split, "label": np.arange(n) % 4}) for split, n in SIZES.items()
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame["group_region"] = [["Asia", "Europe"][index % 2] for index in range(len(frame))]
    found: dict = {}
    for place, (split, shares) in enumerate(RIGHT.items()):
        part = guesses(frame[frame["split"] == split]["label"].to_numpy(), shares, seed=place)
        for key, values in part.items():
            found.setdefault(key, []).append(values)
    bench.add_views("ref", frame, views, {key: np.concatenate(v) for key, v in found.items()})
    return pd.read_parquet(bench.predictions[-1])


def counted(frame: pd.DataFrame, split: str, view: str, alpha: str, metric: str) -> float:
    part = frame[frame["split"] == split]
    truth = Truth(
        part["label"].to_numpy(),
        part["base_id"].to_numpy(dtype=str),
        groups=np.array(part["group_region"].tolist(), dtype=object),
    )
    return measure(metric, part[f"weight/{view}/{alpha}/prediction"].to_numpy(), truth).value


@pytest.mark.parametrize(
    ("views", "far", "near_metric", "far_metric"),
    [
        (F1, "all", "macro-f1", "macro-f1"),
        ({**ACCURACY, **WORST}, "worst", "accuracy", "worst-group-accuracy"),
    ],
    ids=["iwildcam", "fmow"],
)
def test_the_test_split_is_a_shift_everywhere(
    bench, make_settings, views, far, near_metric, far_metric
):
    frame = add(bench, views)
    role = {"split": "id-test", "shift_view": far}
    settings = make_settings(averages={}, reference_split=role)
    tables = run(bench, settings)
    grid = tables.table.query("selection == 'grid' and combination == 'weight'")
    assert set(grid["dataset"]) == {"ref"}, "the tidy table keeps the names of the splits"
    assert set(grid["split"]) == {"held-out", "id-test", "test"}

    values = {
        (name, alpha): counted(frame, split, view, f"{alpha:.3f}", metric)
        for name, split, view, metric in (
            ("ref", "id-test", "all", near_metric),
            ("ref:test", "test", far, far_metric),
        )
        for alpha in (0.0, 0.5, 1.0)
    }
    # Comparisons, and Holm's family: the shift alone, which the reference stands outside of.
    rows = tables.comparisons.query("contrast == '0.500-vs-1.000' and seed == '0'")
    rows = rows.set_index("dataset")
    assert set(rows.index) == {"ref", "ref:test"}
    for name in rows.index:
        gain = values[name, 0.5] - values[name, 1.0]
        assert rows.loc[name, "difference"] == pytest.approx(gain)
    assert rows.loc["ref:test", "p_holm"] == rows.loc["ref:test", "p_value"]
    assert pd.isna(rows.loc["ref", "p_holm"])
    assert rows.loc["ref", "n"] == N
    assert (rows.loc["ref", "test"] == MCNEMAR) == (near_metric == "accuracy")

    # Choices and regret: of alpha 1, which in-distribution images choose, under the shift.
    chosen = tables.selection.query("combination == 'weight'").set_index(["dataset", "selection"])
    assert set(chosen.index.get_level_values(0)) == {"ref", "ref:test"}
    for name in ("ref", "ref:test"):
        alpha = chosen.loc[(name, "held-out"), "alpha"]
        best = max(values[name, a] for a in (0.0, 0.5, 1.0))
        assert chosen.loc[(name, "held-out"), "value"] == pytest.approx(values[name, alpha])
        regret = best - values[name, alpha]
        assert chosen.loc[(name, "held-out"), "regret"] == pytest.approx(regret)
    assert chosen.loc[("ref", "held-out"), "alpha"] == 1
    assert chosen.loc[("ref", "held-out"), "regret"] == 0
    assert chosen.loc[("ref:test", "held-out"), "regret"] > 0.2

    # Headline and summary name metric and split, and have both side by side.
    said = headline(tables.table).splitlines()
    words = {"macro-f1": "macro F1", "worst-group-accuracy": "worst-group accuracy"}
    same = near_metric == far_metric
    assert said[0] == ("macro F1 (%)" if same else "metric (%)")
    labels = ["reference (ref, id-test)", "shift (ref, test)"]
    if not same:
        labels = [f"{labels[0]}, accuracy", f"{labels[1]}, {words[far_metric]}"]
    for line, label, name in zip(said[2:], labels, ("ref", "ref:test"), strict=True):
        assert line.startswith(label)
        shown = [f"{100 * values[name, alpha]:.1f}" for alpha in (0.0, 0.5, 1.0)]
        assert line.removeprefix(label).split() == shown
    metrics = headline_metrics(tables.table)["end-to-end"]
    assert metrics["ref:test"]["0.500"] == pytest.approx(values["ref:test", 0.5], abs=1e-6)
    parts = tables.table, tables.comparisons, tables.selection, tables.fits
    text = summary("wilds", Tables(*parts, frame_of([], EFFECTIVE)), settings)
    assert ("| method | macro F1 (%) |" if same else "| method | metric (%) |") in text
    assert all(f"| {label} |" in text for label in labels)
    assert "Split: test, a shift of the reference; in distribution: id-test." in text
    assert "| ref:test |" in text, "in the table of Holm's family"


def test_without_the_key_nothing_changes(bench, make_settings):
    add(bench, F1)
    tables = run(bench, make_settings(averages={}))
    assert set(tables.selection["dataset"]) == set(tables.comparisons["dataset"]) == {"ref"}
    assert headline(tables.table).startswith("macro F1 (%), test\n")


@pytest.mark.parametrize("name", ["further-shifts-iwildcam", "further-shifts-fmow"])
def test_the_experiments_say_it(name):
    settings = json.loads(Targets.read(".", {"experiment": name}).told.statistics())
    assert settings["reference_split"]["split"] == "id-test"


def test_experiments_without_it_tell_the_stage_what_they_told_it():
    """Or all their tables would be made anew."""
    for name in ("digits", "photos"):
        assert "reference_split" not in Targets.read(".", {"experiment": name}).told.statistics()
