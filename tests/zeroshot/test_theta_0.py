import json
import os
from pathlib import Path

import open_clip
import pytest
import torch

from wiseft.base.stages import VERSION
from wiseft.cli import main
from wiseft.errors import StaleArtifact, WiseftError
from wiseft.models.classifier import build_classifier
from wiseft.models.runtime import start_torch
from wiseft.models.towers.open_clip_models import open_clip_model
from wiseft.thetas.tensor_file import tensor_writer
from wiseft.thetas.theta import identity, load_theta, load_weights
from wiseft.zeroshot.theta_0 import make_theta_0

TEMPLATES = ["{c}", "a photo of the number {c}"]


def test_theta_0_holds_the_image_tower_bit_for_bit(architecture, write_weights, manifest, tmp_path):
    weights, output = write_weights(architecture), tmp_path / "theta_0.safetensors"
    made = make_theta_0(weights, manifest, TEMPLATES, output)
    theta, (tensors, _) = load_theta(output), load_weights(weights)
    assert made == theta.identity
    image = {k.removeprefix("visual."): v for k, v in tensors.items() if k.startswith("visual.")}
    assert {k for k in theta.tensors if k.startswith("image.")} == {f"image.{k}" for k in image}
    for key, tensor in image.items():
        assert torch.equal(theta.tensors[f"image.{key}"], tensor)
    assert theta.tensors["head.weight"].shape == (3, 16)
    assert torch.equal(theta.tensors["head.bias"], torch.zeros(3))


def test_the_header_says_what_it_was_made_of(resnet, write_weights, manifest, tmp_path):
    weights, output = write_weights(resnet), tmp_path / "theta_0.safetensors"
    make_theta_0(weights, manifest, TEMPLATES, output)
    header = load_theta(output).header
    assert (header.kind, header.stage, header.seed) == ("zero-shot", "zeroshot", 3)
    assert header.class_names == ["0", "1", "2"]
    assert header.architecture == resnet
    assert header.preprocessing["size"] == 32
    assert header.parents == {"weights": identity(load_weights(weights)[1])}
    assert header.settings["templates"] == TEMPLATES
    assert header.settings["prompt_names"][1] == ["1", "one"]


def test_theta_0_classifies_as_the_model_matches_images_to_prompts(
    architecture, write_weights, manifest, tmp_path
):
    weights, output = write_weights(architecture), tmp_path / "theta_0.safetensors"
    make_theta_0(weights, manifest, ["a photo of the number {c}"], output)
    theta = load_theta(output)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    clip = open_clip_model(architecture, seed=3).eval()
    prompts = [f"a photo of the number {c}" for c in ("0", "zero", "1", "one", "2", "two")]
    with torch.no_grad():
        logits = build_classifier(theta.header, theta.tensors)(images)
        pixels = (images.float() / 255 - 0.5) / 0.25
        image = clip.encode_image(pixels, normalize=True)
        tokens = open_clip.SimpleTokenizer(context_length=20)(prompts)
        text = clip.encode_text(tokens, normalize=True).view(3, 2, -1).mean(dim=1)
        text = text / text.norm(dim=-1, keepdim=True)
        expected = clip.logit_scale.exp() * image @ text.T
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


def drop(tensors):
    del tensors["visual.attnpool.c_proj.weight"]


def reshape(tensors):
    tensors["visual.conv1.weight"] = torch.zeros(5, 3, 3, 3)


@pytest.mark.parametrize(
    ("change", "tensor"), [(drop, "attnpool.c_proj.weight"), (reshape, "visual.conv1.weight")]
)
def test_weights_of_another_architecture_are_refused(
    change, tensor, resnet, write_weights, manifest, tmp_path
):
    weights = write_weights(resnet, change)
    with pytest.raises(WiseftError, match=rf"(?s)does not fit the architecture.*{tensor}"):
        make_theta_0(weights, manifest, TEMPLATES, tmp_path / "theta_0.safetensors")
    assert not (tmp_path / "theta_0.safetensors").exists()


def test_nan_weights_are_refused(resnet, write_weights, manifest, tmp_path):
    weights = write_weights(resnet)
    tensors, header = load_weights(weights)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    tensors["visual.conv1.weight"][0, 0, 0, 0] = float("nan")
    with tensor_writer(weights, tensors, header) as file:
        for name, tensor in tensors.items():
            file.write(name, tensor)
    with pytest.raises(WiseftError, match=r"visual\.conv1\.weight holds a NaN"):
        make_theta_0(weights, manifest, TEMPLATES, tmp_path / "theta_0.safetensors")


def test_a_theta_is_no_weights(resnet, write_weights, manifest, tmp_path):
    theta = tmp_path / "theta_0.safetensors"
    make_theta_0(write_weights(resnet), manifest, TEMPLATES, theta)
    with pytest.raises(WiseftError, match="not the weights of both towers"):
        make_theta_0(theta, manifest, TEMPLATES, tmp_path / "other.safetensors")


def test_weights_of_an_older_stage_are_refused(
    resnet, write_weights, manifest, tmp_path, monkeypatch
):
    weights = write_weights(resnet)
    monkeypatch.setitem(VERSION, "pretrain", VERSION["pretrain"] + 1)
    with pytest.raises(StaleArtifact, match="pretrain stage"):
        make_theta_0(weights, manifest, TEMPLATES, tmp_path / "theta_0.safetensors")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"hf_tokenizer_name": "bert"}, "tokenizer bert, whose files are not among its weights"),
        ({"vocab_size": 100}, "has 100 tokens"),
    ],
)
def test_models_with_another_tokenizer_are_refused(
    text, message, resnet, write_weights, manifest, tmp_path
):
    resnet["text_cfg"] |= text
    with pytest.raises(WiseftError, match=message):
        make_theta_0(write_weights(resnet), manifest, TEMPLATES, tmp_path / "theta_0.safetensors")


def arguments(weights, manifest, output, prompts=TEMPLATES):
    options = {
        "--weights": weights,
        "--dataset": manifest,
        "--prompts": json.dumps(prompts),
        "--theta-0": output,
        "--threads": 1,
    }
    return ["zeroshot", *(str(part) for option in options.items() for part in option)]


def test_command(resnet, write_weights, manifest, tmp_path):
    output = tmp_path / "new" / "theta_0.safetensors"
    with pytest.raises(SystemExit) as left:
        main(arguments(write_weights(resnet), manifest, output))
    assert left.value.code == 0
    assert load_theta(output).header.kind == "zero-shot"


def test_command_says_what_is_wrong(resnet, write_weights, manifest, tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments(write_weights(resnet), manifest, tmp_path / "t.safetensors", ["a photo"]))
    assert left.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: --prompts: ") and "template 'a photo'" in error
    assert "Traceback" not in error


def test_unwritable_output_is_found_before_the_work(resnet, write_weights, manifest, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WiseftError, match=r"cannot write .*theta_0\.safetensors"):
        make_theta_0(
            Path("no-such-weights"), manifest, TEMPLATES, tmp_path / "file/theta_0.safetensors"
        )
    with pytest.raises(WiseftError, match="it is a folder"):
        make_theta_0(write_weights(resnet), manifest, TEMPLATES, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(manifest, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(WiseftError, match="mend its permissions"):
        make_theta_0(Path("w"), manifest, TEMPLATES, tmp_path / "locked" / "theta_0.safetensors")


@pytest.mark.parametrize(
    ("threads", "device", "message"),
    [(0, "cpu", "threads is 0"), (1, "tpu", "not one of auto, cpu, cuda")],
)
def test_bad_threads_and_devices_are_refused(threads, device, message):
    with pytest.raises(WiseftError, match=message):
        start_torch(threads, device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_said():
    with pytest.raises(WiseftError, match="torch finds no GPU"):
        start_torch(1, "cuda")
    assert start_torch(1, "auto") == torch.device("cpu")
