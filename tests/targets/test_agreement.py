"""What `Targets` answers is what Snakemake plans, for every experiment."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tests.targets.planning import dry_run, rules_of
from tests.workflow.conftest import copy_project

from wiseft.study.config import Catalogue
from wiseft.study.plan import PEAKS, Assumptions, estimate
from wiseft.study.plan.doctor import examine
from wiseft.study.targets import Targets, jobs
from wiseft.study.targets.jobs import FEEDING

ROOT = Path(__file__).parents[2]
EXPERIMENTS = Catalogue(ROOT).names("experiments")
A100 = Assumptions("a100", PEAKS["a100"])


def targets_of(root: Path, experiment: str, **settings: object) -> Targets:
    return Targets.read(root, {"experiment": experiment, **settings})


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_files_and_jobs_are_those_of_the_workflow(project: Path, experiment: str) -> None:
    jobs = dry_run(project, experiment)
    targets = targets_of(project, experiment)
    (everything,) = (job for job in jobs if job.rule.name == "all")
    assert Counter(targets.files.wanted()) == Counter(map(str, everything.input))
    assert targets.jobs.by_rule() == rules_of(jobs)
    local = {"data_fetch", "data_fetch_files", "data_prompts", "weights"}
    fetched = [str(path) for job in jobs if job.rule.name in local for path in job.output]
    assert Counter(map(str, targets.files.fetched())) == Counter(fetched)


@pytest.mark.parametrize(
    "experiment", ["paper", "few-shot", "samples", "paper-datasets", "imagenet"]
)
def test_plan_counts_the_datasets_that_are_prepared(project: Path, experiment: str) -> None:
    jobs = dry_run(project, experiment)
    plan = estimate(targets_of(project, experiment), A100)
    rules = {"data_prepare", "data_prepare_files"}
    manifests = [Path(job.output[0]) for job in jobs if job.rule.name.startswith("data_prepare")]
    prepared = [manifest.parent.name for manifest in manifests]
    entries = [Catalogue(project).dataset(name) for name in prepared]
    gigabytes = sum(entry.disk_gb or 0 for entry in entries if entry.limit is None)
    if experiment == "samples":  # of ImageNet its validation images alone
        gigabytes -= 155 * 147_897_477_120 / (147_897_477_120 + 6_744_924_160)
    assert sum(plan.jobs.get(rule, 0) for rule in rules) == len(prepared)
    assert plan.disk_gb.get("datasets", 0) == pytest.approx(gigabytes)
    if experiment in ("paper", "few-shot"):
        assert prepared == [], "published and measured numbers need no images"


def test_what_figures_need_from_elsewhere_is_said_before_anything_runs(
    project: Path, tmp_path: Path
) -> None:
    def said(experiment: str, root: Path = project) -> str:
        return "\n".join(targets_of(root, experiment).jobs.notes())

    needed = said("few-shot")
    assert "lack measured numbers of" in needed and "few-shot-imagenet, few-shot-cifar10" in needed
    assert "experiment=pretraining-compute" in said("imagenet")
    assert "lack measured numbers of" not in said("coop")

    folder = copy_project(tmp_path / "project")
    compute = "pretraining-compute"
    assert "figure-20 is left out until config/pretraining-hours.csv is there" in said(compute)
    assert not [file for file in targets_of(folder, compute).files.wanted() if "figure-20" in file]
    (folder / "config" / "pretraining-hours.csv").write_text("model,gpu_hours\n")
    assert "figure-20" not in said(compute, folder)
    targets = targets_of(folder, compute)
    assert "results/pretraining-compute/figures/figure-20.png" in targets.files.wanted()
    jobs = dry_run(folder, compute)
    (figure,) = (job for job in jobs if job.rule.name == "figure")
    assert "config/pretraining-hours.csv" in map(str, figure.input)
    assert targets.jobs.by_rule() == rules_of(jobs)


@pytest.mark.parametrize(
    ("gpus", "cores", "threads"), [(0, 16, 1), (1, 2, 2), (1, 64, FEEDING), (4, 16, 4), (4, 2, 1)]
)
def test_a_job_on_a_gpu_has_threads_that_feed_it(project, monkeypatch, gpus, cores, threads):
    monkeypatch.setattr(jobs, "devices", lambda: [str(gpu) for gpu in range(gpus)])
    monkeypatch.setattr(jobs, "cores", lambda: cores)
    targets = targets_of(project, "imagenet")
    assert {targets.jobs.threads(rule) for rule in ("evaluate", "finetune", "search")} == {threads}
    assert targets_of(project, "imagenet", device="cpu").jobs.threads("evaluate") == 1


def test_caches_are_counted_at_the_size_of_each_model(project: Path) -> None:
    settings = {"datasets": {"cache": ["imagenet", "imagenet-a"]}}
    jobs = rules_of(dry_run(project, "independent-ensembles", **settings))
    targets = targets_of(project, "independent-ensembles", **settings)
    cached = {rule: count for rule, count in jobs.items() if rule.startswith("data_cache")}
    expected = {"data_cache_imagenet": 3, "data_cache_imagenet-a": 3}
    assert cached == expected, "two datasets, three models of different sizes"
    assert targets.jobs.by_rule() == jobs
    assert targets.jobs.by_stage()["data_cache"] == 6


def test_samples_need_only_the_split_that_they_are_drawn_from(project: Path) -> None:
    """ImageNet's training images are 147.9 GB."""
    found = examine(project, "samples")["experiment"]
    told = [sentence.split(":")[0] for sentence in found["bring"]]
    assert "dataset imagenet needs ILSVRC2012_img_val.tar (6.74 GB)" in told
    assert not [sentence for sentence in told if "img_train" in sentence]
    jobs = [j for j in dry_run(project, "samples") if j.rule.name == "data_fetch_files"]
    assert len(jobs) == 6
    assert {job.params.splits for job in jobs} == {"--split test"}


def test_doctor_names_what_the_workflow_would_make_again(finished: Path) -> None:
    """Predictions, comparisons, summary and page were not looked at once."""
    smoke = "digits-smoke"
    assert dry_run(finished, smoke) == []
    assert not named(finished)
    files = {kind.name: kind.files for kind in targets_of(finished, smoke).files.kinds}
    deleted = {
        files["predictions"][3],
        "data/tables/digits-smoke.comparisons.csv",
        "results/digits-smoke/summary.md",
        "results/digits-smoke/index.html",
    }
    for path in deleted:
        (finished / path).unlink()
    jobs = dry_run(finished, smoke)
    outputs = {str(path) for job in jobs for path in job.output}
    assert {path for path in outputs if not (finished / path).is_file()} == deleted
    assert named(finished) == deleted


def named(root: Path) -> set[str]:
    """Return the files that doctor says are missing."""
    missing = examine(root, "digits-smoke")["experiment"]["missing"]
    assert all(len(kind["files"]) == kind["missing"] for kind in missing.values())
    return {file for kind in missing.values() for file in kind["files"]}
