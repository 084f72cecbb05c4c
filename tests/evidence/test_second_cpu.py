"""Seed 30 of the digits on a CPU with AVX2 and without AVX-512: another model, and the same claim.

`second-cpu/` holds the tables of `make run` on such a machine (2026-12-03; `made-with.json` names
it). The published tables are of CPUs with AVX-512.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from wiseft.base.io import read_json
from wiseft.study.config import Catalogue, paths
from wiseft.study.paper.compare import EQUAL, accuracies, cells_of, compare
from wiseft.tabulate.schema import read_table

REPOSITORY = Path(__file__).parents[2]
HERE = Path(__file__).with_name("second-cpu")
GAIN = ("digits-rn", "end-to-end__digits", "avg:shifts", "alpha 0.5 over fine-tuned")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "published").symlink_to(REPOSITORY / "published")
    tables = tmp_path / paths.table_path("digits", "csv").parent
    shutil.copytree(HERE, tables)
    return tmp_path


def gain(table: Path) -> float:
    return float(cells_of(accuracies(read_table(table))).loc[GAIN].iloc[0]) * 100


def test_the_other_model_lies_inside_the_published_region(root):
    experiment = Catalogue(REPOSITORY).experiment("digits")
    found = compare(root, experiment, [paths.table_path("digits", "parquet")])
    assert found.code == EQUAL and "inside: all 52 headline cells" in found.verdict
    machines = read_json(HERE / "digits.made-with.json")["evaluations"]
    assert [machine["vector_extension"] for machine in machines] == ["AVX2"]
    assert "AVX2" in found.details and "AVX512" in found.details


def test_it_is_another_model(root):
    """docs/digits.md says how far both are apart."""
    published = REPOSITORY / paths.published_path("digits", paths.table_path("digits", "parquet"))
    gains = [gain(HERE / "digits.parquet"), gain(published)]
    assert [f"{each:.1f}" for each in gains] == ["3.9", "1.7"]
    text = (REPOSITORY / "docs" / "digits.md").read_text()
    assert "at 3e-3 alpha 0.5 gains 3.9 points over fine-tuned there, and 1.7 with AVX-512" in text
