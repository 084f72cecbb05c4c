"""One submission of a small target: what becomes a job of Slurm, and what it asks for."""

from __future__ import annotations

import os
from pathlib import Path

from tests.cluster.conftest import Submission, edit_site, new_project
from tests.cluster.loopback import ETC, FILES, Loopback, rule_of

BASELINE = "data/runs/digits-rn-smoke__mnist__from-scratch__n60-smoke/seed-0/theta_1.safetensors"


def test_gpu_rules_queue_for_the_gpu_and_fetches_stay_here(slurm: Loopback, tmp_path: Path):
    folder = new_project(tmp_path / "project", without="mnist.zip")
    edit_site(folder, partition="cpu", gpu_partition="gpu")
    with Submission(folder, BASELINE) as submission:
        assert submission.wait(280) == 0, submission.output[-6000:] + slurm.logs()
    assert (folder / BASELINE).is_file()
    assert (folder / "datasets" / ".packages" / "mnist.zip").is_file(), "fetched, but not by a job"
    jobs = {rule_of(job): job for job in slurm.jobs()}
    assert set(jobs) == {"data_prepare_mnist", "baseline"}
    assert jobs["baseline"]["TresPerJob"] == "gres/gpu:1"
    assert jobs["baseline"]["Partition"] == "gpu"
    assert "TresPerJob" not in jobs["data_prepare_mnist"]
    assert jobs["data_prepare_mnist"]["Partition"] == "cpu"
    assert {job["JobState"] for job in jobs.values()} == {"COMPLETED"}
    assert {job["Requeue"] for job in jobs.values()} == {"1"}


def test_a_stopped_slurm_leaves_nothing_behind(slurm: Loopback):
    """Runs last in this file: it stops the file's Slurm."""
    pids = {*slurm.pids, *(int(path.read_text()) for path in slurm.folder.glob("run/*.pid"))}
    assert len(pids) == 4, "munged, slurmctld and two slurmd"
    assert all((ETC / name).is_symlink() for name in FILES)
    slurm.stop()
    assert not [pid for pid in pids if Path("/proc", str(pid)).exists()]
    assert not [name for name in FILES if os.path.lexists(ETC / name)]
