"""DVC shares data/; a colleague draws the figures from a pull, and nothing else can run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SMOKE = "digits-smoke"
FIGURES = ("robustness-natural", "robustness-renditions", "landscape")


def command(folder: Path, *arguments: str) -> str:
    """Run a command in a folder and return its output; fails loudly."""
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{arguments}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def dvc(folder: Path, *arguments: str) -> str:
    return command(folder, sys.executable, "-m", "dvc", *arguments)


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    return command(folder, "git", *identity, *arguments)


@pytest.fixture(scope="module")
def clone(finished: Path, tmp_path_factory) -> Path:
    """An author publishes the finished experiment; a colleague clones it and has no data yet."""
    place = tmp_path_factory.mktemp("dvc")
    author = Path(shutil.copytree(finished, place / "author"))
    for name in (".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore", "dvc.yaml"):
        (author / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, author / name)
    git(author, "init", "--quiet")
    dvc(author, "add", "data")
    dvc(author, "push")
    git(author, "add", ".")
    git(author, "commit", "--quiet", "--message", "Publish")
    tracked = git(author, "ls-files").splitlines()
    assert "data.dvc" in tracked
    assert not [name for name in tracked if name.startswith(("data/", "datasets/", "results/"))]
    git(place, "clone", "--quiet", str(author), "clone")
    return place / "clone"


def test_publishing_leaves_the_authors_run_up_to_date(clone: Path, plan):
    assert plan(clone.parent / "author") == {}


def test_tables_are_enough_for_the_figures(clone: Path, plan, snakemake):
    dvc(clone, "pull", "data/tables")
    assert not (clone / "data" / "runs").exists()
    alone = ("-s", "workflow/figures.smk")
    assert plan(clone, *alone) == {"figure": 3, "report": 1, "all": 1}
    done = snakemake(clone, *alone, "--cores", "1")
    assert done.returncode == 0, done.stdout[-5000:]
    for name in FIGURES:
        for suffix in ("pdf", "png", "svg"):
            drawn = clone / "results" / SMOKE / "figures" / f"{name}.{suffix}"
            original = clone.parent / "author" / drawn.relative_to(clone)
            assert drawn.read_bytes() == original.read_bytes(), f"{drawn.name} differs"
    assert (clone / "results" / SMOKE / "summary.md").is_file()


def test_full_pull_draws_figures_only(clone: Path, plan):
    shutil.rmtree(clone / "results", ignore_errors=True)
    dvc(clone, "pull")
    assert (clone / "data" / "runs").is_dir()
    assert plan(clone, "-s", "workflow/figures.smk") == {"figure": 3, "report": 1, "all": 1}
    assert dvc(clone, "status").strip() == "Data and pipelines are up to date."


def test_a_full_pull_can_be_continued(clone: Path, finished: Path, snakemake, plan, edit):
    """What `make pull` does: the images are never shared, so they are prepared first."""
    dvc(clone, "pull")
    shutil.rmtree(clone / "results", ignore_errors=True)
    shutil.copytree(finished / "datasets" / ".packages", clone / "datasets" / ".packages")
    for step in (["data"], ["--touch"]):
        done = snakemake(clone, *step, "--cores", "all")
        assert done.returncode == 0, done.stdout[-5000:]
    assert plan(clone) == {"data_samples": 1, "figure": 3, "report": 1, "all": 1}
    edit(clone, "\nseeds: [0, 1]\n", "\nseeds: [0, 1, 2]\n")
    jobs = plan(clone)
    assert (jobs["finetune"], jobs["evaluate_digits"]) == (2, 2)
    assert not {"data_prepare", "glyphs", "pretrain", "zeroshot", "baseline"} & set(jobs)
