"""Experiments of the paper in the workflow: published numbers alone, and zero-shot models alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from tests.workflow.conftest import copy_project

from wiseft.figures.saving import METADATA
from wiseft.study.config import paths

pytestmark = pytest.mark.slow

ALONE = ("-s", "workflow/figures.smk")
PAPER = Path("config/experiments/paper.yaml")
LANDSCAPES = 2
"""Of the paper's figures, those that are drawn by `landscape`: 6 and 16."""


def test_published_numbers_become_tables_without_data(project, rerun):
    report = paths.paper_tables_folder("paper") / "README.md"
    done = rerun(project, "--cores", "1", str(report), experiment="paper")
    assert done.returncode == 0, done.stdout
    table = pd.read_csv(project / paths.table_path("paper", "csv"), keep_default_na=False)
    assert set(table["source"]) == {"published"}
    assert "Nothing was measured." in (project / report).read_text()
    assert (project / report.parent / "table-13.tex").is_file()


def test_figures_from_the_tables_alone_include_published_ones(project, snakemake):
    """The workflow of figures makes a table of published numbers, and of nothing else."""
    done = snakemake(project, "-n", "-s", "workflow/figures.smk", experiment="paper")
    assert done.returncode == 0, done.stdout
    assert "published: the paper's numbers of paper" in done.stdout
    missing = snakemake(project, "-n", "-s", "workflow/figures.smk", experiment="imagenet")
    assert missing.returncode == 1
    assert "there are no tables of imagenet to draw from" in missing.stdout


def test_zero_shot_models_alone_need_neither_training_nor_its_images(project, snakemake, plan):
    jobs = plan(project, experiment="zeroshot-check")
    assert not {"finetune", "search", "baseline", "headline", "report"} & set(jobs)
    assert jobs["evaluate_imagenet"] == 2 and jobs["tabulate"] == 1
    assert jobs["paper_tables"] == 1
    said = snakemake(project, "-n", "-p", experiment="zeroshot-check").stdout
    assert "ILSVRC2012_img_val.tar" in said and "ILSVRC2012_img_train.tar" not in said
    assert "held-out" not in said.split("evaluate: clip-vit-b-16")[1].split("--output-dir")[0]
    trained = snakemake(project, "-n", experiment="imagenet").stdout
    assert "ILSVRC2012_img_train.tar" in trained


def test_measured_tables_that_are_there_are_joined(project, snakemake):
    table = project / paths.table_path("coop", "parquet")
    table.parent.mkdir(parents=True)
    before = snakemake(project, "-n", "-p", experiment="paper").stdout
    assert "--table data/tables/coop.parquet" not in before
    table.touch()
    after = snakemake(project, "-n", "-p", experiment="paper").stdout
    assert "--table data/tables/coop.parquet" in after


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory, rerun) -> Path:
    """A copy of the project in which the paper's figures are drawn. Read it, don't change it."""
    folder = copy_project(tmp_path_factory.mktemp("paper") / "project")
    done = rerun(folder, *ALONE, "--cores", "all", experiment="paper")
    assert done.returncode == 0, done.stdout[-5000:]
    return folder


@pytest.fixture
def drawn(paper: Path, tmp_path: Path) -> Path:
    """A copy of it, file times and provenance included, to be changed."""
    return Path(shutil.copytree(paper, tmp_path / "drawn"))


def test_every_figure_of_the_paper_is_drawn_without_data(paper: Path, plan):
    figures = Path("results/paper/figures")
    names = {path.stem for path in (paper / figures).iterdir()}
    numbers = (1, 4, 6, 7, 8, 9, 14, 16, 21, 22, 23, 24, 25)
    assert {*(f"figure-{number}" for number in numbers), "successors"} == names
    for name in names:
        for suffix in METADATA:
            assert (paper / figures / f"{name}{suffix}").stat().st_size > 5000
    assert not (paper / "datasets").exists() and not (paper / "data" / "models").exists()
    assert plan(paper, *ALONE, experiment="paper") == {}


@pytest.mark.parametrize(
    ("path", "old", "new", "jobs"),
    [
        # The page lists the captions, so it is written again; nothing else is.
        (PAPER, "Figure 14: comparison", "Figure 14: a comparison", {"figure": 1, "page": 1}),
        (
            "src/wiseft/study/drawings/landscape.py",
            "CHORD =",
            "\nCHORD =",
            {"figure": LANDSCAPES},
        ),
        # The page takes its colours from the module that reads the style.
        (
            "src/wiseft/figures/paper.mplstyle",
            "font.size: 7",
            "font.size: 7.1",
            {"figure": 14, "page": 1},
        ),
        (
            "src/wiseft/figures/page/page.css",
            "h1 { font-size: 1.6rem",
            "h1 { font-size: 1.7rem",
            {"page": 1},
        ),
    ],
)
def test_a_change_draws_again_only_what_it_shows_in(drawn: Path, plan, path, old, new, jobs):
    text = (drawn / path).read_text()
    assert text.count(old) == 1
    (drawn / path).write_text(text.replace(old, new))
    assert plan(drawn, *ALONE, experiment="paper") == {**jobs, "all": 1}


def test_the_workflow_of_figures_has_no_other_rule(project: Path, snakemake):
    table = project / paths.table_path("digits-smoke", "parquet")
    table.parent.mkdir(parents=True)
    table.touch()
    done = snakemake(project, *ALONE, "--list-rules", experiment="digits-smoke")
    known = {"all", "figure", "page", "paper_tables", "provenance", "report"}
    assert known == {line for line in done.stdout.splitlines() if line.isidentifier()}


def test_the_report_holds_figures_tables_page_and_provenance(paper: Path, snakemake):
    done = snakemake(paper, *ALONE, "--report", "report.html", experiment="paper")
    assert done.returncode == 0, done.stdout[-5000:]
    text = (paper / "report.html").read_text()
    (paper / "report.html").unlink()
    for category in ("Figures", "Interactive page", "Provenance", "Tables of numbers"):
        assert f'"{category}"' in text, category
    for name in ("paper.csv", "table-13.csv", "provenance.html", "index.html", "figure-25.png"):
        assert name in text, name
    assert "Figure 25: output-space ensembles" in text
