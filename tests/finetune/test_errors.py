import json

import pytest
import torch

from wiseft.base.stages import VERSION
from wiseft.base.training_progress import Progress
from wiseft.cli import main
from wiseft.errors import StaleArtifact, WiseftError
from wiseft.study.config.machine import HowSettings
from wiseft.study.finetune.finetune import Outputs, finetune, train_from_scratch
from wiseft.study.finetune.trainer import Execution
from wiseft.thetas.preprocessing import Preprocessing
from wiseft.thetas.tensor_file import read_tensors, tensor_writer
from wiseft.thetas.theta import load_theta


def nothing_written(outputs):
    return not outputs.theta_1.exists() and not outputs.curve.exists()


def test_divergence_names_step_and_learning_rate(train, settings):
    hot = settings(learning_rate=1e30, clip_norm=None, epochs=4)
    with pytest.raises(WiseftError, match=r"the loss is \w+ in step \d+, at a .*1?e\+\d+.*lower"):
        train(hot)
    assert nothing_written(train.outputs())


@pytest.mark.parametrize(
    ("keys", "changes", "message"),
    [
        ({}, {}, r"out of memory with 1 images at a time.*batch_size 8, training\.how\.gpus 1, "),
        ({}, {}, r"switch training\.how\.activation_checkpointing on, or train on a device with"),
        ({"micro_batch": 3}, {}, r"with 1 images at a time.*micro_batch 3\)"),
        ({}, {"batch_norm": "train"}, "with 8 images at a time.*lower batch_size, or switch"),
    ],
)
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["gpu", "cpu"],
)
def test_out_of_memory_names_the_batch_and_the_key_to_change(
    train, settings, monkeypatch, error, keys, changes, message
):
    def full(*_):
        raise error

    monkeypatch.setattr(torch.nn.Linear, "forward", full)
    with pytest.raises(WiseftError, match=message):
        train(settings(**changes), execution=Execution(HowSettings(**keys)))
    assert nothing_written(train.outputs())


def test_another_error_of_torch_stays_what_it_is(train, settings, monkeypatch):
    def defect(*_):
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(torch.nn.Linear, "forward", defect)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        train(settings())


@pytest.mark.parametrize("changes", [{"train_samples": 9}, {"batch_size": 1}])
def test_a_batch_of_one_sample_is_trained_on(train, settings, changes):
    train(settings(epochs=1, **changes))
    train(settings(epochs=1, trainable="head", **changes), name="head")


@pytest.mark.parametrize("changes", [{"train_samples": 9}, {"batch_size": 1}])
def test_a_batch_of_one_sample_has_no_statistics(train, settings, changes):
    with pytest.raises(WiseftError, match="leave a batch of one sample, whose statistics mean"):
        train(settings(batch_norm="train", **changes))


def test_json_lines_continue_after_a_kill(train, settings, monkeypatch):
    execution, chosen = Execution(HowSettings(json_lines=True)), settings(checkpoint_every=4)
    whole = train(chosen, execution=execution, name="whole")
    rows = [line.split(",") for line in whole.curve.read_text().splitlines()[1:]]
    there = whole.curve.with_suffix(".jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in there]
    assert [line["step"] for line in lines] == list(range(1, 10))
    assert [line["loss"] for line in lines] == pytest.approx([float(row[2]) for row in rows])
    file, tell = train.outputs().curve.with_suffix(".jsonl"), Progress.__call__

    def killed(self: Progress, step: int, *values: float) -> None:
        if step == 7:  # within the write of its line
            with file.open("a") as torn:
                torn.write('{"step": 7, "lo')
            raise KeyboardInterrupt
        tell(self, step, *values)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "__call__", killed)
        with pytest.raises(KeyboardInterrupt):
            train(chosen, execution=execution)
    assert file.read_text().endswith('{"step": 7, "lo')
    train(chosen, execution=execution)
    assert "resuming after step 4" in train.log
    again = [json.loads(line) for line in file.read_text().splitlines()]
    wanted = [(line["step"], line["loss"], line["learning_rate"]) for line in lines]
    assert [(line["step"], line["loss"], line["learning_rate"]) for line in again] == wanted
    train(chosen, execution=execution)
    assert len(file.read_text().splitlines()) == 9, "another training begins the file anew"


def test_a_class_without_samples_is_named(train, settings, write_dataset, tmp_path):
    manifest = write_dataset(tmp_path / "two", labels=[i % 2 for i in range(30)])
    with pytest.raises(WiseftError, match="the 20 training samples have none of the class blue"):
        train(settings(), manifest=manifest)


def test_more_samples_than_there_are_is_an_error(train, settings):
    with pytest.raises(WiseftError, match="train_samples is 31, but the train split has 30"):
        train(settings(train_samples=31))


def test_other_classes_are_refused(train, settings, write_dataset, tmp_path):
    manifest = write_dataset(tmp_path / "other", class_names=["red", "blue", "green"])
    with pytest.raises(WiseftError, match=r"red, green, blue, but dataset colours has red, blue"):
        train(settings(), manifest=manifest)


def damaged(theta_0, folder, change):
    stored, header = read_tensors(theta_0, "theta")
    tensors = {name: tensor.clone() for name, tensor in stored.items()}
    change(tensors)
    with tensor_writer(folder / "damaged.safetensors", tensors, header) as file:
        for name, tensor in tensors.items():
            file.write(name, tensor)
    return folder / "damaged.safetensors"


def test_nan_weights_are_refused(train, settings, theta_0, tmp_path):
    def change(tensors):
        tensors["image.conv1.weight"][0, 0, 0, 0] = float("nan")

    with pytest.raises(WiseftError, match=r"image\.conv1\.weight holds a NaN"):
        train(settings(), theta_0=damaged(theta_0, tmp_path, change))


def test_a_theta_of_another_architecture_is_refused(train, settings, theta_0, tmp_path):
    def change(tensors):
        del tensors["image.bn1.weight"]

    with pytest.raises(WiseftError, match=r"image\.bn1\.weight"):
        train(settings(), theta_0=damaged(theta_0, tmp_path, change))


def test_a_theta_of_an_older_stage_is_refused(train, settings, monkeypatch):
    monkeypatch.setitem(VERSION, "zeroshot", VERSION["zeroshot"] + 1)
    with pytest.raises(StaleArtifact, match="zeroshot stage"):
        train(settings())


def test_image_size_must_be_the_towers(train, settings, write_theta_0):
    theta_0 = write_theta_0(preprocessing={"size": 28, "mean": [0.5] * 3, "std": [0.25] * 3})
    with pytest.raises(WiseftError, match=r"images of 28 pixels, but the architecture reads 32"):
        train(settings(), theta_0=theta_0)


def test_augmentation_of_cached_features_is_refused(train, settings):
    with pytest.raises(WiseftError, match="augment is polarity, but a head is trained on features"):
        train(settings(trainable="head", augment="polarity"))


def test_start_and_settings_must_agree(train, settings, theta_0, manifest):
    with pytest.raises(WiseftError, match=r"starts from zero-shot weights.*init: random"):
        train(settings(init="random"))
    header = load_theta(theta_0).header
    with pytest.raises(WiseftError, match=r"starts from random weights.*init: zero-shot"):
        train_from_scratch(
            header.architecture,
            Preprocessing.model_validate(header.preprocessing),
            manifest,
            settings(),
            0,
            train.outputs(),
        )


@pytest.mark.parametrize("output", ["theta_1", "curve", "state"])
def test_unwritable_outputs_are_found_before_training(settings, tmp_path, output):
    (tmp_path / "file").touch()
    paths = {name: tmp_path / name for name in ("theta_1", "curve", "state")}
    paths[output] = tmp_path / "file" / output
    with pytest.raises(WiseftError, match=rf"cannot write .*file/{output}"):
        finetune(tmp_path / "absent", tmp_path / "absent", settings(), 0, Outputs(**paths))


@pytest.fixture
def command(train, settings):
    def run(**changes):
        options = {
            "theta-0": train.theta_0,
            "dataset": train.manifest,
            "settings": settings().model_dump_json(),
            "seed": 0,
            "state": train.outputs().state,
            "theta-1": train.outputs().theta_1,
            "curve": train.outputs().curve,
            "threads": 1,
            "device": "cpu",
        }
        name = changes.pop("name", "finetune")
        options |= {key.replace("_", "-"): value for key, value in changes.items()}
        parts = [(f"--{key}", str(value)) for key, value in options.items() if value is not None]
        with pytest.raises(SystemExit) as left:
            main([name, *(part for pair in parts for part in pair)])
        return left.value.code

    return run


def test_command_finetune(command, train):
    assert command() == 0
    assert load_theta(train.outputs().theta_1).header.kind == "fine-tuned"
    assert train.outputs().curve.read_text().startswith("step,epoch,loss,learning_rate\n1,1,")


def test_command_baseline(command, train, settings, tmp_path, capsys):
    header = load_theta(train.theta_0).header
    (tmp_path / "tower.json").write_text(json.dumps(header.architecture))
    code = command(
        name="baseline",
        theta_0=None,
        architecture=tmp_path / "tower.json",
        preprocessing=json.dumps(header.preprocessing),
        settings=settings(init="random", batch_norm="train").model_dump_json(),
    )
    assert code == 0
    assert "step 9/9" in capsys.readouterr().err
    assert load_theta(train.outputs().theta_1).header.kind == "from-scratch"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": '{"learning_rate": 0}'}, "learning_rate"),
        ({"settings": '{"learning_rate": -1e-3}'}, "learning_rate"),
        ({"settings": '{"learnin_rate": 1}'}, "learning_rate"),
        ({"settings": "{"}, "not valid JSON"),
        (
            {"how": '{"micro_batch": 0}'},
            "key `micro_batch` is 0, but must be an integer from 1 on, or auto",
        ),
        ({"how": '{"micro_batches": 8}'}, "did you mean micro_batch?"),
        ({"theta_0": "absent.safetensors"}, "absent.safetensors does not exist"),
        ({"dataset": "absent.json"}, "absent.json does not exist"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_command_says_what_is_wrong(command, train, capsys, changes, message):
    assert command(**changes) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert nothing_written(train.outputs())


def test_command_baseline_refuses_a_file_that_is_no_architecture(command, tmp_path, capsys):
    (tmp_path / "tower.json").write_text('{"embed_dim": 16}')
    code = command(
        name="baseline",
        theta_0=None,
        architecture=tmp_path / "tower.json",
        preprocessing='{"size": 32, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}',
    )
    assert code == 1
    assert "is no open_clip model config: it lacks vision_cfg, text_cfg" in capsys.readouterr().err
