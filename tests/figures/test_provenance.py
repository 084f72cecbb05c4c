"""The page that says what numbers and figures were made from."""

from __future__ import annotations

import json
import re

import pandas as pd
from tests.figures import paper_table
from typer.testing import CliRunner

from wiseft.cli import app
from wiseft.figures.provenance import provenance_page
from wiseft.io import sha256_file
from wiseft.tabulate.schema import TABLE, write_parquet


def both() -> pd.DataFrame:
    """Return invented measured rows, and the paper's own."""
    return pd.concat([paper_table.measured(), paper_table.published()], ignore_index=True)


def test_every_run_of_the_table_says_where_its_numbers_are_from():
    table = both()
    page = provenance_page(table, {}, {})
    keys = ["source", "experiment", "run", "seed"]
    numbers = page.split("<h2>Numbers</h2>")[1].split("</table>")[0]
    rows = re.findall(r"<tr><td>(.*?)</td></tr>", numbers)
    assert len(rows) == table.groupby(keys, dropna=False).ngroups
    counts = [int(row.split("</td><td>")[-2]) for row in rows]
    assert sum(counts) == len(table)
    assert "data/runs/clip-vit-l-14-336__imagenet__end-to-end/seed-0/evaluate/*/metrics" in page
    assert "arXiv 2109.01903 v3, table-13" in page
    assert "&lt;NA&gt;" not in page


def test_settings_versions_and_checksum_are_there_and_escaped(tmp_path):
    table = tmp_path / "table.parquet"
    write_parquet(table, both(), TABLE)
    output = tmp_path / "provenance.html"
    settings = json.dumps({"experiment": {"title": "a < b", "alphas": [0.0, 0.5]}})
    command = ["provenance", "--table", table, "--settings", settings, "--output", output]
    done = CliRunner().invoke(app, list(map(str, command)))
    assert done.exit_code == 0, done.output
    page = output.read_text()
    assert sha256_file(table) in page
    assert "title: a &lt; b" in page
    for name in ("commit", "python", "matplotlib", "snakemake"):
        assert re.search(rf"<td>{name}</td><td>[^<]+</td>", page), name
    assert "href" not in page and "src=" not in page
