"""The page that says what numbers and figures were made from."""

from __future__ import annotations

import json
import re

import pandas as pd
from tests.figures import paper_table
from typer.testing import CliRunner

from wiseft.base.io import sha256_file, write_json
from wiseft.cli import app
from wiseft.study.config.paths import metrics_path
from wiseft.study.paper.provenance import provenance_page
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


def test_numbers_of_others_are_said_to_be_theirs():
    about = {"source": "published", "method": "standard", "dataset": "imagenet", "value": 0.7}
    rows = [
        paper_table.row(**about, model=f"made-up-{name}", experiment=name)
        for name in ("testbed", "open-clip", "successors", "successors-second-hand")
    ]
    page = provenance_page(paper_table.table(rows), {}, {})
    assert "<td>ImageNet test bed, Taori et al. 2020: wiseft testbed</td>" in page
    assert "<td>open_clip, docs/openclip_results.csv: wiseft testbed</td>" in page
    assert "<td>a later paper, by its letter: docs/paper.md</td>" in page
    assert "<td>a summary of a later paper: docs/paper.md</td>" in page
    assert "arXiv" not in page


def test_measured_zero_shot_models_of_another_experiment_are_named(tmp_path):
    """A line goes through them that are in no row of the experiment's own table."""
    about = {"model": "clip-rn50", "method": "linear-classifier", "experiment": "others"}
    paths = [tmp_path / "table.parquet", tmp_path / "others.parquet"]
    for path, rows in zip(
        paths, ([paper_table.row(value=0.8)], paper_table.sweep(**about)), strict=True
    ):
        write_parquet(path, paper_table.table(rows), TABLE)
    command = ["provenance", "--table", paths[0], "--zero-shot", paths[1], "--settings", "{}"]
    output = tmp_path / "page.html"
    done = CliRunner().invoke(app, list(map(str, [*command, "--output", output])))
    assert done.exit_code == 0, done.output
    page = output.read_text()
    assert sha256_file(paths[1]) in page
    assert "data/runs/clip-rn50__imagenet__linear-classifier/seed-0/evaluate/*/metrics" in page


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
    CliRunner().invoke(app, [*map(str, command), "--beside", "index.html"])
    assert re.findall(r"href=.*?</a>", output.read_text()) == ['href="index.html">page</a>']


def test_what_evaluations_were_made_with_is_there_and_an_upgrade_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [paper_table.row(value=0.8, seed=seed) for seed in (0, 1, 2, 3)]
    table = paper_table.table(rows)
    write_parquet(tmp_path / "table.parquet", table, TABLE)
    for row, torch in zip(table.to_dict("records"), ("2.8", "2.8", "2.9", None), strict=True):
        how = {"batch_size": 500}
        if torch:
            how |= {"versions": {"torch": torch, "Pillow": "11"}, "commit": "c" * 40}
            how |= {"machine": {"cpu": "A <CPU>", "threads": 2}}
        path = metrics_path(row["run"], row["seed"], row["dataset"])
        write_json(path, {"how": how})
    command = ["provenance", "--table", "table.parquet", "--settings", "{}", "--output", "x.html"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    page = (tmp_path / "x.html").read_text()
    part = page.split("<h2>Evaluations</h2>")[1].split("<h2>")[0]
    cells = [line.split("</td><td>") for line in re.findall(r"<tr><td>(.*?)</td></tr>", part)]
    cpu = "A &lt;CPU&gt;"
    assert cells == [
        ["2", "c" * 40, "2.8", "11", cpu],
        ["1", "c" * 40, "2.9", "11", cpu],
        ["1", "unknown", "", "", ""],  # of before
    ]
    assert "<p>Evaluations differ in torch: 2.8, 2.9.</p>" in part
