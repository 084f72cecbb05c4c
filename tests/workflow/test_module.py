"""The workflow used by others: in another folder, as a module, and as snakedeploy sets it up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.processes import environment
from tests.workflow.conftest import SMOKE, Run, copy_finished, copy_project

Plan = Callable[..., dict[str, int]]
# What `snakedeploy deploy-workflow` writes, with the folder of a clone in place of an address.
MODULE = """\
configfile: "config/config.yaml"

module wiseft:
    snakefile:
        "{}/workflow/Snakefile"
    config:
        config

use rule * from wiseft as wiseft_*
"""


def add_module(folder: Path, clone: Path) -> None:
    """Give a folder a workflow of its own that takes all rules from a clone."""
    (folder / "workflow").mkdir()
    (folder / "workflow" / "Snakefile").write_text(MODULE.format(clone))


@pytest.fixture
def elsewhere(project: Path, tmp_path: Path) -> Path:
    """A folder with the configuration and nothing else of the project."""
    shutil.copytree(project / "config", tmp_path / "elsewhere" / "config")
    return tmp_path / "elsewhere"


def assert_equal_tables(folder: Path, finished: Path) -> None:
    """All tables of the small experiment are there, byte for byte."""
    tables = {path.name: path.read_bytes() for path in (finished / "data" / "tables").iterdir()}
    found = {path.name: path.read_bytes() for path in (folder / "data" / "tables").iterdir()}
    assert tables and found.keys() == tables.keys()
    assert [name for name in tables if found[name] != tables[name]] == []


def test_another_folder_plans_the_same(project: Path, elsewhere: Path, plan: Plan):
    assert plan(project, "--directory", str(elsewhere)) == plan(project)


def test_a_module_plans_the_same(project: Path, elsewhere: Path, plan: Plan):
    add_module(elsewhere, project)
    jobs = {rule.removeprefix("wiseft_"): n for rule, n in plan(elsewhere).items()}
    assert jobs.pop("default") == 1
    assert jobs | {"all": 1} == plan(project)


@pytest.mark.slow
def test_a_module_gives_the_same_tables(
    finished: Path, project: Path, tmp_path: Path, plan: Plan, rerun: Run
):
    """It takes over what is finished, and makes what is missing: training, passes, tables."""
    whole = copy_finished(finished, tmp_path / "whole")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("config", "profiles", "datasets", "data", "results", "logs", ".snakemake"):
        (whole / name).rename(elsewhere / name)
    add_module(elsewhere, project)
    again = {rule.removeprefix("wiseft_") for rule in plan(elsewhere)}
    assert "tabulate" in again, "its code lies elsewhere"
    assert not {rule for rule in again if rule.startswith(("glyphs", "pretrain", "zeroshot"))}
    assert not {rule for rule in again if rule.startswith(("finetune", "baseline", "evaluate"))}
    for run in (elsewhere / "data" / "runs").glob("*__linear-classifier__*"):
        shutil.rmtree(run)
    shutil.rmtree(elsewhere / "data" / "tables")
    headline = f"data/tables/{SMOKE}.metrics.json"
    done = rerun(elsewhere, "--cores", "2", "wiseft_tables", headline)
    assert done.returncode == 0, done.stdout[-5000:]
    assert ": finetune: " in done.stdout and ": pretrain: " not in done.stdout
    assert_equal_tables(elsewhere, finished)


def github(host: Path) -> dict[str, str]:
    """Commit the workflow, tag it v1, and return variables by which git takes it for a project of
    GitHub's: `github/wiseft`.
    """
    clone = host / "github" / "wiseft"
    clone.parent.mkdir(parents=True)
    copy_project(clone)
    who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    for command in (["init"], ["add", "."], [*who, "commit", "-m", "All"], ["tag", "v1"]):
        subprocess.run(["git", *command], cwd=clone, check=True, stdout=subprocess.DEVNULL)
    key = f"url.file://{host}/.insteadOf"
    value = {"GIT_CONFIG_KEY_0": key, "GIT_CONFIG_VALUE_0": "https://github.com/"}
    return {"GIT_CONFIG_COUNT": "1", **value, "XDG_CACHE_HOME": str(host / "cache")}


@pytest.mark.slow
def test_what_snakedeploy_makes_runs_and_gives_the_same_tables(
    finished: Path, tmp_path: Path, served: dict[str, str], snakemake: Run
):
    """From an address and a tag, without a clone: all of the experiment, from its packages on."""
    pytest.importorskip(
        "snakedeploy", reason="snakedeploy is not installed; make test-storage installs it"
    )
    variables = github(tmp_path / "host")
    deployed = tmp_path / "deployed"
    address = ("https://github.com/github/wiseft", str(deployed), "--tag", "v1")
    subprocess.run(
        [Path(sys.executable).with_name("snakedeploy"), "deploy-workflow", *address],
        env=os.environ | variables,
        check=True,
    )
    written = (deployed / "workflow" / "Snakefile").read_text()
    assert 'github("github/wiseft", path="workflow/Snakefile", tag="v1")' in written
    shutil.copytree(finished / "datasets" / ".packages", deployed / "datasets" / ".packages")
    done = snakemake(deployed, "--cores", "2", variables=served | variables)
    assert done.returncode == 0, done.stdout[-5000:]
    assert_equal_tables(deployed, finished)
    assert (deployed / "results" / SMOKE / "summary.md").is_file()


@pytest.mark.parametrize("option", ["--lint", "-n"])
def test_without_the_package_one_sentence_says_where_to_install_it(project: Path, option: str):
    """As in the environment of the catalogue's lint, which has Snakemake alone."""
    code = "import sys; sys.modules['wiseft'] = None; from snakemake.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, option],
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert f"{sys.executable} runs Snakemake and finds no wiseft" in done.stdout
    assert "`pip install .` in a clone" in done.stdout
