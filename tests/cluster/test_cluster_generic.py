"""The profile for any cluster, over a queue on this machine that has the commands of PBS."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.cluster.conftest import Submission

pytest.importorskip(
    "snakemake_executor_plugin_cluster_generic",
    reason="cluster-generic is not installed; make test-storage installs it",
)
pytestmark = pytest.mark.slow

PROFILE = "profiles/cluster-generic"
PREPARED = "datasets/mnist/manifest.json"
BASELINE = "data/runs/digits-rn-smoke__mnist__from-scratch__n60-smoke/seed-0/theta_1.safetensors"
QUEUE = {
    # Starts a script, the last argument, beside this and prints an id: a folder. One script, where
    # a file asks for it, is killed after a second with all that it started, as when a node fails.
    "qsub": """\
for script; do :; done
job=$(mktemp -d "$QUEUE/job.XXXX")
echo "$*" > "$job/asked"
cp "$script" "$job/script"
seconds=600
! rm "$QUEUE/node-fails" 2> /dev/null || seconds=1
{
    timeout --signal=KILL $seconds "$script" > "$job/output" 2>&1 &
    echo $! > "$job/pid"
    wait $!
    echo $? > "$job/code"
} > /dev/null &
echo "$job"
""",
    "qdel": """\
for job; do kill "$(cat "$job/pid")"; done
""",
    "state": """\
case $(cat "$1/code" 2> /dev/null) in "") echo running ;; 0) echo success ;; *) echo failed ;; esac
""",
}


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a queue, with a folder for each of its jobs; its commands are on the path."""
    commands, jobs = tmp_path / "commands", tmp_path / "queue"
    commands.mkdir()
    jobs.mkdir()
    for name, script in QUEUE.items():
        (commands / name).write_text("#!/bin/bash\n" + script)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    monkeypatch.setenv("QUEUE", str(jobs))
    return jobs


def submission(project: Path, target: str, *options: str) -> Submission:
    seconds = ("--seconds-between-status-checks", "1")
    return Submission(project, target, *options, *seconds, profile=PROFILE)


def codes(queue: Path) -> list[int]:
    """Return how the jobs ended, in the order of their ends."""
    ends = sorted(queue.glob("*/code"), key=lambda path: path.stat().st_mtime)
    return [int(path.read_text()) for path in ends]


def test_a_small_target_with_the_profile_as_it_is(queue: Path, project: Path):
    with submission(project, BASELINE, "--set-resources", "baseline:gpu=1") as run:
        assert run.wait() == 0, run.output[-6000:]
    assert (project / BASELINE).is_file()
    jobs = sorted(queue.iterdir(), key=lambda job: (job / "code").stat().st_mtime)
    scripts, asked = ([(job / name).read_text() for job in jobs] for name in ("script", "asked"))
    assert ["data_prepare_mnist" in scripts[0], "baseline" in scripts[1]] == [True, True]
    assert [":ngpus=0 -l " in asked[0], ":ngpus=1 -l " in asked[1]] == [True, True]
    assert codes(queue) == [0, 0], "and fetching was no job"


def test_a_job_whose_node_fails_is_submitted_again(queue: Path, project: Path):
    (queue / "node-fails").touch()
    with submission(project, PREPARED, "--cluster-generic-status-cmd", "state") as run:
        assert run.wait() == 0, run.output[-6000:]
    assert (project / PREPARED).is_file()
    assert codes(queue) == [128 + signal.SIGKILL, 0]


def test_interrupting_the_run_cancels_its_jobs(queue: Path, project: Path):
    with submission(project, PREPARED) as run:
        run.until(lambda: bool(list(queue.glob("*/pid"))), "job")
        run.process.send_signal(signal.SIGINT)
        assert run.wait() != 0
    assert not (project / PREPARED).exists()
    assert [code != 0 for code in codes(queue)] == [True]
