"""A copy of the project to run the workflow in, and one that has run the small experiment."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from tests.processes import environment, run_module
from tools.rehearsal.server import FUNCTION, serving

ROOT = Path(__file__).parents[2]
SOURCES = ("Snakefile", "workflow", "config", "profiles", "environment.yml", "src", "tools")
SMOKE = "digits-smoke"
DIGITS = [
    "mnist",
    "optdigits",
    "mfeat",
    "pendigits",
    "inverted",
    "mnist-m",
    "colour",
    "corrupt",
    "fonts",
]

Run = Callable[..., subprocess.CompletedProcess[str]]


def copy_project(target: Path) -> Path:
    """Copy what the workflow consists of, without data and without results."""
    target.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignore)
        else:
            shutil.copy2(source, target / name)
    return target


def run_snakemake(
    folder: Path,
    *arguments: str,
    experiment: str = SMOKE,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a folder; standard output and error come together in `stdout`."""
    command = (*arguments, "--config", f"experiment={experiment}")
    return run_module(folder, "snakemake", *command, variables=variables)


def job_counts(output: str) -> dict[str, int]:
    """Return the jobs of a dry run by rule; none where nothing is to be done."""
    if "Nothing to be done" in output:
        return {}
    table = re.search(r"Job stats:\njob +count\n[- ]+\n(.*?)\ntotal ", output, re.DOTALL)
    assert table, f"no job table in:\n{output}"
    rows = (line.split() for line in table[1].splitlines())
    return {rule: int(count) for rule, count in rows}


@pytest.fixture(scope="session")
def snakemake() -> Run:
    return run_snakemake


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables by which commands are forks of one process, as those of a rehearsal are."""
    with serving(tmp_path_factory.mktemp("commands")) as variables:
        yield variables


@pytest.fixture(scope="session")
def rerun(served: dict[str, str]) -> Run:
    """Run Snakemake with such commands.

    For what is run again in a copy of what real processes made: imports are most of such a run.
    """
    return functools.partial(run_snakemake, variables=served)


@pytest.fixture(scope="session")
def plan() -> Callable[..., dict[str, int]]:
    """Dry-run in a folder; the jobs by rule."""

    def planned(folder: Path, *arguments: str, **options: str) -> dict[str, int]:
        done = run_snakemake(folder, "-n", *arguments, **options)
        assert done.returncode == 0, done.stdout
        return job_counts(done.stdout)

    return planned


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A fresh copy of the project with no data in it."""
    return copy_project(tmp_path / "project")


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory, worker_id: str, served: dict[str, str]
) -> Path:
    """A copy of the project in which the small experiment has run, one for all workers.

    Read it, don't change it.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    folder, outcome = shared / "smoke", shared / "smoke.json"
    with (shared / "smoke.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first worker that comes runs it, the others wait
        if not outcome.exists():
            done = run_small_experiment(folder, once_for_real(served, shared / "for-real"))
            outcome.write_text(json.dumps([done.returncode, done.stdout]))
    code, output = json.loads(outcome.read_text())
    assert code == 0, output[-5000:]
    return folder


def once_for_real(served: dict[str, str], begun: Path) -> dict[str, str]:
    """Variables by which each command is a process of its own, as a user's, and later a fork."""
    begun.mkdir()
    name = '"$1-$([ "$1" != data ] || echo "$2")"'
    alone = f"mkdir {shlex.quote(str(begun))}/{name} 2>/dev/null"
    alone += ' && { command wiseft "$@"; return; }'
    return {FUNCTION: served[FUNCTION].replace("() {", f"() {{ {alone}\n", 1)}


def run_small_experiment(
    folder: Path, variables: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Copy the project and run the small experiment in it."""
    copy_project(folder)
    packages = ROOT / "datasets" / ".packages"
    if packages.is_dir():  # spares a download; preparing checks the hashes anyway
        shutil.copytree(packages, folder / "datasets" / ".packages")
    command = [sys.executable, "-m", "snakemake", "--cores", "all"]
    return subprocess.run(
        [*command, "--config", f"experiment={SMOKE}"],
        cwd=folder,
        env=environment() | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )


def copy_finished(finished: Path, target: Path) -> Path:
    """Copy a finished project, file times and provenance included.

    Datasets are most of it and only read, so they are linked.
    """

    def but_datasets(folder: str, _: list[str]) -> set[str]:
        return {"datasets"} if Path(folder) == finished else set()

    shutil.copytree(finished, target, ignore=but_datasets)
    shutil.copytree(finished / "datasets", target / "datasets", copy_function=os.link)
    return target


@pytest.fixture
def continued(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished project to be changed, but for its datasets."""
    return copy_finished(finished, tmp_path / "continued")


@pytest.fixture(scope="session")
def edit() -> Callable[[Path, str, str], None]:
    """Replace a text that occurs once in the small experiment's file."""

    def replace(folder: Path, old: str, new: str) -> None:
        path = folder / "config" / "experiments" / f"{SMOKE}.yaml"
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {path.name}"
        path.write_text(text.replace(old, new))

    return replace
