"""Experiments of the paper in the workflow: published numbers alone, and zero-shot models alone."""

from __future__ import annotations

import pandas as pd

from wiseft.config import paths


def test_published_numbers_become_tables_without_data(project, snakemake):
    report = paths.paper_tables_folder("paper") / "README.md"
    done = snakemake(project, "--cores", "1", str(report), experiment="paper")
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
    assert "data/tables/imagenet.parquet" in missing.stdout


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
