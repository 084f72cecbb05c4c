"""Many short evaluations become few submissions."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from tests.cluster.conftest import Submission, edit, edit_site, new_project
from tests.cluster.loopback import Loopback
from tests.workflow.conftest import SMOKE, copy_project, job_counts, run_snakemake

MODEL = "digits-rn-smoke"
RUN = f"{MODEL}__mnist__from-scratch__n60-smoke"
OWN_SUITES = ("optdigits", "mfeat", "pendigits")


def give_datasets_their_own_suites(folder: Path) -> None:
    for name in OWN_SUITES:
        edit(folder / "config" / "datasets" / f"{name}.yaml", {r"^suite: digits\n": ""})


def group_jobs(slurm: Loopback) -> list[dict[str, str]]:
    return [job for job in slurm.jobs() if "_evaluate-" in job.get("Comment", "")]


def test_a_run_is_evaluated_on_three_datasets_in_one_submission(slurm: Loopback, tmp_path: Path):
    folder = new_project(tmp_path / "project")
    give_datasets_their_own_suites(folder)
    edit_site(
        folder, gpu_partition="gpu", evaluations_per_job=5, resources="{evaluate: {runtime: 10}}"
    )
    metrics = [f"data/runs/{RUN}/seed-0/evaluate/{name}/metrics.json" for name in OWN_SUITES]
    with Submission(folder, *metrics) as submission:
        assert submission.wait() == 0, submission.output[-6000:] + slurm.logs()
    assert all((folder / path).is_file() for path in metrics)
    (job,) = group_jobs(slurm)
    assert job["TresPerJob"] == "gres/gpu:1", "one after another, so one GPU"
    assert job["TimeLimit"] == "00:30:00", "the sum of its members' times"
    assert job["Partition"] == "gpu"


def test_a_thousand_evaluations_become_fifty_submissions(slurm: Loopback, tmp_path: Path):
    """They wait in a closed partition, since a thousand evaluations would take an hour here."""
    folder = new_project(tmp_path / "project")
    give_datasets_their_own_suites(folder)
    runs = make_grid(folder, seeds=9, previews=100)
    edit_site(
        folder, gpu_partition="gpu", evaluations_per_job=25, resources="{evaluate: {runtime: 2}}"
    )
    slurm.run("scontrol", "update", "PartitionName=gpu", "State=DOWN")
    before = {job["JobId"] for job in group_jobs(slurm)}
    began = time.monotonic()

    def waiting() -> list[dict[str, str]]:
        jobs = [job for job in group_jobs(slurm) if job["JobId"] not in before]
        return [job for job in jobs if job["JobState"] == "PENDING"]

    with Submission(folder, "tables", experiment="many") as submission:
        submission.until(lambda: len(waiting()) >= 50, "fifty submissions")
        print(f"1,010 evaluations in 50 submissions: {time.monotonic() - began:.0f} s")
        time.sleep(5)
        jobs = waiting()
        assert "evaluate_optdigits-limit50" in submission.output
    slurm.run("scontrol", "update", "PartitionName=gpu", "State=UP")
    assert len(jobs) == 50
    assert {job["TresPerJob"] for job in jobs} == {"gres/gpu:1"}
    # 101 suites of each of 10 runs, 25 to a submission: four of 25, one of one
    limits = Counter(job["TimeLimit"] for job in jobs)
    assert limits == {"00:50:00": 4 * len(runs), "00:02:00": len(runs)}
    assert not waiting(), "an interrupted Snakemake cancels what it submitted"


@pytest.mark.slow
def test_of_the_grid_nothing_but_evaluations_and_tables_is_made(tmp_path: Path):
    """In a clean clone too: its packages are empty files, which no job may read."""
    folder = copy_project(tmp_path / "project")
    give_datasets_their_own_suites(folder)
    make_grid(folder, seeds=1, previews=2)
    planned = run_snakemake(folder, "-n", "tables", experiment="many").stdout
    kinds = {rule.partition("_")[0] for rule in job_counts(planned)}
    assert kinds == {"evaluate", "tabulate", "effective", "tables"}


def make_grid(folder: Path, seeds: int, previews: int) -> list[str]:
    """Write an experiment of `seeds` + 1 runs on mnist and previews; all its inputs are empty.

    Returns:
        the runs.
    """
    entry = yaml.safe_load((folder / "config" / "experiments" / f"{SMOKE}.yaml").read_text())
    half = previews // 2
    names = [f"{name}-limit{n}" for name in ("optdigits", "mfeat") for n in range(1, half + 1)]
    entry.update(
        experiment="many",
        datasets=["mnist", *names],
        methods=["end-to-end__digits-smoke"],
        seeds=list(range(seeds)),
        baselines={"model": MODEL, "methods": ["from-scratch__n60-smoke"], "seeds": [0]},
        averages={"shifts": names[:2]},
        figures={},
        interpolate=[],
    )
    (folder / "config" / "experiments" / "many.yaml").write_text(yaml.safe_dump(entry))
    data, model = folder / "data", f"{MODEL}-s0"
    tuned = [f"{model}__mnist__end-to-end__digits-smoke/seed-{seed}" for seed in range(seeds)]
    runs = [*tuned, f"{RUN}/seed-0"]
    packages = yaml.safe_load((folder / "config" / "packages.yaml").read_text())["packages"]
    datasets = folder / "datasets"
    levels = [
        [datasets / ".packages" / package["file"] for package in packages.values()],
        [datasets / name / "manifest.json" for name in ("mnist", "optdigits", "mfeat")],
        [datasets / name / "manifest.json" for name in names],
        [datasets / "glyphs" / MODEL / "glyphs.safetensors"],
        [data / "models" / model / "weights.safetensors"],
        [data / "models" / model / "mnist" / "theta_0.safetensors"],
        [data / "runs" / run / "theta_1.safetensors" for run in runs],
    ]
    now = time.time()
    for path in (folder / "config" / "models").iterdir():  # older, in a clone of this minute too
        os.utime(path, (now - 2000, now - 2000))
    for level, paths in enumerate(levels):
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.utime(path, (now - 1000 + level, now - 1000 + level))
    return runs
