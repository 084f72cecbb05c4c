"""The rehearsal: what it cuts and what never, its comparison with the plan, its server."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from tools.rehearsal import __main__ as rehearsal
from tools.rehearsal import compare, cut, real, recompute
from tools.rehearsal import run as running
from tools.rehearsal.run import FEW, Outcome, table
from tools.rehearsal.server import FUNCTION, serving

from wiseft.base.io import read_json
from wiseft.base.rehearsal import NOTE, VARIABLE, mark
from wiseft.base.templates import render
from wiseft.errors import WiseftError
from wiseft.figures.page import build
from wiseft.figures.style import paper_style
from wiseft.study.config import Catalogue
from wiseft.study.paper.context import figure_context
from wiseft.study.paper.figure import draw_figure
from wiseft.study.targets import Targets
from wiseft.tabulate.schema import read_table

PROJECT = Path(__file__).parents[2]
EXPERIMENTS = Catalogue(PROJECT).names("experiments")
SMOKE = "digits-smoke"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the cut configuration, as it is before anything is made up."""
    folder = tmp_path_factory.mktemp("rehearsal") / "root"
    cut.link_project(PROJECT, folder)
    cut.write_config(folder)
    return folder


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_rehearsal_has_the_rules_rows_and_figures_of_the_plan(root: Path, name: str):
    plan = compare.real_plan(PROJECT, name)
    assert compare.plan_differences(plan, Targets.read(root, {"experiment": name})) == []
    names = [run.name for run in plan.runs]  # a cell of the table is found by its run's name
    assert len(set(names)) == len(names)


def test_trainings_are_short_whatever_their_variant(root: Path):
    catalogue = Catalogue(root)
    for method in catalogue.names("methods"):
        entry = catalogue.method(method)
        for settings in [entry.settings, *map(entry.resolve, entry.variants)]:
            trained = entry.variants or entry.settings.steps
            assert not trained or settings.steps == cut.STEPS, method
            assert settings.search is None or settings.search.trials == cut.TRIALS
            assert not trained or settings.batch_size <= cut.BATCH


def test_what_is_dropped_is_seen(root: Path, tmp_path: Path):
    """A method, an alpha, a dataset and a figure less: each is a difference."""
    for key, change in {
        "methods": lambda value: value[:1],
        "alphas": lambda value: [0.0, 0.5, 1.0],
        "datasets": lambda value: value[:-1],
        "figures": lambda value: dict(list(value.items())[:-1]),
    }.items():
        plan = compare.real_plan(PROJECT, "ema" if key == "methods" else "further-shifts-video")
        entry = plan.experiment.model_dump(mode="json", exclude_unset=True)
        less = entry | {key: change(entry[key])}
        if key == "datasets":
            dropped = entry["datasets"][-1]
            less["averages"] = {
                name: [member for member in members if member != dropped]
                for name, members in entry.get("averages", {}).items()
            }
        fewer = Targets(plan.settings, plan.catalogue, type(plan.experiment).model_validate(less))
        assert compare.plan_differences(plan, fewer), key


def test_names_of_experiments():
    assert rehearsal.experiments(["paper", "align"]) == ["align", "paper"]
    assert set(rehearsal.experiments(["all"])) == set(EXPERIMENTS)
    assert set(FEW) <= set(EXPERIMENTS)
    with pytest.raises(WiseftError, match="unknown experiment imagenett; did you mean imagenet"):
        rehearsal.experiments(["imagenett"])


def test_the_table_at_the_end_has_the_first_error():
    failed = Outcome("long-name", 3, 30.0, 0, "Failed: figure x", 6.0)
    text = table([Outcome("a", 10, 60.0, 2, cpu=90.0), failed])
    assert text.splitlines() == [
        "experiment  jobs  minutes  of CPU  figures",
        "a            10      1.0     1.5        2  ok",
        "long-name     3      0.5     0.1        0  FAILED",
        "all          13      1.5     1.6  1 failed",
        "",
        "long-name: Failed: figure x",
    ]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with serving(tmp_path_factory.mktemp("server")) as variables:
        yield {**os.environ, **variables}


def bash(command: str, variables: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail; export PATH=/usr/bin:$PATH; {command}"],
        env=variables,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_commands_are_served_as_processes_would(served: dict[str, str], tmp_path: Path):
    """Output, errors, exit codes, the folder and variables are those of the caller."""
    done = bash(
        "HF_HUB_OFFLINE=0 wiseft --version > version.txt; cat version.txt", served, tmp_path
    )
    assert (done.returncode, done.stdout[:7]) == (0, "wiseft ")
    wrong = bash("wiseft headline --table none.parquet", served, tmp_path)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: ") and "Traceback" not in wrong.stderr
    assert bash("wiseft nonsense", served, tmp_path).returncode == 2


def test_a_command_ends_with_its_client(served: dict[str, str], tmp_path: Path):
    """Of a killed job nothing goes on: the server tells its fork to end."""
    os.mkfifo(tmp_path / "options")  # nobody writes into it, so that the command waits
    *client, _arguments = shlex.split(served[FUNCTION].removeprefix("() {").rpartition("}")[0])
    files = ["--table", "none.parquet", "--output", "none.pdf"]
    command = [*client, "figure", "name", "--draw", "scatter", "--options", "@options", *files]
    process = subprocess.Popen(command, cwd=tmp_path)
    wait_for(lambda: waiting(tmp_path))
    process.terminate()
    process.wait()
    wait_for(lambda: not waiting(tmp_path))


def waiting(folder: Path) -> bool:
    """Whether a fork of the server works in a folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_text()
            if "rehearsal.server" in words and (process / "cwd").resolve() == folder:
                return True
    return False


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_figures_and_texts_are_marked_in_a_rehearsal_alone(monkeypatch: pytest.MonkeyPatch):
    given = {"title": "T", "head": ["a"], "rows": [["1"]], "legend": "L"}
    for value, marked in (("1", True), ("0", False)):
        monkeypatch.setenv(VARIABLE, value)
        figure = plt.figure()
        mark(figure)
        assert [text.get_text() for text in figure.texts] == ["rehearsal"] * marked
        assert (NOTE in render("study/paper/paper_table.md.j2", **given)) == marked
        assert build.titled("Digits") == ("Rehearsal: Digits" if marked else "Digits")
        plt.close(figure)


def test_the_configuration_says_that_it_is_a_rehearsal(root: Path):
    """Commands are told by their environment; those of a real run are not."""
    rehearsed = Targets.read(root, {"experiment": SMOKE})
    assert f"{VARIABLE}=1" in rehearsed.told.environment()
    assert VARIABLE not in Targets.read(PROJECT, {"experiment": SMOKE}).told.environment()


def test_rates_of_the_same_kind_are_replaced(tmp_path: Path):
    one = {"rule": "evaluate", "model": "m", "method": "a", "device": "d", "precision": "fp32"}
    path = tmp_path / "rates.json"
    real.write_rates(path, [{**one, "images_per_second": 1.0}])
    real.write_rates(path, [{**one, "images_per_second": 2.0}, {**one, "rule": "finetune"}])
    rates = read_json(path)["rates"]
    assert [rate.get("images_per_second") for rate in rates] == [2.0, None]


@pytest.mark.slow
def test_a_whole_rehearsal(tmp_path: Path):
    """A small experiment to its end, with all that it has in the plan; then nothing is left to do.

    A second one, after a failure, goes on where that one stopped.
    """
    folder = tmp_path / "rehearsal"
    command = [sys.executable, "-m", "tools.rehearsal", SMOKE, "--cores", "2"]
    command += ["--root", str(folder)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed" in done.stdout
    plan = compare.real_plan(PROJECT, SMOKE)
    rehearsed = Targets.read(folder, {"experiment": SMOKE})
    assert compare.result_differences(plan, rehearsed, folder) == []
    assert drawn(plan, folder) == drawn(rehearsed, folder)
    check_recomputed_cells(rehearsed, folder)
    figure = folder / "results" / SMOKE / "figures" / "landscape.svg"
    assert "rehearsal" in figure.read_text()
    figure.unlink()
    assert compare.result_differences(plan, rehearsed, folder) == [
        f"results/{SMOKE}/figures/landscape.svg was not made"
    ]
    start = time.monotonic()
    again = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert again.returncode == 0 and time.monotonic() - start < 60
    assert not (PROJECT / "data" / "rehearsal").exists()


def check_recomputed_cells(targets: Targets, folder: Path) -> None:
    """Each dataset has cells that are computed again; two that are exchanged are noticed."""
    rows = pd.read_csv(folder / targets.files.tables["table_csv"], keep_default_na=False)
    told = recompute.told(targets, folder, rows)
    assert {dataset for _, dataset, _ in told} == {*targets.experiment.datasets}
    assert recompute.findings(recompute.table(rows, SMOKE), told) == []
    exchanged = rows["dataset"].replace({"colour": "fonts", "fonts": "colour"})
    found = recompute.findings(recompute.table(rows.assign(dataset=exchanged), SMOKE), told)
    run = targets.combined[0].name
    assert any(f"{run} colour test: the numbers of {run} fonts test" in each for each in found)


def points(figure: Figure) -> list[tuple[str, int]]:
    """Return what is drawn on each axes: its artists by label, with how many points each has."""
    drawn = []
    for ax in figure.axes:
        drawn += [(str(line.get_label()), np.size(line.get_xdata())) for line in ax.lines]
        drawn += [
            (str(each.get_label()), len(np.asarray(each.get_offsets()))) for each in ax.collections
        ]
        drawn += [(str(patch.get_label()), 1) for patch in ax.patches]
    return drawn


def drawn(targets: Targets, folder: Path) -> dict[str, list[tuple[str, int]]]:
    """Return what is drawn in each figure of an experiment, from the rehearsed table."""
    found: pd.DataFrame = read_table(folder / targets.files.tables["table_parquet"])
    context = figure_context(targets.experiment, targets.catalogue)
    with paper_style() as style:
        return {
            name: points(draw_figure(name, figure.draw, found, style, figure.options, context))
            for name, figure in targets.experiment.figures.items()
        }


def test_a_workflow_that_waits_for_ever_is_killed_when_the_rehearsal_is_stopped():
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(); time.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-uc", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it ignores the signal from here on
        with pytest.raises(SystemExit):
            try:
                sys.exit(143)
            finally:
                running._end(process, 0.2)
        assert process.returncode == -9
