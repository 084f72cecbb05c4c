"""Several processes on a CPU train what one does, and end together."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from wiseft.base.io import read_json
from wiseft.base.messages import shown
from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.study.config.machine import HowSettings
from wiseft.study.finetune import finetune as stage
from wiseft.study.finetune import parallel, trainer
from wiseft.study.finetune.parallel import Team, team
from wiseft.study.finetune.state import Interrupted
from wiseft.study.finetune.trainer import Execution
from wiseft.thetas.theta import load_theta

CPU = torch.device("cpu")
SGD = {"optimiser": "sgd", "learning_rate": 0.01}


def tensors(outputs):
    return load_theta(outputs.theta_1).tensors


def furthest(a, b):
    assert a.keys() == b.keys()
    return max(float((a[key] - b[key]).abs().max()) for key in a)


@pytest.fixture
def together(fork, wait):
    """Run a function of a team in several processes as torchrun starts them; return exit codes."""

    def run(size, work):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]

        def process(rank):
            os.environ.update(
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE=str(size),
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=str(port),
            )
            with team(CPU) as (of, device):
                assert device == CPU
                work(of)

        processes = [fork(lambda rank=rank: process(rank)) for rank in range(size)]
        return [wait(process) for process in processes]

    return run


@pytest.mark.parametrize(
    ("size", "changes", "keys"),
    [
        # Adam makes whole steps of gradients that are all rounding: differences are of its rate.
        (2, {"learning_rate": 1e-4}, {}),
        (2, SGD, {"micro_batch": 3, "workers": 1}),
        (3, SGD | {"l2_to_start": 1e-2, "label_smoothing": 0.1}, {}),
        # The last batch of an epoch has 2 samples: a process has none of it.
        (3, SGD | {"batch_size": 9}, {}),
        (2, SGD | {"precision": "bf16"}, {}),
        (2, {"trainable": "head"}, {}),
        (2, SGD | {"ema": {"decay": 0.9}}, {}),
    ],
)
def test_processes_train_what_one_does(train, settings, together, size, changes, keys):
    chosen = settings(**changes)
    alone = train(chosen, name="alone")
    codes = together(size, lambda of: train(chosen, execution=Execution(HowSettings(**keys), of)))
    assert codes == [0] * size
    apart = furthest(tensors(alone), tensors(train.outputs()))
    assert apart < (1e-5 if chosen.precision == "fp32" else 1e-3)
    lines = [outputs.curve.read_text().splitlines() for outputs in (alone, train.outputs())]
    assert len(lines[0]) == len(lines[1]) == 10
    assert furthest(load_theta(train.theta_0).tensors, tensors(alone)) > 3e-4


def test_only_the_leader_writes_and_speaks(train, settings, together, tmp_path):
    outputs = {rank: train.outputs(f"rank-{rank}") for rank in (0, 1)}

    def work(of):
        log = tmp_path / f"log-{of.rank}"
        with shown(lambda line: log.open("a").write(f"{line}\n")):
            found = stage.finetune(
                train.theta_0,
                train.manifest,
                settings(),
                0,
                outputs[of.rank],
                execution=Execution(HowSettings(), of),
            )
        assert (found is None) == (of.rank == 1)

    assert together(2, work) == [0, 0]
    assert outputs[0].theta_1.exists()
    assert not outputs[1].theta_1.parent.exists()
    assert "takes 8 images (2 processes of 4 each, fp32)" in (tmp_path / "log-0").read_text()
    assert not (tmp_path / "log-1").exists()


def test_all_resume_from_the_state_of_the_leader(train, settings, together):
    chosen = settings()

    def whole(of):
        train(chosen, name="whole", execution=Execution(HowSettings(), of))

    def killed(of):
        step = trainer._Loop._step

        def deadly(self, index, *rest):
            if index == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(self, index, *rest)

        trainer._Loop._step = deadly
        train(chosen, name=f"rank-{of.rank}", execution=Execution(HowSettings(), of))

    def again(of):
        # The second process has a folder of its own, without any state.
        own = train(chosen, name=f"rank-{of.rank}", execution=Execution(HowSettings(), of))
        if of.leads:
            assert "resuming after step 4" in train.log
            assert own.theta_1.exists()

    assert together(2, whole) == [0, 0]
    assert together(2, killed) == [-signal.SIGKILL] * 2
    assert [f.name for f in train.outputs("rank-0").state.glob("*4.json")]
    assert not train.outputs("rank-1").state.exists()
    assert together(2, again) == [0, 0]
    assert furthest(tensors(train.outputs("whole")), tensors(train.outputs("rank-0"))) == 0


def test_a_signal_to_one_process_ends_all_after_the_same_step(train, settings, together):
    def work(of):
        report = stage.Progress.__call__

        def signalled(self, step, *rest):
            report(self, step, *rest)
            if step == 3 and not of.leads:
                os.kill(os.getpid(), signal.SIGTERM)

        stage.Progress.__call__ = signalled
        with pytest.raises(Interrupted, match="SIGTERM ended the training after step 4 of 9"):
            train(settings(checkpoint_every=100), execution=Execution(HowSettings(), of))

    assert together(2, work) == [0, 0]
    assert [f.name for f in train.outputs().state.glob("*.json")] == ["step-000000004.json"]


def test_a_process_that_dies_is_noticed_by_the_others(train, settings, together, capfd):
    began = time.monotonic()

    def work(of):
        step = trainer._Loop._step

        def deadly(self, index, *rest):
            if index == 4 and not of.leads:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(self, index, *rest)

        trainer._Loop._step = deadly
        train(settings(), execution=Execution(HowSettings(), of))

    assert together(2, work) == [1, -signal.SIGKILL]
    assert time.monotonic() - began < 60
    assert "process 0 lost contact with the others: one of them died" in capfd.readouterr().err
    assert not train.outputs().theta_1.exists()


def test_batch_statistics_and_several_processes_are_refused(train, settings, together, capfd):
    def work(of):
        train(settings(batch_norm="train"), execution=Execution(HowSettings(), of))

    assert together(2, work) == [1, 1]
    assert "gpus is 2, but with batch_norm: train the statistics" in capfd.readouterr().err


def test_gradients_are_summed_in_buckets(together, monkeypatch):
    """Layouts may differ in memory; a parameter that no process uses keeps no gradient."""
    monkeypatch.setattr(parallel, "_BUCKET", 10)

    def work(of):
        shapes = [(2, 3), (4, 2, 2, 2), (1,), (5,), ()]
        parameters = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
        expected = [torch.arange(p.numel()).view(p.shape) * 3.0 for p in parameters]
        for parameter, whole in zip(parameters[:-1], expected, strict=False):
            parameter.grad = whole * (of.rank + 1) / 3
        parameters[1].grad = parameters[1].grad.contiguous(memory_format=torch.channels_last)
        if of.rank == 1:
            parameters[3].grad, expected[3] = None, expected[3] / 3
        else:
            expected[3] = expected[3] / 3
        of.sum_gradients(parameters, some_idle=True)
        for parameter, whole in zip(parameters[:-1], expected, strict=False):
            torch.testing.assert_close(parameter.grad, whole)
        assert parameters[-1].grad is None

    assert together(2, work) == [0, 0]


def test_tensors_and_numbers_are_shared(together):
    def work(of):
        own = {
            "a": torch.tensor([[1.5, 2.5]]).t(),
            "scalar": torch.tensor(7),
            "half": torch.ones(3, dtype=torch.bfloat16),
            "none": torch.empty(0, 4),
        }
        assert of.share(None) is None
        found = of.share(own if of.leads else None)
        assert found.keys() == own.keys()
        assert all(torch.equal(found[key], own[key]) for key in own)
        assert of.sum(of.rank + 1, 0.5) == [6, 1.5]
        assert of.largest(of.rank, -of.rank) == [2, 0]

    assert together(3, work) == [0, 0, 0]


def test_the_leader_goes_first(together, tmp_path):
    def work(of):
        with of.leader_first():
            if of.leads:
                time.sleep(0.3)
                (tmp_path / "kept").touch()
            assert (tmp_path / "kept").exists()

    assert together(3, work) == [0, 0, 0]


def test_one_process_is_a_team_that_changes_nothing():
    alone = Team()
    assert alone.leads
    assert alone.part(5) == slice(0, 5)
    assert alone.sum(1.5, 2.0) == [1.5, 2.0]
    own = {"a": torch.ones(1)}
    assert alone.share(own) == own
    with alone.leader_first(), team(CPU) as (of, device):
        assert (of, device) == (alone, CPU)


def test_more_processes_than_gpus_are_told(monkeypatch):
    for name, value in {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with (
        pytest.raises(WiseftError, match=r"finds 2 GPUs; set training\.how\.gpus .* to 2 at most"),
        team(torch.device("cuda")),
    ):
        pass


def test_the_command_starts_its_processes(train, settings, tmp_path):
    alone, chosen = train(settings(**SGD), name="alone"), settings(**SGD)
    record, name = tmp_path / "record.json", "tiny__toy__tune__short/seed-0"
    how = ["--how", '{"gpus": {"tiny": 1, "tiny/tune__short": 2}}', "--record", str(record)]
    with pytest.raises(SystemExit) as left:
        main(train.command(chosen, *how, name=name))
    assert left.value.code == 0
    assert furthest(tensors(alone), tensors(train.outputs(name))) < 1e-5
    assert read_json(record)["processes"] == read_json(record)["how"]["gpus"] == 2


def test_a_number_of_gpus_starts_as_many_processes_of_the_same_command(
    train, settings, monkeypatch
):
    calls = []
    monkeypatch.setattr(parallel, "launch", lambda *given: calls.append(given) or 3)
    command = train.command(settings(), "--how", '{"gpus": 2}', "--threads", "4")
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == 3, "that of the processes"
    ((words, processes, threads),) = calls
    assert (processes, threads) == (2, 4)
    assert words[0] == "finetune" and sorted(words) == sorted(command)


def test_a_mapping_of_gpus_goes_by_the_names_of_the_run(train, settings, capsys):
    how = HowSettings.model_validate({"gpus": {"m": 2, "tune": 3, "m/tune": 8}})
    pairs = [("m", "tune"), ("m", "other"), ("n", "tune"), ("n", "other")]
    assert [how.gpus_of(*pair) for pair in pairs] == [8, 2, 3, 1]
    assert HowSettings(gpus=4).gpus_of("m", "tune") == 4
    with pytest.raises(SystemExit) as left:
        main(train.command(settings(), "--how", '{"gpus": {"m": 2}}'))
    assert left.value.code == 1
    assert "theta_1.safetensors lies in no folder of a run" in capsys.readouterr().err
    assert not train.outputs().theta_1.exists()


SCRIPT = """
import os, sys
from wiseft.study.finetune import trainer
step = trainer._Loop._step
def deadly(self, index, *rest):
    if index == 4 and os.environ["RANK"] == "1":
        raise ZeroDivisionError("a defect of one process")
    return step(self, index, *rest)
trainer._Loop._step = deadly
from wiseft.cli import main
main(sys.argv[1:])
"""


def test_under_torchrun_an_error_of_one_process_ends_the_job_with_its_traceback(
    train, settings, tmp_path
):
    (tmp_path / "script.py").write_text(SCRIPT)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    job = subprocess.run(
        [sys.executable, *torchrun, tmp_path / "script.py", *train.command(settings())],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert job.returncode == 1
    assert "in deadly" in job.stderr
    assert "ZeroDivisionError: a defect of one process" in job.stderr
    assert not train.outputs().theta_1.exists()


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138)], ids=["term", "usr1"]
)
def test_signals_are_passed_on(monkeypatch, fork, wait, tmp_path, signum, code):
    """`launch` runs what stands for torchrun: it notes the signal and leaves with an error."""
    script = tmp_path / "child.py"
    script.write_text(
        "import signal, sys, time, pathlib\n"
        "here = pathlib.Path(__file__).parent\n"
        "def end(*_):\n"
        "    (here / 'told').touch(); sys.exit(1)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "(here / 'ready').touch()\n"
        "time.sleep(60)\n"
    )
    popen = subprocess.Popen
    monkeypatch.setattr(
        parallel.subprocess, "Popen", lambda *_, **__: popen([sys.executable, str(script)])
    )
    launcher = fork(lambda: os._exit(parallel.launch([], 2, 1)))
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.kill(launcher, signum)
    assert wait(launcher) == code
    assert (tmp_path / "told").exists()
