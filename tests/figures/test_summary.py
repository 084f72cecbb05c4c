"""The summary and the headline hold the table's numbers, and the commands write them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from wiseft.base.templates import p_text, percent, points
from wiseft.cli import main
from wiseft.study.paper.headline import headline
from wiseft.study.paper.summary import Tables, summary
from wiseft.tabulate.schema import (
    COMPARISONS,
    EFFECTIVE,
    FITS,
    SELECTION,
    TABLE,
    write_csv,
    write_parquet,
)
from wiseft.tabulate.settings import TabulateSettings

SETTINGS = {
    "averages": {
        "shifts": [
            *("optdigits", "mfeat", "pendigits"),
            *("inverted", "mnist-m", "colour", "corrupt", "fonts"),
        ],
        "natural": ["optdigits", "mfeat", "pendigits"],
        "renditions": ["inverted", "mnist-m", "colour", "corrupt", "fonts"],
    },
    "held_out": {"dataset": "mnist", "split": "held-out"},
    "test_split": "test",
    "reference": "mnist",
    "bootstrap": {"resamples": 200, "seed": 0},
    "fit_exclude": ["from-scratch__n5000-polarity"],
}


@pytest.fixture(scope="session")
def text(tables: Tables) -> str:
    return summary("synthetic", tables, TabulateSettings.model_validate(SETTINGS))


def _values(table: pd.DataFrame, dataset: str, alpha: float) -> pd.Series:
    return table[
        (table["dataset"] == dataset)
        & (table["method"] == "end-to-end")
        & (table["combination"] == "weight")
        & (table["split"] == "test")
        & (table["alpha"] == alpha)
    ]["value"]


def test_formats() -> None:
    assert percent(0.98215) == "98.2"
    assert [points(v) for v in (0.0777, -0.0219, 0.0001, -0.0001)] == ["+7.8", "−2.2", "0.0", "0.0"]
    assert [p_text(v) for v in (0.5, 0.0032, 1e-9)] == ["0.5", "0.0032", "< 0.0001"]


def test_headline_is_three_lines_of_the_tables_numbers(table: pd.DataFrame) -> None:
    lines = headline(table).splitlines()
    assert len(lines) == 5
    assert "mean of 3 runs" in lines[0]
    for line, dataset in zip(lines[2:], ["mnist", "avg:shifts", "avg:natural"], strict=True):
        means = [_values(table, dataset, alpha).mean() for alpha in (0.0, 0.5, 1.0)]
        assert line.split()[-3:] == [percent(mean) for mean in means]


def test_summary_has_values_ranges_and_intervals(table: pd.DataFrame, text: str) -> None:
    fixed = _values(table, "avg:natural", 0.5)
    cell = f"{percent(fixed.mean())} ({percent(fixed.min())} to {percent(fixed.max())})"
    (line,) = [
        line
        for line in text.splitlines()
        if line.startswith("| WiSE-FT, end-to-end | average of natural | ") and "] | " in line
    ]
    assert cell in line


def test_summary_sets_the_fixed_alpha_against_both_ends(table: pd.DataFrame, text: str) -> None:
    start, fixed, end = (_values(table, "avg:natural", a).mean() for a in (0.0, 0.5, 1.0))
    assert start > fixed > end  # as in the synthetic table: below zero-shot, above fine-tuned
    assert (
        f"- average of natural: α = 0.5 is {percent(start - fixed)} points below zero-shot and "
        f"{percent(fixed - end)} points above fine-tuned."
    ) in text


def test_summary_differences_are_those_of_the_comparisons(tables: Tables, text: str) -> None:
    rows = tables.comparisons
    row = rows[
        (rows["method"] == "end-to-end")
        & (rows["contrast"] == "0.500-vs-1.000")
        & (rows["dataset"] == "avg:shifts")
    ]
    one = row[row["seed"] == "1"].iloc[0]
    bracket = f"[{points(one['ci_low'])}, {points(one['ci_high'])}]"
    assert f"{points(one['difference'])} {bracket}" in text
    mean = row[row["seed"] == "all"].iloc[0]
    assert f"{points(mean['difference'])} ({points(mean['low'])} to {points(mean['high'])})" in text
    assert "| mfeat |" in text
    assert "0 / 3 of 3" in text


def test_names_do_not_break_the_tables(tables: Tables) -> None:
    """A bar in a name is part of its cell, in the heads and in the rows."""
    shapes = []
    for name in ("n", "n | m"):
        changed = [
            part.assign(
                **{
                    column: part[column].str.replace("natural", name).str.replace("n250", name)
                    for column in ("dataset", "average", "variant")
                    if column in part
                }
            )
            for part in vars(tables).values()
        ]
        averages = {key.replace("natural", name): v for key, v in SETTINGS["averages"].items()}
        settings = TabulateSettings.model_validate(SETTINGS | {"averages": averages})
        text = summary("synthetic", Tables(*changed), settings)
        lines = [line for line in text.splitlines() if line.startswith("|")]
        shapes.append([len(re.findall(r"(?<!\\)\|", line)) for line in lines])
        assert (f"| {name} |".replace(" | m", " \\| m")) in text
    assert shapes[0] == shapes[1]


def test_names_are_neither_markup_nor_html(tables: Tables) -> None:
    """Of a table that was pulled, a name may be anything; it is shown as it is."""
    evil = {
        "natural": "<script>alert(1)</script>",
        "mnist-m": "[link](javascript:x) `code` _a_",
        "digits-rn-s10": "**x** ![i](http://h/i.png)\n# head",
    }

    def changed(part: pd.DataFrame) -> pd.DataFrame:
        names = [c for c in ("dataset", "average", "model", "run") if c in part]
        return part.assign(
            **{
                c: part[c].replace(evil | {f"avg:{k}": f"avg:{v}" for k, v in evil.items()})
                for c in names
            }
        )

    averages = {
        evil.get(name, name): [evil.get(each, each) for each in members]
        for name, members in SETTINGS["averages"].items()
    }
    settings = TabulateSettings.model_validate(SETTINGS | {"averages": averages})
    text = summary("<b>x</b>", Tables(*map(changed, vars(tables).values())), settings)
    assert "average of &lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "\\[link\\](javascript:x) \\`code\\` \\_a\\_" in text
    assert "\\*\\*x\\*\\* !\\[i\\](http://h/i.png) # head" in text
    assert not re.search(r"<(?!=)[a-z/]|(?<!\\)\]\(", text)
    assert "# &lt;b&gt;x&lt;/b&gt;: summary" in text


def test_summary_labels_the_oracle_and_flags_extrapolation(tables: Tables, text: str) -> None:
    assert "| **oracle**: best on each column's own test labels |" in text
    assert "conditional on the trained models" in text
    natural = tables.fits.set_index("average").loc["avg:natural"]
    assert f"R² = {natural['r2']:.2f}" in text
    assert "extrapolated" in text
    assert "\\*" in text


def test_models_from_scratch_stand_there_with_and_without_others(
    tables: Tables, text: str, table: pd.DataFrame
) -> None:
    assert "## Models from scratch" in text
    alone = table[table["method"] == "from-scratch"]
    less = Tables(alone, *(part.iloc[:0] for part in list(vars(tables).values())[1:]))
    found = summary("synthetic", less, TabulateSettings.model_validate(SETTINGS))
    section = found[found.index("## Models from scratch") : found.index("## How to read")]
    at = alone[(alone["dataset"] == "mnist") & (alone["split"] == "test")]
    assert section.count("\n| ") == 2 + at["variant"].nunique()
    weakest = at.loc[at["value"].idxmin()]
    first = section.splitlines()[6]
    assert first.startswith(f"| {weakest['variant']} | {100 * weakest['value']:.1f} ")


def test_summary_without_fits_or_comparisons_says_less_but_stands(tables: Tables) -> None:
    less = Tables(
        tables.table,
        tables.comparisons.iloc[:0],
        tables.selection.iloc[:0],
        tables.fits.iloc[:0],
        tables.effective.iloc[:0],
    )
    text = summary("synthetic", less, TabulateSettings.model_validate(SETTINGS))
    assert "## Accuracy" in text
    assert "Effective robustness" not in text
    assert "Differences" not in text


@pytest.fixture
def files(tables: Tables, tmp_path: Path) -> dict[str, Path]:
    paths = {n: tmp_path / f"{n}.csv" for n in ("comparisons", "selection", "fits")}
    paths["table"] = tmp_path / "table.parquet"
    write_csv(paths["comparisons"], tables.comparisons, COMPARISONS)
    write_csv(paths["selection"], tables.selection, SELECTION)
    write_csv(paths["fits"], tables.fits, FITS)
    paths["effective-robustness"] = tmp_path / "effective-robustness.csv"
    write_csv(paths["effective-robustness"], tables.effective, EFFECTIVE)
    write_parquet(paths["table"], tables.table, TABLE)
    return paths


def _run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as leave:
        main([str(argument) for argument in arguments])
    assert leave.value.code == 0


def test_commands_write_figure_report_and_headline(
    files: dict[str, Path], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = [tmp_path / f"f.{suffix}" for suffix in ("pdf", "svg")]
    _run(
        *("figure", "f", "--draw", "robustness", "--table", files["table"]),
        *("--options", json.dumps({"average": "natural"})),
        *(item for path in outputs for item in ("--output", path)),
    )
    assert all(path.stat().st_size > 10_000 for path in outputs)
    target = tmp_path / "results" / "summary.md"
    arguments = [item for name, path in files.items() for item in (f"--{name}", path)]
    _run(
        *("report", *arguments, "--experiment", "synthetic"),
        *("--config", json.dumps(SETTINGS), "--output", target),
    )
    written = target.read_text(encoding="utf-8")
    # The CSV files round to six decimals, which moves a few last digits.
    assert written.splitlines()[0] == "# synthetic: summary"
    assert len(written.splitlines()) == len(text.splitlines())
    accuracy = text[: text.index("## Differences")]
    assert written.startswith(accuracy)
    beside = [item for name in ("index.html", "report.html") for item in ("--beside", name)]
    _run(
        *("report", *arguments, "--experiment", "synthetic"),
        *("--config", json.dumps(SETTINGS), "--output", target, *beside),
    )
    head, links, rest = target.read_text(encoding="utf-8").split("\n\n", 2)
    assert links == "See also: [page](index.html) · [report](report.html)"
    assert f"{head}\n\n{rest}" == written
    capsys.readouterr()
    _run("headline", "--table", files["table"])
    assert "average of natural" in capsys.readouterr().out


def test_headline_of_an_experiment_finds_its_table(
    tables: Tables,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_parquet(tmp_path / "data" / "tables" / "synthetic.parquet", tables.table, TABLE)
    monkeypatch.chdir(tmp_path)
    _run("headline", "--experiment", "synthetic")
    assert "reference (mnist)" in capsys.readouterr().out
    for arguments in ([], ["--experiment", "absent"]):
        with pytest.raises(SystemExit) as leave:
            main(["headline", *arguments])
        assert leave.value.code == 1
        assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("options", ["[1]", "{", '{"average": "nothing"}', '{"averag": "natural"}'])
def test_bad_options_are_one_line_without_traceback(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str
) -> None:
    target = tmp_path / "f.pdf"
    arguments = ["--table", files["table"], "--options", options, "--output", target]
    with pytest.raises(SystemExit) as leave:
        main([str(a) for a in ("figure", "fig-1", "--draw", "robustness", *arguments)])
    error = capsys.readouterr().err
    assert leave.value.code == 1
    assert error.startswith("error: ")
    assert "fig-1" in error
    assert "Traceback" not in error
    assert not target.exists()
