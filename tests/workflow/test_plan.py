"""What the workflow plans, with no data present: nothing runs here."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.workflow.conftest import DIGITS, ROOT

RUN = "digits-rn-s30__mnist__end-to-end__digits"
Plan = Callable[..., dict[str, int]]


def test_jobs_of_the_default_experiment(project, plan: Plan):
    """One pre-training seed, three seeds of three methods, eight baselines."""
    assert plan(project, experiment="digits") == {
        "data_fetch": 15,
        **{f"data_prepare_{name}": 1 for name in DIGITS},
        "data_samples": 1,
        "glyphs": 1,
        "pretrain": 1,
        "pretrain_samples": 1,
        "zeroshot": 1,
        "finetune": 3 * 3,
        "baseline": 8,
        "interpolate": 3 * 3,
        "evaluate_digits": 3 * 3 + 8,
        "tabulate": 1,
        "effective_robustness": 1,
        "headline": 1,
        "figure": 3,
        "page": 1,
        "provenance": 1,
        "report": 1,
        "all": 1,
    }


def test_the_catalogues_entry_plans_the_same(project, plan: Plan):
    entry = plan(project, "-s", "workflow/Snakefile")
    assert entry.pop("default") == 1
    assert entry | {"all": 1} == plan(project)


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile", "workflow/figures.smk"])
def test_the_catalogues_lint_has_nothing_to_say(project: Path, snakemake, snakefile: str):
    if "figures" in snakefile:
        shutil.copytree(ROOT / "published", project / "published")
    done = snakemake(project, "-s", snakefile, "--lint", experiment="digits")
    assert done.returncode == 0, done.stdout
    assert "your workflow is in a good condition!" in done.stdout


def test_models_that_are_only_combined_are_fetched_and_not_trained(project, plan: Plan):
    jobs = plan(project, experiment="independent-ensembles")
    wanted = {"weights": 3, "zeroshot": 1, "zeroshot_supervised": 2, "finetune": 1}
    assert {rule: jobs[rule] for rule in wanted} == wanted
    assert jobs["evaluate_imagenet"] == 3


def test_unknown_experiment_is_one_sentence(project, snakemake):
    done = snakemake(project, "-n", experiment="digitz")
    assert done.returncode == 1
    assert "unknown experiment digitz; did you mean digits" in done.stdout
    assert "Traceback" not in done.stdout


def test_mistyped_key_is_one_sentence(project, snakemake, edit):
    edit(project, "\nbootstrap:", "\nbootstrp:")
    done = snakemake(project, "-n")
    assert done.returncode == 1
    assert "unknown key `bootstrp`; did you mean bootstrap?" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_value_that_yaml_cannot_read_is_one_sentence(project, snakemake, edit):
    edit(project, "\ntitle:", "\ntitle: 2020-99-99 #")
    done = snakemake(project, "-n")
    assert done.returncode == 1
    assert "digits-smoke.yaml is not valid YAML: line " in done.stdout
    assert ', column 8: "2020-99-99" is no timestamp (month must be in 1..12)' in done.stdout
    assert "Traceback" not in done.stdout and "constructor.py" not in done.stdout


def test_batches_that_cannot_be_shared_out_are_known_before_anything_runs(project, snakemake):
    config = project / "config" / "config.yaml"
    config.write_text(config.read_text() + "\ntraining: {how: {gpus: 2}}\n")
    done = snakemake(project, "-n", experiment="digits")
    assert done.returncode == 1
    assert "training.how.gpus is 2, but from-scratch__n60 of digits-rn needs" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(("alpha", "known"), [("0.350", True), ("0.35", False), ("1.500", False)])
def test_any_alpha_of_three_decimals_is_a_target(project, snakemake, alpha, known):
    target = f"data/runs/{RUN}/seed-300/combine/theta_{alpha}.safetensors"
    done = snakemake(project, "-n", target, experiment="digits")
    assert (done.returncode == 0) == known
    assert ("interpolate" in done.stdout) == known


def test_new_dataset_is_an_entry(project, plan: Plan, edit):
    """A folder of images joins the experiment without an edit of code; it is a suite of its own."""
    before = plan(project)
    mnist = (project / "config" / "datasets" / "mnist.yaml").read_text()
    classes = mnist[mnist.index("class_names:") : mnist.index("splits:")]
    (project / "config" / "datasets" / "scans.yaml").write_text(
        "name: scans\ntitle: Scans\nlicence: own\ncitation: own\nlayout: image-folder\n"
        f"root: scans\n{classes}splits: {{test: 10}}\nevaluate: [test]\n"
    )
    edit(project, "datasets: [mnist,", "datasets: [scans, mnist,")
    after = plan(project)
    assert after.pop("evaluate_scans") == before["evaluate_digits"]
    assert after.pop("data_fetch_files") == after.pop("data_prepare_files_scans") == 1
    assert after == before


def test_graph_can_be_drawn(project, snakemake):
    done = snakemake(project, "--rulegraph")
    assert done.returncode == 0
    assert "digraph snakemake_dag" in done.stdout


def test_figures_alone_have_no_producer_of_tables(project, snakemake):
    done = snakemake(project, "-n", "-s", "workflow/figures.smk")
    assert done.returncode == 1
    assert (
        "no tables of digits-smoke to draw from, neither data/tables/digits-smoke.p" in done.stdout
    )
    assert "run the experiment (make run EXPERIMENT=digits-smoke)" in done.stdout
