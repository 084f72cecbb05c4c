"""Tables of sparse sweeps: wider intervals, and no choice by what was not run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from wiseft.tabulate.intervals import CLOPPER_PEARSON, Interval, with_audits
from wiseft.tabulate.schema import read_table
from wiseft.tabulate.selection import SELECTION
from wiseft.tabulate.stage import tabulate, write_tables

AUDIT = {"skipped": 20, "audited": 4, "better": 0, "worse": 1, "error": 0.0}


def make_sparse(folder: Path, alpha: str, low: float, high: float) -> None:
    """Turn a column into one of a sparse sweep, of which the first sample was not run."""
    metrics, predictions = folder / "metrics.json", folder / "predictions.parquet"
    content = json.loads(metrics.read_text())
    for row in content["rows"]:
        if row["alpha"] == alpha:
            row["audit"] = AUDIT | {"ci_low": low, "ci_high": high}
    metrics.write_text(json.dumps(content))
    frame = pd.read_parquet(predictions)
    column = f"weight/all/{alpha}"
    frame[f"{column}/inferred"] = np.int32(-1)
    frame.loc[0, f"{column}/inferred"] = frame.loc[0, f"{column}/prediction"]
    frame.loc[0, [f"{column}/entropy", f"{column}/confidence"]] = np.nan
    frame.to_parquet(predictions, index=False)


@pytest.fixture
def tables(small, bench, make_settings):
    before = tabulate("tiny", make_settings(), small.metrics, small.predictions)
    for path in small.metrics:
        if path.parent.name == "one":
            make_sparse(path.parent, "0.250", -0.03, 0.05)
    return before, tabulate("tiny", make_settings(), small.metrics, small.predictions)


def test_intervals_include_the_error_that_the_audit_leaves_open(tables) -> None:
    before, after = (
        each.table.set_index(["selection", "dataset", "split", "alpha"]) for each in tables
    )
    place = ("grid", "one", "test", 0.25)
    exact, found = before.loc[place], after.loc[place]
    assert found["ci_method"] == "clopper-pearson+audit"
    assert found["value"] == exact["value"] == 36 / 40
    below = np.hypot(exact["value"] - exact["ci_low"], 0.03)
    above = np.hypot(exact["ci_high"] - exact["value"], 0.05)
    assert found["ci_low"] == pytest.approx(found["value"] - below)
    assert found["ci_high"] == pytest.approx(min(1, found["value"] + above))
    average = ("grid", "avg:shifts", "test", 0.25)
    exact, found = before.loc[average], after.loc[average]
    assert found["ci_method"] == "cluster-bootstrap+audit"
    assert found["value"] - found["ci_low"] == pytest.approx(
        np.hypot(exact["value"] - exact["ci_low"], 0.03 / 2)
    )
    others = before.index.difference([place, average])
    kept = [index for index in others if index[0] == "grid"]
    pd.testing.assert_frame_equal(before.loc[kept], after.loc[kept])


def test_no_alpha_is_chosen_by_the_certainty_of_a_sparse_sweep(tables) -> None:
    before, after = tables
    chosen = {
        name: set(each.table.loc[each.table["selection"] == "unlabelled", "dataset"])
        for name, each in (("before", before), ("after", after))
    }
    assert chosen["before"] == {"ref", "one", "two", "avg:shifts"}
    assert chosen["after"] == {"ref", "two"}
    others = [
        each.selection[each.selection["selection"] != "unlabelled"].reset_index(drop=True)
        for each in tables
    ]
    pd.testing.assert_frame_equal(*others)
    assert list(after.selection) == list(SELECTION)


def test_the_table_is_read_again(tables, tmp_path: Path) -> None:
    names = ("parquet", "csv", "comparisons", "selection", "fits")
    files = {name: tmp_path / f"{name}.csv" for name in names} | {"parquet": tmp_path / "t.parquet"}
    write_tables(tables[1], **files)
    assert read_table(files["parquet"])["ci_method"].str.endswith("+audit").sum() >= 2


def test_of_an_exact_metric_an_interval_stays() -> None:
    interval = Interval(0.2, 0.4, CLOPPER_PEARSON)
    assert with_audits(interval, 0.3, [(0.0, 0.0), (0.0, 0.0)]) is interval
    low, high, _ = with_audits(interval, 0.3, [(-0.6, 0.8), (-0.8, 0.6)])
    assert (low, high) == (0.0, pytest.approx(0.3 + np.hypot(0.1, 0.5)))
