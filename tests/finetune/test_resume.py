import os
import signal
import subprocess
import sys

import pytest
import torch

from wiseft.checkpoints import Checkpoints
from wiseft.config import Preprocessing
from wiseft.finetune import stage, train_from_scratch
from wiseft.io import read_json
from wiseft.theta import load_theta


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
                if self._done == steps:
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


KINDS = {
    "all": {},
    "head": {"trainable": "head"},
    "batch-norm-train": {"batch_norm": "train"},
    "polarity": {"augment": "polarity"},
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
        train_from_scratch(
            header.architecture, pixels, manifest, chosen, 0, outputs, log=train.log.append
        )
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


def test_checkpoints_without_a_folder_are_none(tmp_path):
    log = []
    assert Checkpoints(tmp_path / "absent", "key", log.append).load() is None
    assert log == []


SCRIPT = """
import os, signal, sys
from pathlib import Path
from wiseft.cli import main
from wiseft import progress
told = progress.Progress.__call__
def deadly(self, step, *rest):
    told(self, step, *rest)
    if step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
progress.Progress.__call__ = deadly
main(sys.argv[1:])
"""


def test_sigkill_and_the_command_again(train, settings, capsys, uninterrupted):
    from wiseft.cli import main

    outputs = train.outputs()
    options = {
        "--theta-0": train.theta_0,
        "--dataset": train.manifest,
        "--settings": settings().model_dump_json(),
        "--seed": 0,
        "--state": outputs.state,
        "--theta-1": outputs.theta_1,
        "--curve": outputs.curve,
        "--device": "cpu",
    }
    arguments = ["finetune", *(str(part) for option in options.items() for part in option)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], env=environment)
    assert process.returncode == -signal.SIGKILL
    assert not outputs.theta_1.exists()
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 0
    assert "resuming after step 4" in capsys.readouterr().err
    assert_same_results(uninterrupted, outputs)
