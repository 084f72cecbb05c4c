"""Jobs beside each other get different GPUs; a made-up list of GPUs stands in for real ones."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wiseft.errors import WiseftError
from wiseft.models import gpus

# A job: takes GPUs, says which and when, holds them for a while.
JOB = """
import json, os, sys, time
from wiseft.base.messages import shown
from wiseft.models import gpus
count, hold = int(sys.argv[1]), float(sys.argv[2])
with shown():
    gpus.choose(count)
began = time.monotonic()
time.sleep(hold)
print(json.dumps([os.environ[gpus.VISIBLE], began, time.monotonic()]), flush=True)
"""


@pytest.fixture
def started(tmp_path: Path):
    """Start jobs on a machine with a list of GPUs; those that still run are ended afterwards."""
    running: list[subprocess.Popen[str]] = []

    def start(count: int, hold: float, visible: str, **variables: str) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if name not in gpus.ALLOCATIONS}
        environment = kept | {gpus.VISIBLE: visible, gpus.LOCKS: str(tmp_path)} | variables
        job = subprocess.Popen(
            [sys.executable, "-c", JOB, str(count), str(hold)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(job)
        return job

    yield start
    for job in running:
        job.kill()
        job.communicate()


def outcome(job: subprocess.Popen[str]) -> tuple[set[str], float, float]:
    """Return the GPUs that a job had, and when it had them."""
    output, errors = job.communicate(timeout=60)
    assert job.returncode == 0, errors
    names, began, ended = json.loads(output)
    return set(names.split(",")), began, ended


def taken(folder: Path) -> int:
    """Return how many of the GPUs a to d are locked, by trying each of them."""
    locked = 0
    for name in "abcd":
        handles = gpus._try(1, [name], folder)
        locked += handles is None
        gpus._close(handles or {})
    return locked


def wait_until_taken(count: int, folder: Path) -> None:
    for _ in range(600):
        if taken(folder) == count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{count} GPUs were not taken within 30 s")


def wait_for_line(job: subprocess.Popen[str], text: str) -> None:
    assert job.stderr
    assert text in job.stderr.readline()


def test_jobs_beside_each_other_get_different_gpus(started):
    jobs = [started(1, 0.6, "a,b,c,d") for _ in range(6)]
    had = [outcome(job) for job in jobs]
    assert all(len(names) == 1 and names <= set("abcd") for names, _, _ in had)
    for (one, from_1, to_1), (other, from_2, to_2) in itertools.combinations(had, 2):
        if from_1 < to_2 and from_2 < to_1:
            assert one.isdisjoint(other), "two jobs had a GPU at the same time"
    # Of six jobs on four GPUs, at least two began after another had ended.
    first_end = min(end for _, _, end in had)
    assert sum(began >= first_end for _, began, _ in had) >= 2


def test_several_are_taken_all_or_none_and_in_turn(started, tmp_path):
    """One job holds a GPU; who wants all four waits with none, and is not overtaken."""
    holder = started(1, 60, "a,b,c,d")
    wait_until_taken(1, tmp_path)
    wants_all = started(4, 0.2, "a,b,c,d")
    wait_for_line(wants_all, "waiting for 4 of 4 GPUs; last taken by: a (process")
    # The lowest of several looks: it tries them all now and then, for a moment.
    held = min(taken(tmp_path) for _ in range(5))
    assert held == 1, "it holds some while it waits for the others"
    wants_one = started(1, 0.1, "a,b,c,d")
    wait_for_line(wants_one, "waiting for 1 of 4 GPUs")
    holder.send_signal(signal.SIGKILL)  # a killed job lets go
    everything, _, ended = outcome(wants_all)
    assert everything == {"a", "b", "c", "d"}
    _, began, _ = outcome(wants_one)
    assert began >= ended


def test_gpus_of_another_allocation_are_others(started, tmp_path):
    """Two jobs of a cluster both have a GPU 0, each its own: neither waits for the other."""
    first = started(1, 60, "0", SLURM_JOB_ID="7")
    while not any(tmp_path.iterdir()):
        assert first.poll() is None
        time.sleep(0.05)
    outcome(started(1, 0, "0", SLURM_JOB_ID="8"))
    assert first.poll() is None, "it still has its GPU"


def test_more_than_there_are_is_one_sentence(started):
    job = started(3, 0, "a,b")
    _, errors = job.communicate(timeout=60)
    assert "3 GPUs are asked for, but there are 2 here (CUDA_VISIBLE_DEVICES: a,b)" in errors
    assert job.returncode == 1


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        ("0,1", ["0", "1"]),
        ("GPU-3f, MIG-7", ["GPU-3f", "MIG-7"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("2,-1,3", ["2"]),
    ],
)
def test_visible_devices_are_read_as_cuda_does(monkeypatch, visible, found):
    monkeypatch.setenv(gpus.VISIBLE, visible)
    assert gpus.devices() == found


@pytest.mark.parametrize(
    ("script", "found"),
    [
        (
            "echo 'GPU 0: NVIDIA A (UUID: GPU-1)'; echo '  MIG 1g'; echo 'GPU 1: NVIDIA A'",
            ["0", "1"],
        ),
        ("echo 'GPU 0: no driver'; exit 9", []),
    ],
)
def test_gpus_are_those_that_nvidia_smi_lists(monkeypatch, tmp_path, script, found):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    gpus._listed.cache_clear()
    try:
        assert gpus.devices() == found
    finally:
        gpus._listed.cache_clear()


def test_without_a_gpu_nothing_changes(monkeypatch, tmp_path):
    monkeypatch.setenv(gpus.VISIBLE, "")
    monkeypatch.setenv(gpus.LOCKS, str(tmp_path))
    assert gpus.choose(1) == []
    assert os.environ[gpus.VISIBLE] == ""
    assert not list(tmp_path.iterdir())


def test_locks_can_be_switched_off(monkeypatch):
    monkeypatch.setenv(gpus.VISIBLE, "0,1")
    monkeypatch.setenv(gpus.LOCKS, "off")
    assert gpus.choose(1) == []
    assert os.environ[gpus.VISIBLE] == "0,1"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(WiseftError, match=rf"{file}.*WISEFT_GPU_LOCKS"):
        gpus.acquire(1, ["0"], file / "locks")


def test_a_command_chooses_before_torch_asks_for_devices(monkeypatch):
    """CUDA reads the variable once, when it is first asked. A program that calls the library has
    devices of its own."""
    import torch

    from wiseft.cli.options import start_job
    from wiseft.models.runtime import start_torch

    calls: list[str] = []
    monkeypatch.setattr(torch.version, "cuda", "12.0")
    monkeypatch.setattr(gpus, "choose", lambda count: calls.append(f"choose {count}"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(calls.append("asked")))
    assert start_job(1, "auto").type == "cpu"
    assert start_job(1, "cpu").type == "cpu"
    assert calls == ["choose 1", "asked"]
    assert start_torch(1, "auto").type == "cpu"
    assert calls == ["choose 1", "asked", "asked"]


def test_importing_the_stages_does_not_ask_cuda():
    """Whatever asked it at import would fix the devices before a job chose its own."""
    code = (
        "import torch\n"
        "def asked(*_): raise SystemExit('CUDA was asked at import')\n"
        "torch.cuda.is_available = torch.cuda.device_count = asked\n"
        "import wiseft.study.finetune, wiseft.evaluate, wiseft.zeroshot, open_clip, timm\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_workflow_runs_as_many_jobs_as_there_are_gpus(tmp_path, monkeypatch):
    """Snakemake counts, the jobs choose: six jobs with gpu=1 on three GPUs."""
    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "Snakefile").write_text(
        "rule all:\n    input: expand('{n}.json', n=range(6))\n"
        "rule job:\n    output: '{n}.json'\n    resources: gpu=1\n"
        f"    shell: '{sys.executable} job.py 1 0.5 > {{output}}'\n"
    )
    environment = os.environ | {gpus.VISIBLE: "0,1,2", gpus.LOCKS: str(tmp_path / "locks")}
    counted = subprocess.run(
        [sys.executable, "-m", "wiseft.models.gpus"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert counted == "3"
    command = [sys.executable, "-m", "snakemake", "--cores", "6", "--resources", f"gpu={counted}"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    had = [json.loads((tmp_path / f"{n}.json").read_text()) for n in range(6)]
    assert {name for name, _, _ in had} == {"0", "1", "2"}
    for (one, from_1, to_1), (other, from_2, to_2) in itertools.combinations(had, 2):
        assert one != other or to_1 <= from_2 or to_2 <= from_1
