"""theta: what a file says and what is refused; the classifier made of one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from wiseft.base.stages import VERSION
from wiseft.errors import StaleArtifact, WiseftError
from wiseft.foreign.formats import read_checkpoint
from wiseft.models.classifier import build_classifier, classifier_tensors
from wiseft.models.towers.open_clip_models import architecture_from_json, open_clip_model
from wiseft.thetas.tensor_file import read_file_header, tensors_sha256
from wiseft.thetas.theta import (
    Theta,
    ThetaHeader,
    check_compatible,
    header_dict,
    identity,
    is_finite,
    load_theta,
    load_weights,
    make_header,
    open_theta,
    save_theta,
    save_weights,
)

ARCHITECTURE: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 8, "heads": 2, "layers": 1},
}
PREPROCESSING = {"size": 32, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]}


@pytest.fixture(scope="module")
def header() -> ThetaHeader:
    return make_header(
        "zero-shot",
        "zeroshot",
        architecture=ARCHITECTURE,
        preprocessing=PREPROCESSING,
        class_names=["a", "b", "c"],
        parents={"weights": "0" * 64},
        seed=3,
        settings={"templates": ["{c}"]},
    )


@pytest.fixture(scope="module")
def tensors(header: ThetaHeader) -> dict[str, torch.Tensor]:
    return classifier_tensors(build_classifier(header, seed=0))


def test_round_trip_is_bitwise_and_the_header_is_whole(tmp_path: Path, header, tensors):
    path = tmp_path / "theta.safetensors"
    made = save_theta(path, tensors, header)
    theta = load_theta(path)
    assert theta.header == header
    assert theta.identity == made == open_theta(path).identity
    assert made == identity(read_file_header(path, "theta"))
    assert theta.tensors.keys() == tensors.keys()
    assert all(torch.equal(theta.tensors[key], tensors[key]) for key in tensors)
    assert header.versions["torch"]
    assert len(header.commit.removesuffix("-dirty")) in (7, 40)


def test_same_content_same_bytes(tmp_path: Path, header, tensors):
    shuffled = dict(reversed(tensors.items()))
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    first, second = save_theta(paths[0], tensors, header), save_theta(paths[1], shuffled, header)
    assert first == second
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_made_again_by_another_commit_it_is_the_same(tmp_path: Path, header, tensors):
    path = tmp_path / "theta.safetensors"
    first = save_theta(path, tensors, header)
    others = {"commit": "f" * 40, "versions": {}, "parents": {"weights": "1" * 64}, "seed": 4}
    assert save_theta(path, tensors, dataclasses.replace(header, **others)) == first
    pixels = header.preprocessing | {"mean": [0.5, 0.4, 0.2]}
    changes: list[dict[str, Any]] = [
        {"architecture": ARCHITECTURE | {"quick_gelu": True}},
        {"preprocessing": pixels},
        {"class_names": ["a", "c", "b"]},
        {"never_predicted": [1]},
        {"settings": {"templates": ["a {c}"]}},  # of heads that follow from a text tower
    ]
    made = [save_theta(path, tensors, dataclasses.replace(header, **change)) for change in changes]
    made.append(save_theta(path, tensors | {"head.bias": torch.ones(3)}, header))
    assert len({first, *made}) == 1 + len(made)


@pytest.mark.parametrize("read", [load_theta, open_theta])
def test_a_damaged_theta_is_refused(tmp_path: Path, header, tensors, read):
    path = tmp_path / "theta.safetensors"
    save_theta(path, tensors, header)
    content = bytearray(path.read_bytes())
    content[-300:-200] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(WiseftError, match=r"is damaged: expected tensors with SHA-256 .* delete"):
        read(path)


def test_damaged_weights_are_refused_whatever_reads_them(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    about = {"stage": "pretrain", "architecture": ARCHITECTURE, "preprocessing": PREPROCESSING}
    save_weights(path, {"x": torch.ones(64)}, about)
    content = bytearray(path.read_bytes())
    content[-8:] = bytes(8)
    path.write_bytes(content)
    for read in (load_weights, read_checkpoint):
        with pytest.raises(WiseftError, match="is damaged: expected tensors with SHA-256"):
            read(path)
    with pytest.raises(WiseftError, match="not floating"):
        save_weights(path, {"n": torch.ones(2, dtype=torch.int32)}, about)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_tensor_that_is_not_finite_is_named_and_nothing_is_written(
    tmp_path: Path, header, tensors, value
):
    broken = dict(tensors)
    broken["head.bias"] = torch.tensor([0.0, value, 0.0])
    with pytest.raises(WiseftError, match=r"head\.bias holds a NaN or an infinity"):
        save_theta(tmp_path / "theta.safetensors", broken, header)
    assert not list(tmp_path.iterdir())


def test_what_is_no_theta_is_refused(tmp_path: Path, header, tensors):
    path = tmp_path / "theta.safetensors"
    with pytest.raises(WiseftError, match=r"head\.bias is missing"):
        save_theta(path, {k: v for k, v in tensors.items() if k != "head.bias"}, header)
    with pytest.raises(WiseftError, match="not floating"):
        save_theta(path, tensors | {"image.steps": torch.tensor(3)}, header)
    with pytest.raises(WiseftError, match="rows; they must agree"):
        save_theta(path, tensors, dataclasses.replace(header, class_names=["a", "b"]))
    with pytest.raises(WiseftError, match="does not exist"):
        load_theta(path)
    path.write_bytes(b"not safetensors")
    with pytest.raises(WiseftError, match="not a whole safetensors file"):
        load_theta(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(WiseftError, match="not written by wiseft"):
        load_theta(path)


def test_a_truncated_file_is_refused(tmp_path: Path, header, tensors):
    path = tmp_path / "theta.safetensors"
    save_theta(path, tensors, header)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WiseftError, match="not a whole safetensors file"):
        load_theta(path)


def test_an_older_stage_version_is_refused(tmp_path: Path, header, tensors, monkeypatch):
    path = tmp_path / "theta.safetensors"
    save_theta(path, tensors, header)
    monkeypatch.setitem(VERSION, "zeroshot", VERSION["zeroshot"] + 1)
    with pytest.raises(StaleArtifact, match=r"version \d+ of the zeroshot stage, this is version"):
        load_theta(path)
    assert load_theta(path, check_version=False).header == header


def test_weights_and_thetas_are_told_apart(tmp_path: Path, header, tensors):
    save_theta(tmp_path / "theta.safetensors", tensors, header)
    about = {"stage": "pretrain", "architecture": ARCHITECTURE, "preprocessing": PREPROCESSING}
    save_weights(tmp_path / "weights.safetensors", {"logit_scale": torch.tensor(1.0)}, about)
    loaded, raw = load_weights(tmp_path / "weights.safetensors")
    assert loaded["logit_scale"] == 1
    assert raw["stage_version"] == VERSION["pretrain"]
    with pytest.raises(WiseftError, match="is a zero-shot theta"):
        load_weights(tmp_path / "theta.safetensors")
    with pytest.raises(WiseftError, match="holds weights, not a theta"):
        load_theta(tmp_path / "weights.safetensors")


def test_incompatible_thetas_name_what_differs(header, tensors):
    theta = Theta(tensors, header)
    fewer = {key: value for key, value in tensors.items() if key != "image.conv1.weight"}
    with pytest.raises(WiseftError, match=r"lacks image\.conv1\.weight and adds nothing"):
        check_compatible(theta, Theta(fewer, header))
    wider = tensors | {"head.weight": torch.zeros(3, 9)}
    with pytest.raises(WiseftError, match=r"head\.weight has shape \(3, 16\) .*\(3, 9\)"):
        check_compatible(theta, Theta(wider, header))
    renamed = dataclasses.replace(header, class_names=["a", "c", "b"])
    with pytest.raises(WiseftError, match=r"differ in class_names\[1\]: 'b' and 'c'"):
        check_compatible(theta, Theta(tensors, renamed))
    vision = ARCHITECTURE["vision_cfg"] | {"head_width": 4, "layers": [1, 1, 1, 2]}
    for architecture, message in (
        (ARCHITECTURE | {"quick_gelu": True}, r"architecture\.quick_gelu: None and True; what"),
        (ARCHITECTURE | {"vision_cfg": vision}, r"architecture\.vision_cfg\.head_width: 8 and 4"),
    ):
        other = dataclasses.replace(header, architecture=architecture)
        with pytest.raises(WiseftError, match=f"differ in {message}"):
            check_compatible(theta, Theta(tensors, other))
    brighter = dataclasses.replace(header, preprocessing=PREPROCESSING | {"mean": [0.5, 0.4, 0.4]})
    with pytest.raises(WiseftError, match=r"differ in preprocessing\.mean\[2\]: 0\.3 and 0\.4"):
        check_compatible(theta, Theta(tensors, brighter))
    check_compatible(theta, theta)


def test_classifier_is_open_clips_tower_with_normalised_features(header):
    model = build_classifier(header, seed=1)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    clip = open_clip_model(ARCHITECTURE, seed=1).eval()
    mean, std = (torch.tensor(PREPROCESSING[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        expected = functional.normalize(clip.encode_image((images / 255 - mean) / std), dim=-1)
        features = model.features(images)
        torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(features.norm(dim=-1), torch.ones(4))
        torch.testing.assert_close(model(images), model.head(features))


def test_tensors_go_in_and_come_out(header, tensors):
    model = build_classifier(header, tensors)
    again = classifier_tensors(model)
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[key], tensors[key]) for key in tensors)
    assert not any("num_batches_tracked" in key for key in tensors)
    assert not model.training
    with pytest.raises(WiseftError, match="different architectures"):
        build_classifier(header, {k: v for k, v in tensors.items() if "layer4" not in k})


def test_building_leaves_the_global_random_state_alone():
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    open_clip_model(ARCHITECTURE, seed=5)
    assert torch.equal(torch.rand(1), expected)


def test_random_weights_follow_the_seed(caplog):
    first, again, other = (open_clip_model(ARCHITECTURE, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["visual.conv1.weight"], other["visual.conv1.weight"])
    assert "randomly" not in caplog.text, "random weights are what was asked for"


def test_a_bad_architecture_is_a_sentence(tmp_path: Path):
    path = tmp_path / "model.json"
    path.write_text('{"embed_dim": 8}')
    with pytest.raises(WiseftError, match="lacks vision_cfg, text_cfg"):
        architecture_from_json(path)
    with pytest.raises(WiseftError, match="open_clip cannot build"):
        open_clip_model(ARCHITECTURE | {"vision_cfg": {"heads_": 3}})


def test_a_real_architecture_of_open_clip_builds():
    config = open_clip.get_model_config("RN50-quickgelu") | {"embed_dim": 32}
    config["vision_cfg"] = {**config["vision_cfg"], "width": 8, "layers": [1, 1, 1, 1]}
    config["text_cfg"] = {**config["text_cfg"], "width": 16, "heads": 2, "layers": 1}
    assert open_clip_model(config, 0).visual.image_size == 224


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("n", [1, 7, 1000])
def test_is_finite_finds_one_bad_element_wherever_it_is(dtype: torch.dtype, n: int) -> None:
    good = torch.linspace(-3, 3, n).to(dtype)
    assert is_finite(good)
    for place in {0, n // 2, n - 1}:
        for value in (float("nan"), float("inf"), -float("inf")):
            bad = good.clone()
            bad[place] = value
            assert not is_finite(bad)


def test_is_finite_of_a_scalar_and_of_nothing() -> None:
    assert is_finite(torch.tensor(1.0))
    assert not is_finite(torch.tensor(float("nan")))
    assert is_finite(torch.zeros(0, 3))


def damaged_header(path: Path, tensors, text: str) -> Path:
    """Write a theta with sums that are right, and this text as its header."""
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(
        tensors,
        path,
        metadata={
            "wiseft": text,
            "wiseft_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "tensors_sha256": tensors_sha256(tensors),
        },
    )
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(stage_vevsion=h.pop("stage_version")), "key `stage_vevsion`; did you"),
        (lambda h: h.pop("stage_version"), "key `stage_version` is missing"),
        (lambda h: h.update(stage="x"), "names the stage x, which does not exist"),
        (lambda h: h.update(class_names=3), "key `class_names` is 3, but must be a list"),
        (lambda h: h.update(class_names=[1, 2, 3]), "key `class_names.0` is 1, but must be text"),
        (lambda h: h.update(architecture=None), "key `architecture` is null, but must be a mapp"),
        (lambda h: h.update(settings=[]), r"key `settings` is \[\], but must be a mapping"),
        (lambda h: h.update(seed="x"), "key `seed` is "),
        (lambda h: h.update(never_predicted=["a"]), "key `never_predicted.0` is "),
        (lambda h: h.update(never_predicted=[3]), "has 3 in never_predicted, but there are 3 cla"),
    ],
)
@pytest.mark.parametrize("read", [load_theta, open_theta])
def test_a_header_that_is_no_theta_s_is_one_sentence(
    tmp_path: Path, header, tensors, read, change, message
):
    plain = {"format": 2, **header_dict(header)}
    path = damaged_header(tmp_path / "x.safetensors", tensors, json.dumps(plain))
    assert read(path).header == header  # as it is written
    change(plain)
    damaged_header(path, tensors, json.dumps(plain))
    with pytest.raises(WiseftError, match=rf"header of .*x\.safetensors.* {message}"):
        read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"header of .*x\.safetensors is not valid JSON \(Expecting"),
        ("[" * 10**5, r"header of .*x\.safetensors is not valid JSON \(maximum recursion"),
        ('{"seed": ' + "9" * 5000 + "}", "is not valid JSON"),
        ("[1]", r"header of .*x\.safetensors is list, not a JSON object"),
    ],
    ids=["cut", "deep", "digits", "list"],
)
def test_a_header_that_is_no_json_is_one_sentence(tmp_path: Path, tensors, text, message):
    path = damaged_header(tmp_path / "x.safetensors", tensors, text)
    for read in (load_theta, open_theta, load_weights, read_checkpoint):
        with pytest.raises(WiseftError, match=message):
            read(path)


@pytest.mark.parametrize("lost", ["stage", "stage_version", "architecture", "preprocessing"])
def test_weights_whose_header_lacks_a_key_are_refused(tmp_path: Path, lost: str):
    tensors = {"x": torch.ones(3)}
    about = {"stage": "pretrain", "architecture": ARCHITECTURE, "preprocessing": PREPROCESSING}
    save_weights(tmp_path / "w.safetensors", tensors, about)
    header = load_weights(tmp_path / "w.safetensors")[1]
    del header["tensors_sha256"], header[lost]
    damaged_header(tmp_path / "w.safetensors", tensors, json.dumps(header))
    with pytest.raises(WiseftError, match=rf"header of .*w\.safetensors: key `{lost}` is missing"):
        load_weights(tmp_path / "w.safetensors")
