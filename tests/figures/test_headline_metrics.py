"""The few numbers that versions are compared by are the table's."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from wiseft.cli import main
from wiseft.study.paper.headline import headline_metrics
from wiseft.tabulate.schema import TABLE, write_parquet


def test_metrics_are_means_over_the_runs(table: pd.DataFrame) -> None:
    found = headline_metrics(table)["end-to-end"]
    assert set(found) == {"mnist", "avg:shifts", "avg:natural", "avg:renditions"}
    for dataset, values in found.items():
        assert list(values) == ["0.000", "0.500", "1.000"]
        rows = table[
            (table["method"] == "end-to-end")
            & (table["dataset"] == dataset)
            & (table["split"] == "test")
            & (table["combination"] == "weight")
            & (table["selection"] == "grid")
            & (table["alpha"] == 0.5)
        ]
        assert values["0.500"] == pytest.approx(rows["value"].mean(), abs=1e-6)


def test_command_writes_them(table: pd.DataFrame, tmp_path: Path) -> None:
    path, output = tmp_path / "table.parquet", tmp_path / "metrics.json"
    write_parquet(path, table, TABLE)
    with pytest.raises(SystemExit) as left:
        main(["headline", "--table", str(path), "--json", str(output)])
    assert left.value.code == 0
    assert json.loads(output.read_text()) == headline_metrics(table)
