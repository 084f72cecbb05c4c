"""A training longer than a job may take: the workflow continues it in further jobs by itself."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.processes import environment
from tests.workflow.conftest import SMOKE

from wiseft.study.plan.resources import LONGEST

pytestmark = pytest.mark.slow

THETA = f"data/runs/digits-rn-smoke-s0__mnist__end-to-end__{SMOKE}/seed-0/theta_1.safetensors"
MINUTE, ENDED = "QUEUE_MINUTE", "ended.json"
AT = 10  # steps, of 32, after which the training takes longer than it may
# The cross-entropy; while a file says so, it fails once, and waits once for the end of its job.
LOSS = f"""
import itertools
import signal
import time
from pathlib import Path

from wiseft.study.finetune.objectives import cross_entropy
from wiseft.study.finetune.objectives.cross_entropy import Options as Options


def make(settings, model, start):
    plain, steps = cross_entropy.make(settings, model, start), itertools.count()
    fails, waits = Path("fails"), Path("waits")

    def loss(model, batch):
        if fails.exists():
            fails.unlink()
            raise RuntimeError("an error of the machine")
        if next(steps) == {AT} and waits.exists():
            waits.unlink()
            while not signal.getsignal(signal.SIGTERM).signum:
                time.sleep(0.05)
        return plain(model, batch)

    return loss
"""
# A batch system: it ends each job at the time limit that the job asked for, in minutes of its own.
QUEUE = f"""
import json
import os
import subprocess
from pathlib import Path

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    auto_deploy_default_storage_provider=False,
)


class Executor(RemoteExecutor):
    def __post_init__(self):
        self.ended = []

    def run_job(self, job):
        script = self.get_jobscript(job)
        self.write_jobscript(job, script)
        seconds = job.resources.runtime * float(os.environ["{MINUTE}"])
        process = subprocess.Popen(["timeout", str(seconds), script])
        self.report_job_submission(SubmittedJobInfo(job, str(process.pid), {{"process": process}}))

    async def check_active_jobs(self, active_jobs):
        for submitted in active_jobs:
            code = submitted.aux["process"].poll()
            if code is None:
                yield submitted
                continue
            self.ended.append((code, Path(submitted.job.log[0]).read_text()))
            Path("{ENDED}").write_text(json.dumps(self.ended))
            (self.report_job_error if code else self.report_job_success)(submitted)

    def cancel_jobs(self, active_jobs):
        for submitted in active_jobs:
            submitted.aux["process"].terminate()
"""
TIMED_OUT = 124  # of `timeout`


def train(folder: Path, *options: str, **variables: str) -> str:
    """Make theta_1 with the project's own package; return what Snakemake said."""
    command = [sys.executable, "-m", "snakemake", THETA, "--config", f"experiment={SMOKE}"]
    done = subprocess.run(
        [*command, *options],
        cwd=folder,
        env={**environment(), "PYTHONPATH": str(folder / "src"), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


def test_stopped_by_its_time_limit_a_training_ends_with_the_same_weights(continued: Path):
    folder = continued
    method = folder / "config" / "methods" / "end-to-end.yaml"
    text = method.read_text()
    method.write_text(text.replace("digits-smoke:\n", "digits-smoke:\n    loss: waiting\n", 1))
    (folder / "src/wiseft/study/finetune/objectives/waiting.py").write_text(LOSS)
    queue = folder / "snakemake_executor_plugin_queue"
    queue.mkdir()
    (queue / "__init__.py").write_text(QUEUE)
    submitted = ("--executor", "queue", "--jobs", "1", "--seconds-between-status-checks", "1")

    began = time.monotonic()
    train(folder, *submitted, **{MINUTE: "60"})
    limit = 1.5 * (time.monotonic() - began)  # enough for a job, whatever else the machine does
    theta = folder / THETA
    unchained = theta.read_bytes()
    theta.unlink()

    for name in ("fails", "waits"):
        (folder / name).touch()
    said = train(folder, *submitted, **{LONGEST: "1", MINUTE: str(limit)})
    assert "and a job 0.0166667 h at most. Up to 21 jobs continue each other" in said
    codes, logs = zip(*json.loads((folder / ENDED).read_text()), strict=True)
    failed, *stopped, ended = codes
    assert failed == 1, "a job does not try again by itself what the workflow tries again"
    assert stopped and set(stopped) == {TIMED_OUT} and ended == 0
    assert any("resuming after step" in log for log in logs)
    assert theta.read_bytes() == unchained
