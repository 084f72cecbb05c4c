"""The user's own classifiers as theta_1."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests import tiny_models as tiny
from tests.weights.conftest import clip_weights, same, weights_of

import wiseft
from wiseft.base.io import sha256_file
from wiseft.base.messages import shown
from wiseft.cli import main
from wiseft.combine.files import interpolate_files
from wiseft.errors import WiseftError
from wiseft.images.split import PreparedSplit
from wiseft.models import towers
from wiseft.models.classifier import build_classifier
from wiseft.study.data.prepared import write_prepared
from wiseft.study.finetune.import_checkpoint import distances, group_of, import_theta_1
from wiseft.thetas.preprocessing import Preprocessing
from wiseft.thetas.theta import load_theta, save_weights
from wiseft.zeroshot.head import build_head
from wiseft.zeroshot.theta_0 import make_theta_0

TEMPLATES = ["a photo of the number {c}", "{c}"]
NAMES = [["0"], ["1"], ["2"]]


@pytest.fixture
def manifest(tmp_path):
    images = np.zeros((3, 32, 32, 3), dtype=np.uint8)
    split = PreparedSplit(images, np.arange(3), ["a", "b", "c"])
    return write_prepared(tmp_path / "digits", "digits", {"train": split}, ["0", "1", "2"])


@pytest.fixture
def theta_0(tmp_path, manifest):
    header = {"architecture": tiny.clip(), "preprocessing": tiny.PREPROCESSING}
    save_weights(tmp_path / "weights.safetensors", clip_weights(), header)
    output = tmp_path / "theta_0.safetensors"
    make_theta_0(tmp_path / "weights.safetensors", manifest, TEMPLATES, output)
    return output


@pytest.fixture
def tuned():
    """A fine-tuned CLIP: every tensor a little off."""
    generator = torch.Generator().manual_seed(5)
    weights = clip_weights()
    return {k: v + 0.01 * torch.randn(v.shape, generator=generator) for k, v in weights.items()}


def image_of(weights):
    return {k[7:]: v for k, v in weights.items() if k.startswith("visual.")}


HEAD = {"weight": torch.randn(3, 16, generator=torch.Generator().manual_seed(1)) * 4}
HEAD["bias"] = torch.tensor([0.1, -0.2, 0.3])


def bring(tmp_path, theta_0, content, name="mine.pt", **options):
    """Import what is written to a file; return the theta and what was said."""
    if name.endswith(".safetensors"):
        save_file(content, tmp_path / name)
    else:
        torch.save(content, tmp_path / name)
    said, output = [], tmp_path / "theta_1.safetensors"
    with shown(said.append):
        import_theta_1(tmp_path / name, theta_0, output, **options)
    return load_theta(output), said


WISE_FT = {"image": "image_encoder.model.visual.", "head": "classification_head."}
SOUPS = {"image": "module.model.visual.", "head": "module.classification_head."}
PLAIN = {"image": "", "head": "fc."}
OURS = {"image": "image.", "head": "head."}


@pytest.mark.parametrize("names", [WISE_FT, SOUPS, PLAIN, OURS])
def test_classifiers_of_other_programs_are_found_by_their_tensors(names, theta_0, tuned, tmp_path):
    content = {names["image"] + key: value for key, value in image_of(tuned).items()}
    content |= {names["head"] + key: value for key, value in HEAD.items()}
    theta, _ = bring(tmp_path, theta_0, content)
    assert same(
        theta.tensors,
        {f"image.{k}": v for k, v in image_of(tuned).items()}
        | {f"head.{k}": v for k, v in HEAD.items()},
    )
    assert theta.header.kind == "fine-tuned"
    assert theta.header.class_names == ["0", "1", "2"]
    assert theta.header.parents["theta_0"] == load_theta(theta_0).identity
    assert theta.header.parents["file"] == sha256_file(tmp_path / "mine.pt")
    # It is an end like any other.
    interpolate_files(
        theta_0, tmp_path / "theta_1.safetensors", "0.500", tmp_path / "half.safetensors"
    )
    half = load_theta(tmp_path / "half.safetensors")
    assert torch.equal(half.tensors["head.bias"], torch.lerp(torch.zeros(3), HEAD["bias"], 0.5))


def test_the_head_comes_from_the_checkpoints_own_text_tower(theta_0, tuned, tmp_path):
    """Both towers fine-tuned, as by FLYP: a state dict of open_clip."""
    theta, _ = bring(
        tmp_path, theta_0, {"state_dict": {f"module.{k}": v for k, v in tuned.items()}}
    )
    model = towers.load(tiny.clip(), tuned, "tuned")
    assert torch.equal(theta.tensors["head.weight"], build_head(model, NAMES, TEMPLATES))
    assert not theta.tensors["head.bias"].any()
    assert theta.header.settings["head"] == "text tower"


def test_a_clip_model_folder_is_a_theta_1(theta_0, tuned, tmp_path):
    from wiseft.foreign.huggingface import from_open_clip

    folder = tmp_path / "clip"
    folder.mkdir()
    save_file(dict(from_open_clip(tuned)), folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "clip"}')
    output = tmp_path / "theta_1.safetensors"
    import_theta_1(folder, theta_0, output)
    theta = load_theta(output)
    assert same(towers.prefixed(theta.tensors, "image."), image_of(tuned))
    model = towers.load(tiny.clip(), tuned, "tuned")
    assert torch.equal(theta.tensors["head.weight"], build_head(model, NAMES, TEMPLATES))
    assert len(theta.header.parents["file"]) == 64


def test_a_head_may_come_from_another_file(theta_0, tuned, tmp_path):
    save_file(HEAD, tmp_path / "head.safetensors")
    theta, _ = bring(tmp_path, theta_0, tuned, head=tmp_path / "head.safetensors", head_factor=10.0)
    assert torch.equal(theta.tensors["head.weight"], HEAD["weight"] * 10)
    assert torch.equal(theta.tensors["head.bias"], HEAD["bias"] * 10)
    from_theta, _ = bring(tmp_path, theta_0, tuned, head=theta_0)
    own = load_theta(theta_0).tensors["head.weight"]
    assert torch.equal(from_theta.tensors["head.weight"], own)


def test_without_any_head_it_is_said_what_to_give(theta_0, tuned, tmp_path):
    with pytest.raises(WiseftError, match=r"(?s)has no head, and no whole text tower .*--head"):
        bring(tmp_path, theta_0, image_of(tuned))


def test_heads_that_do_not_fit_are_named(theta_0, tuned, tmp_path):
    image = image_of(tuned)
    with pytest.raises(WiseftError, match=r"head fc\.weight \(5, 16\), but 3 classes and a width"):
        bring(tmp_path, theta_0, image | {"fc.weight": torch.zeros(5, 16)})
    several = {"fc.weight": HEAD["weight"], "head.weight": HEAD["weight"]}
    with pytest.raises(
        WiseftError, match=r"several heads of \d+ classes: fc\.weight, head\.weight"
    ):
        bring(tmp_path, theta_0, image | several)
    save_file({"other": torch.zeros(3, 16)}, tmp_path / "head.safetensors")
    with pytest.raises(WiseftError, match="has no head: a tensor `weight` of shape"):
        bring(tmp_path, theta_0, image, head=tmp_path / "head.safetensors")


def test_another_image_tower_is_refused_with_what_does_not_fit(theta_0, tmp_path):
    other = weights_of(tiny.clip(tiny.VIT | {"layers": 2, "width": 32}))
    with pytest.raises(WiseftError) as caught:
        bring(tmp_path, theta_0, other)
    message = str(caught.value)
    assert "(image tower, names behind 'visual.') does not fit the architecture" in message
    assert "unexpected: transformer.resblocks.1.attn.in_proj_bias" in message
    assert "of another shape: class_embedding (expected (16,), found (32,))" in message
    with pytest.raises(WiseftError, match="missing: class_embedding"):
        bring(tmp_path, theta_0, {"layer.weight": torch.zeros(2)})


def test_a_nan_is_refused(theta_0, tuned, tmp_path):
    tuned["visual.proj"][0, 0] = math.inf
    with pytest.raises(WiseftError, match=r"image\.proj holds a NaN or an infinity"):
        bring(tmp_path, theta_0, tuned)


def test_it_is_said_where_theta_1_is_far_from_theta_0(theta_0, tuned, tmp_path):
    _, said = bring(tmp_path, theta_0, tuned)
    assert not [line for line in said if "far from" in line]
    stranger = weights_of(tiny.clip(), seed=9)
    _, said = bring(tmp_path, theta_0, stranger)
    assert [line for line in said if "far from theta_0 in" in line and "image." in line]
    _, said = bring(tmp_path, theta_0, clip_weights(), head=theta_0)
    assert any("theta_1 is theta_0, bit for bit" in line for line in said)


def test_it_is_said_where_the_heads_scale_differs(theta_0, tuned, tmp_path):
    head = load_theta(theta_0).tensors["head.weight"]
    save_file({"weight": head / head.norm(dim=-1, keepdim=True)}, tmp_path / "h.safetensors")
    _, said = bring(tmp_path, theta_0, tuned, head=tmp_path / "h.safetensors")
    scale = float(head.norm(dim=-1).mean())
    (line,) = [line for line in said if "mean norm" in line]
    assert f"give --head-factor {scale:.4g}" in line
    _, said = bring(tmp_path, theta_0, tuned, head=tmp_path / "h.safetensors", head_factor=scale)
    assert not [line for line in said if "mean norm" in line]


def test_an_align_with_its_batch_norm_is_a_theta_1(tmp_path, manifest):
    architecture = tiny.align()
    weights = weights_of(architecture)
    header = {"architecture": architecture, "preprocessing": tiny.PREPROCESSING}
    save_weights(tmp_path / "w.safetensors", towers.floating(weights), header)
    theta_0 = tmp_path / "theta_0.safetensors"
    make_theta_0(tmp_path / "w.safetensors", manifest, ["a photo of {c}"], theta_0)
    tuned = {k: v * 1.01 if v.is_floating_point() else v + 5 for k, v in weights.items()}
    theta, _ = bring(tmp_path, theta_0, tuned)
    names = [name for name in theta.tensors if name.endswith("running_var")]
    assert names
    assert not [name for name in theta.tensors if "num_batches_tracked" in name]
    interpolate_files(
        theta_0, tmp_path / "theta_1.safetensors", "0.500", tmp_path / "h.safetensors"
    )
    half = load_theta(tmp_path / "h.safetensors")
    start = load_theta(theta_0)
    for name in names:
        expected = torch.lerp(start.tensors[name], theta.tensors[name], 0.5)
        assert torch.equal(half.tensors[name], expected)
    build_classifier(half.header, half.tensors)


def test_a_classifier_becomes_a_theta_0(tuned, tmp_path):
    """As docs/models.md says: in Python, and the file is what the stages take."""
    content = image_of(tuned) | {f"fc.{key}": value for key, value in HEAD.items()}
    torch.save(content, tmp_path / "mine.pt")
    (tmp_path / "tiny.json").write_text(json.dumps(tiny.clip()))
    output = tmp_path / "theta_0.safetensors"
    wiseft.load(
        tmp_path / "mine.pt",
        classes=["0", "1", "2"],
        architecture=str(tmp_path / "tiny.json"),
        preprocessing=Preprocessing.model_validate(tiny.PREPROCESSING),
    ).save(output)
    theta = load_theta(output)
    assert theta.header.class_names == ["0", "1", "2"]
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    model = towers.load(tiny.clip(), tuned, "tuned")
    with torch.no_grad():
        logits = build_classifier(theta.header, theta.tensors)(images)
        features = model.image((images / 255 - 0.5) / 0.25)
        expected = torch.nn.functional.normalize(features, dim=-1) @ HEAD["weight"].T
    torch.testing.assert_close(logits, expected + HEAD["bias"], atol=1e-4, rtol=1e-4)
    tuned_again = {f"image.{key}": value * 1.01 for key, value in image_of(tuned).items()}
    theta_1, _ = bring(tmp_path, output, tuned_again | {"fc.weight": HEAD["weight"]})
    assert theta_1.header.parents["theta_0"] == theta.identity


def test_distances_are_of_blocks_and_modules():
    assert group_of("image.transformer.resblocks.3.attn.in_proj_weight") == (
        "image.transformer.resblocks.3"
    )
    assert group_of("image.layer1.0.conv1.weight") == "image.layer1.0"
    assert group_of("image.conv1.weight") == "image.conv1"
    assert group_of("head.weight") == group_of("head.bias") == "head"
    a = {"head.weight": torch.tensor([3.0, 4.0]), "head.bias": torch.zeros(1)}
    b = {"head.weight": torch.tensor([3.0, 3.0]), "head.bias": torch.zeros(1)}
    assert distances(a, b) == {"head": pytest.approx(0.2)}
    assert distances({"x.bias": torch.zeros(1)}, {"x.bias": torch.ones(1)}) == {"x": math.inf}


def test_command(theta_0, tuned, tmp_path, manifest, capsys):
    torch.save(image_of(tuned) | {"fc.weight": HEAD["weight"]}, tmp_path / "mine.pt")
    output = tmp_path / "theta_1.safetensors"
    command = ["import", str(tmp_path / "mine.pt"), "--output", str(output)]
    with pytest.raises(SystemExit) as left:
        main([*command, "--theta-0", str(theta_0)])
    assert left.value.code == 0
    assert load_theta(output).header.kind == "fine-tuned"
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == 2
    assert "Missing option '--theta-0'" in capsys.readouterr().err
