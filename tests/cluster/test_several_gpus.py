"""One training on several GPUs: one job, one task, all its processes in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from tests.cluster.conftest import (
    Start,
    Submission,
    edit_site,
    new_project,
    whole_batches_not_needed,
)
from tests.cluster.loopback import rule_of
from tests.processes import environment
from tests.workflow.conftest import SMOKE

from wiseft.base.io import read_json
from wiseft.thetas.theta import load_theta

BASELINE = "data/runs/digits-rn-smoke__mnist__from-scratch__n60-smoke/seed-0/theta_1.safetensors"


def test_two_gpus_of_one_node_share_every_batch(start_slurm: Start, tmp_path: Path):
    folder = new_project(tmp_path / "project")
    edit_site(folder, partition="cpu", gpu_partition="gpu")
    whole_batches_not_needed(folder)
    with (
        start_slurm(gpus=2) as slurm,
        Submission(folder, BASELINE, config=["training={how: {gpus: 2}}"]) as submission,
    ):
        assert submission.wait(280) == 0, submission.output[-6000:] + slurm.logs()
        (job,) = [job for job in slurm.jobs() if rule_of(job) == "baseline"]
    assert job["TresPerJob"] == "gres/gpu:2"
    assert (job["NumNodes"], job["NumTasks"], job["NumCPUs"]) == ("1", "1", "16")
    record = read_json(folder / BASELINE.replace("theta_1.safetensors", "training.json"), "record")
    assert record["processes"] == 2, "the processes that the task started"
    together = load_theta(folder / BASELINE).tensors
    (folder / BASELINE).unlink()
    alone = [sys.executable, "-m", "snakemake", BASELINE, "--cores", "1"]
    subprocess.run(
        [*alone, "--config", f"experiment={SMOKE}"], cwd=folder, env=environment(), check=True
    )
    for name, tensor in load_theta(folder / BASELINE).tensors.items():
        torch.testing.assert_close(together[name], tensor, rtol=1e-3, atol=1e-4)
