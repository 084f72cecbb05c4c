"""The report of `make report`: whole under its name, or the one before."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tools import report

WHOLE = "<html>numbers</html>"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "a.svg").touch()
    (tmp_path / "table.csv").touch()
    return folder


def make(results: Path, snakemake: str) -> None:
    """Run the program with something that stands for Snakemake; it has the path as `target`."""
    script = f"import sys; target = open(sys.argv[-1], 'w'); {snakemake}"
    command = [sys.executable, "-c", script]
    report.main([str(results), str(results.parent / "table.csv"), "--", *command])


def write(text: str) -> str:
    return f"target.write({text!r})"


def names(results: Path) -> set[str]:
    return {path.name for path in results.iterdir()}


@pytest.mark.parametrize("before", [None, "", "<html>half"])
def test_a_missing_an_empty_and_a_half_report_are_made(results: Path, before):
    if before is not None:
        (results / "report.html").write_text(before)  # newer than the results
    make(results, write(WHOLE))
    assert (results / "report.html").read_text() == WHOLE


def test_it_is_made_when_something_is_newer_and_only_then(results: Path, capsys):
    make(results, write(WHOLE))
    for changed in (results / "figures" / "a.svg", results.parent / "table.csv"):
        capsys.readouterr()
        make(results, "sys.exit('not asked for')")
        assert capsys.readouterr().out == ""
        later = (results / "report.html").stat().st_mtime + 10
        os.utime(changed, (later, later))
        make(results, write(WHOLE))
        assert capsys.readouterr().out == f"Writing {results / 'report.html'}\n"
        os.utime(changed, (0, 0))


@pytest.mark.parametrize(
    ("snakemake", "said"),
    [
        ("raise OSError(28, 'No space left on device')", "cannot be written: the disk is full."),
        ("print('MissingInput: a'); sys.exit(1)", "could not be made; mend what Snakemake says"),
        (write("<html>half"), "could not be made"),
        ("import os; os.kill(os.getpid(), 9)", "could not be made"),
    ],
)
def test_the_one_before_stays_when_it_fails(results: Path, snakemake: str, said: str):
    make(results, write(WHOLE))
    os.utime(results / "report.html", (0, 0))
    with pytest.raises(SystemExit) as end:
        make(results, snakemake)
    assert str(end.value).startswith(f"error: {results / 'report.html'} ")
    assert said in str(end.value)
    assert names(results) == {"figures", "report.html"}
    assert (results / "report.html").read_text() == WHOLE
