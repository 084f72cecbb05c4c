import errno
import os
import random
import signal
import sys
import threading
import time

import numpy as np
import pytest
import torch

from wiseft.base.io import read_json
from wiseft.base.locks import alone
from wiseft.base.messages import shown
from wiseft.base.training_progress import Progress
from wiseft.cli import main
from wiseft.images.split import PreparedSplit
from wiseft.study.config import FinetuneSettings
from wiseft.study.config.machine import HowSettings
from wiseft.study.data.prepared import write_prepared
from wiseft.study.finetune import finetune as stage
from wiseft.study.finetune import head as probe
from wiseft.study.finetune.finetune import train_from_scratch
from wiseft.study.finetune.state import Interrupted, make_optimiser
from wiseft.study.finetune.trainer import Execution
from wiseft.thetas.preprocessing import Preprocessing
from wiseft.thetas.resume_state import Checkpoints, load_optimiser, optimiser_tensors
from wiseft.thetas.theta import load_theta


class Killed(BaseException):
    """Stands for a signal: no handler of the code under test may catch it."""


@pytest.fixture
def kill_after(monkeypatch):
    """Make the next trainings die after so many steps of theirs; None heals."""
    whole = stage.Progress

    def arm(steps):
        class Deadly(whole):
            def __call__(self, *arguments):
                super().__call__(*arguments)
                if self.done == steps:
                    raise Killed

        monkeypatch.setattr(stage, "Progress", whole if steps is None else Deadly)

    return arm


def states(outputs):
    return sorted(file.name for file in outputs.state.glob("*"))


def assert_same_results(a, b):
    left, right = load_theta(a.theta_1).tensors, load_theta(b.theta_1).tensors
    assert left.keys() == right.keys()
    for key in left:
        assert torch.equal(left[key], right[key]), key
    assert a.curve.read_bytes() == b.curve.read_bytes()


def test_a_second_training_with_the_same_state_waits_for_the_first(train, settings):
    """It would take the first one's temporary file for a leftover, and its state for its own."""
    outputs, said = train.outputs(), threading.Event()
    half = outputs.state / ".step-000000002.tmp-aaaaaaaa.safetensors"
    alone_in = threading.Event()

    def first():
        with alone(outputs.state):
            half.parent.mkdir(parents=True)
            half.touch()
            alone_in.set()
            while not any("another process works on" in line for line in train.log):
                time.sleep(0.01)
            time.sleep(0.3)  # in which the second could do its harm
            if half.exists():
                said.set()

    thread = threading.Thread(target=first)
    thread.start()
    alone_in.wait()
    train(settings())
    thread.join()
    assert said.is_set(), "the second one touched the first one's state"
    assert f"another process works on {outputs.state}; waiting for it" in train.log
    assert not outputs.state.exists()
    assert not list(outputs.state.parent.glob(".*.lock"))


def test_where_there_are_no_locks_a_training_says_what_is_up_to_the_user(
    train, settings, monkeypatch
):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("wiseft.base.locks.fcntl.flock", no_locks)
    train(settings())
    assert any("run no two jobs with the state" in line for line in train.log)


KINDS = {
    "all": {},
    "head": {"trainable": "head"},
    "batch-norm-train": {"batch_norm": "train"},
    "polarity": {"augment": "polarity"},
    "strong": {"augment": "strong"},
    "adam": {"optimiser": "adam"},
    "sgd": {"optimiser": "sgd"},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16"},  # at its first scales gradients overflow
    "ema": {"ema": {"decay": 0.8}},
    "distillation": {"distillation": 0.5, "l2_to_start": 1e-3},
}


@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        *(("all", steps) for steps in (1, 2, 3, 8, 9)),
        *((kind, 5) for kind in KINDS if kind != "all"),
    ],
)
def test_a_killed_training_ends_with_the_same_weights(train, settings, kill_after, kind, steps):
    chosen = settings(**KINDS[kind])
    whole = train(chosen, name="whole")
    kill_after(steps)
    with pytest.raises(Killed):
        train(chosen)
    assert not train.outputs().theta_1.exists()
    kill_after(None)
    train.log.clear()
    assert_same_results(whole, train(chosen))
    # A state is saved after every second step, after the step is reported.
    resumed = (steps - 1) // 2 * 2
    assert (f"resuming after step {resumed}" in train.log) == (resumed > 0)


@pytest.mark.parametrize("keys", [{"micro_batch": 3}, {"workers": 2}])
def test_every_way_resumes(train, settings, kill_after, keys):
    chosen, execution = settings(ema={"decay": 0.8}), Execution(HowSettings(**keys))
    whole = train(chosen, name="whole", execution=execution)
    kill_after(5)
    with pytest.raises(Killed):
        train(chosen, execution=execution)
    kill_after(None)
    assert_same_results(whole, train(chosen, execution=execution))
    assert "resuming after step 4" in train.log


def test_early_stopping_resumes(train, settings, kill_after, colours, tmp_path):
    images, labels = colours
    splits = {
        name: PreparedSplit(images[rows], labels[rows], [f"{name}{i}" for i in range(len(rows))])
        for name, rows in {"train": np.arange(30), "held-out": np.arange(0, 30, 2)}.items()
    }
    manifest = write_prepared(tmp_path / "colours", "colours", splits, ["red", "green", "blue"])
    chosen = settings(early_stopping={"every": 3, "split": "held-out"})
    whole = train(chosen, name="whole", manifest=manifest)
    said = [line for line in train.log if "of the split held-out right" in line]
    assert len(said) == 3
    kill_after(5)
    with pytest.raises(Killed):
        train(chosen, manifest=manifest)
    kill_after(None)
    train.log.clear()
    assert_same_results(whole, train(chosen, manifest=manifest))
    assert "resuming after step 4" in train.log
    assert [line for line in train.log if "of the split held-out right" in line] == said[1:]


@pytest.mark.parametrize("phase", ["probing", "training"])
def test_linear_probing_before_training_resumes(train, settings, monkeypatch, kill_after, phase):
    chosen = settings(linear_probe={"epochs": 2, "learning_rate": 1e-2})
    whole = train(chosen, name="whole")
    kill_after(5)
    if phase == "probing":
        monkeypatch.setattr(probe, "Progress", stage.Progress)
    with pytest.raises(Killed):
        train(chosen)
    kill_after(None)
    monkeypatch.setattr(probe, "Progress", stage.Progress)
    train.log.clear()
    assert_same_results(whole, train(chosen))
    assert "resuming after step 4" in train.log
    assert ("linear probing first: 6 steps" in train.log) == (phase == "probing")
    assert not train.outputs().state.exists()


def counted(monkeypatch, at=None):
    """Count calls of functions within `fit`; die at one of them."""
    calls, fit = [0], stage.fit

    def profile(frame, event, argument):
        calls[0] += 1
        if calls[0] == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(*arguments):
        sys.setprofile(profile)
        try:
            return fit(*arguments)
        finally:
            sys.setprofile(None)

    monkeypatch.setattr(stage, "fit", watched)
    return calls


def test_sigkill_at_any_point_changes_nothing(
    train, settings, monkeypatch, fork, wait, uninterrupted, tmp_path
):
    """At 12 function calls drawn from all of a training, writing of states included."""
    told = tmp_path / "calls"
    with monkeypatch.context() as counting:
        calls = counted(counting)

        def count():
            train(settings(), name="counted")
            told.write_text(str(calls[0]))

        # In a process like those that are killed: the first training of one makes more calls.
        assert wait(fork(count)) == 0
    resumed = 0
    for at in sorted(random.Random(5).sample(range(1, int(told.read_text())), 12)):
        with monkeypatch.context() as dying:
            counted(dying, at)
            name = f"killed-at-{at}"
            assert wait(fork(lambda name=name: train(settings(), name=name))) == -signal.SIGKILL
        train.log.clear()
        assert not train.outputs(name).theta_1.exists()
        assert_same_results(uninterrupted, train(settings(), name=name))
        resumed += any("resuming after step" in line for line in train.log)
        assert not train.outputs(name).state.exists()
    assert resumed >= 6


@pytest.fixture
def signal_after(monkeypatch):
    """Send this process a signal after so many steps."""
    whole = stage.Progress

    def arm(signum, steps):
        class Signalled(whole):
            def __call__(self, *arguments):
                super().__call__(*arguments)
                if self.done == steps:
                    os.kill(os.getpid(), signum)

        monkeypatch.setattr(stage, "Progress", Signalled)

    return arm


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_the_state_first(train, settings, signal_after, signum, uninterrupted):
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)
    chosen = settings(checkpoint_every=100)
    signal_after(signum, 5)
    name = signal.Signals(signum).name
    with pytest.raises(Interrupted, match=f"{name} ended the training after step 6 of 9") as end:
        train(chosen)
    assert end.value.signum == signum
    assert "step-000000006.json" in states(train.outputs())
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)) == handlers
    signal_after(signum, -1)
    assert_same_results(uninterrupted, train(chosen))
    assert "resuming after step 6" in train.log


def test_a_signal_in_the_last_step_is_too_late(train, settings, signal_after, uninterrupted):
    signal_after(signal.SIGTERM, 8)
    assert_same_results(uninterrupted, train(settings()))


@pytest.mark.parametrize("optimiser", ["adamw", "adam", "sgd"])
def test_the_state_of_an_optimiser_comes_back(optimiser):
    """Whatever its layout in memory; a parameter that is not used has none."""

    def model():
        torch.manual_seed(0)
        made = torch.nn.ModuleList([torch.nn.Conv2d(3, 4, 2), torch.nn.Linear(2, 2)])
        made.scale = torch.nn.Parameter(torch.ones(()))
        return made.to(memory_format=torch.channels_last)

    def step(of, optimiser, value):
        optimiser.zero_grad()
        loss = of[0].weight.square().sum() * value + of[0].bias.sum() + of.scale.square()
        loss.backward()
        optimiser.step()

    chosen = FinetuneSettings(optimiser=optimiser, learning_rate=0.1)
    first = model()
    of_first = make_optimiser(first, chosen)
    for value in (1.0, 2.0):
        step(first, of_first, value)
    kept = {key: value.clone().contiguous() for key, value in optimiser_tensors(of_first).items()}
    assert not any(key.startswith("optimiser.3.") for key in kept)
    second = model()
    second.load_state_dict(first.state_dict())
    of_second = make_optimiser(second, chosen)
    load_optimiser(of_second, kept)
    for of, with_state in ((first, of_first), (second, of_second)):
        step(of, with_state, 3.0)
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key


def test_a_training_may_be_killed_again_and_again(train, settings, kill_after, uninterrupted):
    for _ in range(3):
        kill_after(3)
        with pytest.raises(Killed):
            train(settings())
    kill_after(None)
    assert_same_results(uninterrupted, train(settings()))


def test_random_numbers_of_the_tower_resume_too(train, settings, kill_after, write_theta_0):
    theta_0 = write_theta_0("vit-dropout")
    whole = train(settings(), name="whole", theta_0=theta_0)
    kill_after(6)
    with pytest.raises(Killed):
        train(settings(), theta_0=theta_0)
    kill_after(None)
    assert_same_results(whole, train(settings(), theta_0=theta_0))
    assert "resuming after step 4" in train.log


def test_a_baseline_resumes(train, settings, kill_after, manifest, theta_0):
    header = load_theta(theta_0).header
    chosen = settings(init="random", batch_norm="train")
    pixels = Preprocessing.model_validate(header.preprocessing)

    def baseline(name):
        outputs = train.outputs(name)
        with shown(train.log.append):
            train_from_scratch(header.architecture, pixels, manifest, chosen, 0, outputs)
        return outputs

    whole = baseline("whole")
    kill_after(6)
    with pytest.raises(Killed):
        baseline("run")
    kill_after(None)
    assert_same_results(whole, baseline("run"))
    assert "resuming after step 4" in train.log


def test_two_generations_are_kept_and_removed_at_the_end(train, settings, kill_after):
    kill_after(9)
    with pytest.raises(Killed):
        train(settings())
    outputs = train.outputs()
    names = [f"step-00000000{i}.{kind}" for i in (6, 8) for kind in ("json", "safetensors")]
    assert states(outputs) == names
    kill_after(None)
    train(settings())
    assert not outputs.state.exists()


def test_files_of_others_stay(train, settings):
    outputs = train.outputs()
    outputs.state.mkdir(parents=True)
    (outputs.state / "notes.txt").write_text("mine")
    train(settings())
    assert states(outputs) == ["notes.txt"]


@pytest.fixture
def killed(train, settings, kill_after):
    """A training killed in its last step, with states after steps 6 and 8."""
    kill_after(9)
    with pytest.raises(Killed):
        train(settings())
    kill_after(None)
    train.log.clear()
    return train.outputs()


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def flip(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        ("safetensors", cut),
        ("safetensors", flip),
        ("safetensors", lambda file: file.unlink()),
        ("json", cut),
        ("json", lambda file: file.write_text("[]")),
    ],
)
def test_a_broken_state_falls_back_to_the_one_before(
    train, settings, killed, suffix, damage, uninterrupted
):
    damage(killed.state / f"step-000000008.{suffix}")
    assert_same_results(uninterrupted, train(settings()))
    assert any("step-000000008 is broken" in line for line in train.log)
    assert "resuming after step 6" in train.log


def test_without_a_whole_state_training_starts_over(train, settings, killed, uninterrupted):
    for file in killed.state.glob("*.safetensors"):
        cut(file)
    assert_same_results(uninterrupted, train(settings()))
    assert "training starts from the beginning" in train.log
    assert not any("resuming" in line for line in train.log)


def test_a_write_killed_before_its_record_does_not_count(train, settings, killed, uninterrupted):
    (killed.state / "step-000000008.json").unlink()
    (killed.state / ".step-000000008.tmp-abc.safetensors").write_bytes(b"half")
    assert_same_results(uninterrupted, train(settings()))
    assert "resuming after step 6" in train.log
    assert not killed.state.exists()


def test_a_state_of_other_settings_seed_or_inputs_is_discarded(
    train, settings, killed, write_theta_0, write_dataset, tmp_path
):
    kept = {file.name: file.read_bytes() for file in killed.state.glob("*")}
    cases = {
        "settings": {"settings": settings(learning_rate=1e-3)},
        "seed": {"settings": settings(), "seed": 1},
        "theta_0": {"settings": settings(), "theta_0": write_theta_0(seed=6)},
        "dataset": {
            "settings": settings(),
            "manifest": write_dataset(tmp_path / "other", labels=[(i + 1) % 3 for i in range(30)]),
        },
    }
    for name, arguments in cases.items():
        train.log.clear()
        killed.state.mkdir(exist_ok=True)
        for file, content in kept.items():
            (killed.state / file).write_bytes(content)
        train(**arguments)
        discarded = "the resume state is of other settings, inputs or code: discarded"
        assert discarded in train.log, name
        assert not any("resuming" in line for line in train.log)


def test_a_state_of_an_older_stage_is_discarded(train, settings, killed, monkeypatch):
    monkeypatch.setitem(stage.VERSION, "finetune", stage.VERSION["finetune"] + 1)
    train(settings())
    assert any("discarded" in line for line in train.log)


def test_how_often_states_are_saved_does_not_matter(train, settings, killed, uninterrupted):
    assert_same_results(uninterrupted, train(settings(checkpoint_every=100)))
    assert "resuming after step 8" in train.log


def test_state_holds_no_pickle(killed):
    kinds = {file.suffix for file in killed.state.iterdir()}
    assert kinds == {".json", ".safetensors"}
    record = read_json(killed.state / "step-000000008.json")
    assert record["step"] == 8
    assert len(record["key"]) == 64


def test_checkpoints_without_a_folder_are_none(tmp_path, said):
    assert Checkpoints(tmp_path / "absent", "key").load() is None
    assert said == []


def test_sigkill_and_the_command_again(
    train, settings, capsys, uninterrupted, monkeypatch, fork, wait
):
    arguments, told = train.command(settings()), Progress.__call__

    def deadly(self, step, *rest):
        told(self, step, *rest)
        if step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as deadly_command:
        deadly_command.setattr(Progress, "__call__", deadly)
        process = fork(lambda: main(arguments))
    assert wait(process) == -signal.SIGKILL
    capsys.readouterr()
    assert not train.outputs().theta_1.exists()
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 0
    assert "resuming after step 4" in capsys.readouterr().err
    assert_same_results(uninterrupted, train.outputs())


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_the_command_says_that_a_signal_ended_it(
    train, settings, signal_after, capsys, uninterrupted, signum, code
):
    signal_after(signum, 3)
    with pytest.raises(SystemExit) as left:
        main(train.command(settings()))
    assert left.value.code == code
    said = capsys.readouterr().err.splitlines()[-1]
    assert "ended the training after step 4 of 9; its state is saved, and the same command" in said
    signal_after(signum, -1)
    with pytest.raises(SystemExit) as left:
        main(train.command(settings()))
    assert left.value.code == 0
    assert_same_results(uninterrupted, train.outputs())
