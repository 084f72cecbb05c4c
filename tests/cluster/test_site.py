"""What a site may demand: refused before the first job, in one sentence."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.cluster.conftest import Start, Submission, edit_site

TARGET = "datasets/optdigits/manifest.json"
DEMAND = """\
function slurm_job_submit(job, partitions, uid)
  if job.account == nil then
    slurm.user_msg("Specify an account with --account")
    return slurm.ESLURM_INVALID_ACCOUNT
  end
  return slurm.SUCCESS
end
function slurm_job_modify(job, record, partitions, uid)
  return slurm.SUCCESS
end
return slurm.SUCCESS
"""


def refusal(folder: Path) -> str:
    """Submit a target; return what is said, after a check that this is soon and nothing runs."""
    began = time.monotonic()
    with Submission(folder, TARGET) as submission:
        assert submission.wait(120) == 1, submission.output
    assert "SLURM run ID" not in submission.output, f"tried after {time.monotonic() - began:.0f} s"
    return submission.output


def test_a_partition_that_must_be_given_is_asked_for(start_slurm: Start, project: Path):
    with start_slurm(default=False) as slurm:
        said = refusal(project)
        assert "error: profiles/slurm: this cluster refuses a job without a GPU" in said
        assert "Set `partition`" in said
        edit_site(project, partition="cpu", gpu_partition="misspelt")
        said = refusal(project)
        assert (
            "refuses a job with a GPU (sbatch --partition=misspelt --gpus=1 --cpus-per-task="
            in said
        )
        edit_site(project, gpu_partition="gpu")
        with Submission(project, TARGET) as submission:
            assert submission.wait() == 0, submission.output[-6000:]
        assert [job["Partition"] for job in slurm.jobs()] == ["cpu"]


def test_an_account_that_must_be_given_is_asked_for(start_slurm: Start, project: Path):
    plugins = Path("/usr/lib").glob("*/slurm-wlm/job_submit_lua.so")
    if not any(plugins):
        pytest.skip("this Slurm has no job_submit/lua")
    with start_slurm(files={"job_submit.lua": DEMAND}, extra="JobSubmitPlugins=lua") as slurm:
        said = refusal(project)
        assert "Set `account`" in said
        assert "sacctmgr" in said
        assert not slurm.jobs()


def test_a_controller_that_forgets_jobs_too_soon_is_refused(start_slurm: Start, project: Path):
    with start_slurm(min_job_age=60):
        assert "forgets a finished job after 60 s (MinJobAge)" in refusal(project)
