"""Heads made of the rows of a supervised classifier (the paper's JFT case)."""

import json

import numpy as np
import pytest
import torch
from tests import tiny_models as tiny

from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.images.split import PreparedSplit
from wiseft.models import towers
from wiseft.models.classifier import build_classifier, mask_logits
from wiseft.study.data.prepared import write_prepared
from wiseft.thetas.theta import (
    Theta,
    check_compatible,
    header_dict,
    load_theta,
    make_header,
    save_weights,
)
from wiseft.zeroshot.matched_head import match_head
from wiseft.zeroshot.theta_0 import make_theta_0

LABELS = ["n0", "n1", "n2", "n3", "n4", "n5"]
WEIGHT = torch.arange(12.0).view(6, 2)
BIAS = torch.arange(6.0) * 10
IDS = ["n4", "x", "n1"]


def images(n=6):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (n, 32, 32, 3)).astype(np.uint8)


@pytest.fixture
def manifest(tmp_path):
    """Three classes; the second has no counterpart."""
    split = PreparedSplit(images(), np.array([0, 1, 2, 0, 1, 2]), [f"s{i}" for i in range(6)])
    return write_prepared(
        tmp_path / "data", "data", {"train": split}, ["a", "b", "c"], optional={"class_ids": IDS}
    )


@pytest.fixture
def weights(tmp_path):
    architecture = tiny.timm(ids=LABELS)
    tensors = towers.build(architecture, seed=2).tensors()
    header = {"architecture": architecture, "preprocessing": tiny.PREPROCESSING}
    save_weights(tmp_path / "weights.safetensors", tensors, header)
    return tmp_path / "weights.safetensors", architecture, tensors


def test_rows_and_biases_are_those_of_the_counterparts():
    head = match_head(WEIGHT, BIAS, LABELS, ["n4", None, "n1"])
    assert torch.equal(head.weight[0], WEIGHT[4])
    assert torch.equal(head.weight[2], WEIGHT[1])
    assert head.bias[[0, 2]].tolist() == [40.0, 10.0]
    assert head.never_predicted == [1]
    # A class without a counterpart starts as like no class in particular.
    assert torch.equal(head.weight[1], (WEIGHT[4] + WEIGHT[1]) / 2)
    assert head.bias[1] == 25.0


def test_a_class_of_several_has_the_mean_of_their_rows():
    head = match_head(WEIGHT, BIAS, LABELS, [["n4", "n0", "n5"], None, "n1"])
    torch.testing.assert_close(head.weight[0], WEIGHT[[0, 4, 5]].mean(dim=0))
    assert head.bias[0] == pytest.approx(30.0)
    assert torch.equal(head.weight[2], WEIGHT[1])
    assert head.never_predicted == [1]
    with pytest.raises(WiseftError, match="but no n9"):
        match_head(WEIGHT, BIAS, LABELS, [["n4", "n9"]])


def test_a_wrong_counterpart_is_named():
    with pytest.raises(WiseftError, match=r"has 6 classes \(n0, \.\.\.\), but no n9"):
        match_head(WEIGHT, BIAS, LABELS, ["n4", "n9"])
    with pytest.raises(WiseftError, match="no class of the reference has a counterpart"):
        match_head(WEIGHT, BIAS, LABELS, [None, None])


def test_theta_0_is_the_classifier_over_the_matched_classes(weights, manifest, tmp_path, said):
    path, architecture, tensors = weights
    make_theta_0(path, manifest, None, tmp_path / "theta_0.safetensors")
    theta = load_theta(tmp_path / "theta_0.safetensors")
    assert theta.header.never_predicted == [1]
    assert theta.header.settings == {"counterparts": ["n4", None, "n1"]}
    assert "2 of 3 classes of data have a counterpart; never predicted: b" in said[0]
    pixels = torch.from_numpy(images()).permute(0, 3, 1, 2)
    model = towers.load(architecture, tensors, "weights")
    with torch.no_grad():
        logits = build_classifier(theta.header, theta.tensors)(pixels)
        features = model.image((pixels / 255 - 0.5) / 0.25)
        whole = model.classifier(features)
    torch.testing.assert_close(logits[:, [0, 2]], whole[:, [4, 1]], atol=1e-5, rtol=1e-5)
    assert torch.isneginf(logits[:, 1]).all()
    assert not (logits.argmax(dim=-1) == 1).any(), "its samples are errors"


def test_in_training_all_classes_have_finite_logits(weights, manifest, tmp_path):
    path, _, _ = weights
    make_theta_0(path, manifest, None, tmp_path / "theta_0.safetensors")
    theta = load_theta(tmp_path / "theta_0.safetensors")
    model = build_classifier(theta.header, theta.tensors).train()
    logits = model(torch.from_numpy(images()).permute(0, 3, 1, 2))
    assert torch.isfinite(logits).all()
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0, 1, 2]))
    assert torch.isfinite(loss)


def test_a_map_to_several_names_them_for_the_reader(weights, manifest, tmp_path):
    path, _, tensors = weights
    content = {"n4": {"n3": "a cat", "n5": "another"}, "x": "n0", "n1": {}}
    (tmp_path / "map.json").write_text(json.dumps(content))
    output = tmp_path / "theta_0.safetensors"
    make_theta_0(path, manifest, None, output, label_map=tmp_path / "map.json")
    theta = load_theta(output)
    torch.testing.assert_close(
        theta.tensors["head.weight"][0], tensors["head.weight"][[3, 5]].mean(dim=0)
    )
    assert theta.header.settings == {"counterparts": [["n3", "n5"], "n0", []]}
    assert theta.header.never_predicted == [2]


def test_a_map_replaces_the_ids(weights, manifest, tmp_path):
    path, _, tensors = weights
    (tmp_path / "map.json").write_text(json.dumps({"x": "n0", "n1": None, "n4": "n3"}))
    output = tmp_path / "theta_0.safetensors"
    make_theta_0(path, manifest, None, output, label_map=tmp_path / "map.json")
    theta = load_theta(output)
    assert theta.header.never_predicted == [2]
    assert torch.equal(theta.tensors["head.weight"][1], tensors["head.weight"][0])
    assert torch.equal(theta.tensors["head.bias"][0], tensors["head.bias"][3])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"z": "n0"}, r"maps z, but the classes of data are n4, x, n1"),
        ({"x": "n9"}, "but no n9"),
        ({"x": 3}, "expected a JSON object of class names to ids"),
        (["n0"], "expected a JSON object of class names to ids"),
    ],
)
def test_wrong_maps_are_refused(content, message, weights, manifest, tmp_path):
    (tmp_path / "map.json").write_text(json.dumps(content))
    with pytest.raises(WiseftError, match=message):
        make_theta_0(weights[0], manifest, None, tmp_path / "t", label_map=tmp_path / "map.json")


def test_a_dataset_without_ids_needs_a_map(weights, tmp_path):
    split = PreparedSplit(images(), np.arange(6) % 2, [f"s{i}" for i in range(6)])
    manifest = write_prepared(tmp_path / "plain", "plain", {"train": split}, ["a", "b"])
    with pytest.raises(WiseftError, match=r"plain has no class ids .* --label-map"):
        make_theta_0(weights[0], manifest, None, tmp_path / "t")
    (tmp_path / "map.json").write_text('{"a": "n0"}')
    make_theta_0(weights[0], manifest, None, tmp_path / "t", label_map=tmp_path / "map.json")
    assert load_theta(tmp_path / "t").header.never_predicted == [1]


def test_prompts_and_text_towers_belong_together(weights, manifest, tmp_path, capsys):
    with pytest.raises(WiseftError, match="no text tower that reads prompts"):
        make_theta_0(weights[0], manifest, ["a {c}"], tmp_path / "t")
    header = {"architecture": tiny.clip(), "preprocessing": tiny.PREPROCESSING}
    clip = tmp_path / "clip.safetensors"
    save_weights(clip, towers.build(tiny.clip(), seed=1).tensors(), header)
    with pytest.raises(WiseftError, match="is made from prompts; give --prompts"):
        make_theta_0(clip, manifest, None, tmp_path / "t")
    (tmp_path / "map.json").write_text('{"x": "n0"}')
    with pytest.raises(WiseftError, match="leave out --label-map"):
        make_theta_0(clip, manifest, ["a {c}"], tmp_path / "t", label_map=tmp_path / "map.json")
    command = ["zeroshot", "--weights", str(weights[0]), "--dataset", str(manifest)]
    with pytest.raises(SystemExit) as left:
        main([*command, "--theta-0", str(tmp_path / "t")])
    assert left.value.code == 0
    assert "never predicted: b" in capsys.readouterr().err


def test_masked_logits_leave_the_others_alone():
    logits = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert mask_logits(logits, []) is logits
    masked = mask_logits(logits, [0, 2])
    assert masked[:, 1].tolist() == [2.0, 5.0]
    assert torch.isneginf(masked[:, [0, 2]]).all()
    assert torch.isfinite(logits).all()


def test_a_header_without_such_classes_has_the_bytes_of_before():
    about = {"architecture": {}, "preprocessing": {}, "class_names": ["a"], "parents": {}}
    plain = make_header("zero-shot", "zeroshot", **about)
    assert "never_predicted" not in header_dict(plain)
    masked = make_header("zero-shot", "zeroshot", never_predicted=[0], **about)
    assert header_dict(masked)["never_predicted"] == [0]
    with pytest.raises(WiseftError, match=r"differ in never_predicted: \[\] and \[0\]"):
        check_compatible(Theta({}, plain), Theta({}, masked))
