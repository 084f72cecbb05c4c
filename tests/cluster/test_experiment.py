"""The whole of the small experiment on a cluster: what is a job, and the same numbers as here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.cluster.conftest import Submission, edit_site, new_project
from tests.cluster.loopback import Loopback, rule_of
from tests.processes import environment
from tests.workflow.conftest import DIGITS, SMOKE

from wiseft.models.gpus import VISIBLE

TABLES = [f"data/tables/{SMOKE}.{suffix}" for suffix in ("csv", "comparisons.csv", "selection.csv")]
LEFT_OUT = "font_fjallaone-0.1.7-py3-none-any.whl"  # so that something is fetched
GPU_RULES = {"zeroshot", "finetune", "baseline", "evaluate_digits"}
CPU_RULES = {"glyphs", "pretrain", "interpolate", *(f"data_prepare_{name}" for name in DIGITS)}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which the experiment's tables were made on this machine, without Slurm.

    It is told of a GPU as Slurm tells its jobs: as many threads compute, which bits depend on.
    """
    folder = new_project(tmp_path_factory.mktemp("local") / "project")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *TABLES]
    subprocess.run(
        [*command, "--config", f"experiment={SMOKE}"],
        cwd=folder,
        env=environment() | {VISIBLE: "0"},
        check=True,
    )
    return folder


def test_the_experiment_gives_the_same_tables_on_slurm(
    slurm: Loopback, local: Path, tmp_path: Path
):
    folder = new_project(tmp_path / "project", without=LEFT_OUT)
    edit_site(folder, partition="cpu", gpu_partition="gpu")
    with Submission(folder) as submission:
        assert submission.wait(1200) == 0, submission.output[-6000:] + slurm.logs()
    for name in TABLES:
        assert (folder / name).read_bytes() == (local / name).read_bytes(), name
    jobs = slurm.jobs()
    assert {rule_of(job) for job in jobs} == GPU_RULES | CPU_RULES, "nothing that fetches or draws"
    for job in jobs:
        asked = job.get("TresPerJob"), job["Partition"]
        expected = ("gres/gpu:1", "gpu") if rule_of(job) in GPU_RULES else (None, "cpu")
        assert asked == expected, job
    assert (folder / "datasets" / ".packages" / LEFT_OUT).is_file()
    assert (folder / "results" / SMOKE / "summary.md").is_file()
    state = [path for path in (folder / ".wiseft" / "state").rglob("*") if path.is_file()]
    kept = [path for path in state if path.parent.name == "features"]  # for other trainings
    assert state == kept, "trainings that ended leave no state"
