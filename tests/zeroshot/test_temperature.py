"""The temperature of zero-shot logits (paper C.7.1)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import tiny_models as tiny

from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.images.split import PreparedSplit
from wiseft.models import towers
from wiseft.models.classifier import build_classifier
from wiseft.study.data.prepared import write_prepared
from wiseft.thetas.theta import load_theta, save_weights
from wiseft.zeroshot.temperature import calibrate_temperature
from wiseft.zeroshot.theta_0 import make_theta_0


def draw(n, classes, temperature, seed=0):
    """Logits and labels that are drawn from softmax(logits / temperature)."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, generator=generator) * 3
    shares = torch.softmax(logits / temperature, dim=-1)
    return logits, torch.multinomial(shares, 1, generator=generator).squeeze(1)


def loss(logits, labels, temperature):
    return float(torch.nn.functional.cross_entropy(logits.double() / temperature, labels))


@pytest.mark.parametrize("truth", [0.05, 0.7, 1.0, 4.0, 60.0])
def test_the_temperature_that_made_the_labels_is_found(truth):
    logits, labels = draw(20_000, 5, 1.0)
    found = calibrate_temperature(logits * truth, labels)
    assert found == pytest.approx(truth, rel=0.05)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.01, 100.0), st.integers(2, 12))
def test_it_is_the_minimum_of_the_loss(seed, scale, classes):
    logits, labels = draw(300, classes, 1.0, seed)
    logits = logits * scale
    found = calibrate_temperature(logits, labels)
    best = loss(logits, labels, found)
    for factor in (0.5, 0.99, 1.01, 2.0):
        assert best <= loss(logits, labels, found * factor) + 1e-12


def test_scaling_the_logits_scales_the_temperature():
    logits, labels = draw(500, 4, 1.0)
    one = calibrate_temperature(logits, labels)
    assert calibrate_temperature(logits * 8, labels) == pytest.approx(8 * one, rel=1e-6)
    assert calibrate_temperature(logits / one, labels) == pytest.approx(1.0, rel=1e-6)


def test_what_has_no_best_temperature_is_said():
    logits = torch.tensor([[4.0, 1.0], [1.0, 3.0]])
    right, wrong = torch.tensor([0, 1]), torch.tensor([1, 0])
    with pytest.raises(WiseftError, match="all 2 samples are classified right"):
        calibrate_temperature(logits, right)
    with pytest.raises(WiseftError, match="no better than chance"):
        calibrate_temperature(logits, wrong)
    with pytest.raises(WiseftError, match="no logits to fit a temperature on"):
        calibrate_temperature(logits[:0], right[:0])


def test_the_head_is_divided_by_the_temperature(tmp_path):
    architecture = tiny.align()
    model = towers.build(architecture, seed=3)
    with torch.no_grad():
        for parameter in model.module.parameters():
            parameter.mul_(2.0)  # features of some size
    header = {"architecture": architecture, "preprocessing": tiny.PREPROCESSING}
    weights = tmp_path / "weights.safetensors"
    save_weights(weights, model.tensors(), header)
    generator = np.random.default_rng(1)
    pixels = generator.integers(0, 256, (90, 32, 32, 3)).astype(np.uint8)
    split = PreparedSplit(pixels, np.arange(90) % 3, [f"s{i}" for i in range(90)])
    manifest = write_prepared(tmp_path / "data", "data", {"train": split}, ["7", "a", "bird"])
    plain = tmp_path / "plain.safetensors"
    make_theta_0(weights, manifest, ["a photo of {c}"], plain)
    before = load_theta(plain)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = build_classifier(before.header, before.tensors)(images)
    # Labels that follow the logits, so that there is something to fit.
    labels = torch.multinomial(
        torch.softmax(logits * 3, -1), 1, generator=torch.Generator().manual_seed(2)
    ).squeeze(1)
    split = PreparedSplit(pixels, labels.numpy(), [f"s{i}" for i in range(90)])
    manifest = write_prepared(tmp_path / "data", "data", {"train": split}, ["7", "a", "bird"])
    fitted = tmp_path / "fitted.safetensors"
    command = ["zeroshot", "--weights", weights, "--dataset", manifest, "--theta-0", fitted]
    command += ["--prompts", '["a photo of {c}"]', "--calibrate", "train", "--threads", 1]
    with pytest.raises(SystemExit) as left:
        main([str(part) for part in command])
    assert left.value.code == 0
    after = load_theta(fitted)
    expected = calibrate_temperature(logits, labels)
    about = after.header.settings["calibration"]
    assert about["temperature"] == pytest.approx(expected, rel=1e-4)
    assert (about["split"], about["n"]) == ("train", 90)
    torch.testing.assert_close(
        after.tensors["head.weight"], before.tensors["head.weight"] / about["temperature"]
    )
    with pytest.raises(WiseftError, match="no split 'val'"):
        make_theta_0(weights, manifest, ["{c}"], tmp_path / "x", calibrate="val")
