"""Layers in front that are the same at both ends run once; predictions stay what they are."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
import torch
from tests.evaluate.conftest import ARCHITECTURE, BATCH, CLASSES, inference, tiny_header

from wiseft.evaluate import frozen, passes
from wiseft.evaluate.passes import Inference, WeightSweep, make_sweep
from wiseft.evaluate.request import Request
from wiseft.evaluate.suite import evaluate_suite
from wiseft.models.classifier import build_classifier, classifier_tensors
from wiseft.thetas.theta import Theta, save_theta

VIT = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 4, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": ARCHITECTURE["text_cfg"],
}
RESNET = {
    **ARCHITECTURE,
    "vision_cfg": {"image_size": 32, "layers": [2, 1, 1, 1], "width": 8, "patch_size": None},
}
EFFICIENTNET = {
    "family": "timm",
    "model": "test_efficientnet",
    "embed_dim": 256,
    "normalise": False,
    "image_size": 32,
}
TIMM_VIT = EFFICIENTNET | {"model": "test_vit", "embed_dim": 64}
# By architecture: what of it is trained, and the blocks that are not.
TOWERS = {
    "vit": (VIT, ("transformer.resblocks.2", "transformer.resblocks.3", "ln_post", "proj"), 2),
    "vit-tail": (VIT, ("ln_post", "proj"), 4),
    "resnet": (RESNET, ("layer3", "layer4", "attnpool"), 3),
    "efficientnet": (EFFICIENTNET, ("blocks.3", "blocks.4", "conv_head", "bn2"), 3),
    "timm-vit": (TIMM_VIT, ("blocks.3.", "blocks.4", "blocks.5", "norm.", "fc_norm"), 3),
}


def two(architecture: dict, trained: tuple[str, ...]) -> tuple[Theta, Theta]:
    header = tiny_header(architecture=architecture)
    start = classifier_tensors(build_classifier(header, seed=0))
    generator = torch.Generator().manual_seed(1)
    end = {}
    for name, tensor in start.items():
        noise = 0.1 * torch.rand(tensor.shape, generator=generator)
        changed = name.startswith(("head.", *(f"image.{part}" for part in trained)))
        end[name] = (tensor + noise if changed else tensor.clone()).detach().contiguous()
    start = {name: tensor.detach().contiguous() for name, tensor in start.items()}
    return Theta(start, header), Theta(end, header)


@pytest.fixture(params=TOWERS)
def case(request) -> tuple[Theta, Theta, int]:
    architecture, trained, blocks = TOWERS[request.param]
    return *two(architecture, trained), blocks


def images(n: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, 32, 32), generator=torch.Generator().manual_seed(2)).byte()


def logits(swept: WeightSweep, alphas: list[str]) -> dict[str, torch.Tensor]:
    with torch.inference_mode(), swept.inference.arithmetic.kernels(deterministic=True):
        batches = [swept.pixels([part]) for part in images(25).split(BATCH)]
        return {f"{c}/{a}": each for c, a, each in swept.logits(batches, alphas)}


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_logits_are_the_same_bit_for_bit(case, monkeypatch, name: str) -> None:
    start, end, blocks = case
    alphas = ["0.000", "0.300", "0.500", "0.900", "1.000"]
    how = inference(BATCH)
    if name == "bf16":
        how.arithmetic = type(how.arithmetic)("bf16", how.device)
    cached = make_sweep(start, end, how)
    assert isinstance(cached, WeightSweep) and cached._frozen is not None
    assert len(cached._frozen._blocks) == blocks
    found = logits(cached, alphas)
    monkeypatch.setattr(passes, "frozen_layers", lambda *_: None)
    plain = make_sweep(start, end, how)
    assert plain._frozen is None
    expected = logits(plain, alphas)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert not torch.equal(found["weight/0.300"], found["weight/0.900"])


def test_frozen_blocks_run_once_a_batch(case) -> None:
    start, end, _ = case
    swept = make_sweep(start, end, inference(BATCH))
    calls = dict.fromkeys(("first", "second"), 0)
    parts = swept._frozen
    leaf = next(each for each in parts._blocks[0].modules() if not list(each.children()))
    leaf.register_forward_hook(lambda *_: calls.update(first=calls["first"] + 1))
    swept.model.image.register_forward_hook(lambda *_: calls.update(second=calls["second"] + 1))
    logits(swept, ["0.000", "0.250", "0.500", "1.000"])
    assert calls == {"first": 3, "second": 3 * 4}  # the last of three batches is smaller


def test_a_tower_that_is_trained_from_the_stem_on_is_one_piece() -> None:
    for architecture, stem in ((VIT, "class_embedding"), (VIT, "conv1"), (RESNET, "bn1")):
        swept = make_sweep(*two(architecture, (stem, "proj")), inference(BATCH))
        assert isinstance(swept, WeightSweep) and swept._frozen is None


def test_one_that_cannot_be_taken_apart_is_one_piece(monkeypatch) -> None:
    ends = two(VIT, ("transformer.resblocks.3", "proj"))
    monkeypatch.setattr(frozen.FrozenLayers, "second", lambda *_: torch.zeros(2, 8))
    assert make_sweep(*ends, inference(BATCH))._frozen is None
    monkeypatch.setattr(frozen.FrozenLayers, "second", lambda *_: 1 / 0)
    assert make_sweep(*ends, inference(BATCH))._frozen is None


def test_compiled_towers_are_one_piece(monkeypatch) -> None:
    monkeypatch.setattr(passes, "compile_tower", lambda model: None)
    how = inference(BATCH)
    compiled = Inference(how.device, how.arithmetic, how.batch_size, compile=True)
    assert make_sweep(*two(VIT, ("transformer.resblocks.3", "proj")), compiled)._frozen is None


def test_an_evaluation_makes_the_same_files(
    case, manifest: Path, request_for, tmp_path: Path, monkeypatch
) -> None:
    paths = [tmp_path / f"{name}.safetensors" for name in ("start", "end")]
    for theta, path in zip(case, paths, strict=False):
        save_theta(path, theta.tensors, theta.header)
    grid = [f"{step / 8:.3f}" for step in range(9)]
    asked: Request = request_for(theta_0=paths[0], theta_1=paths[1], alphas=grid, batch_size=BATCH)
    evaluate_suite(asked)
    monkeypatch.setattr(passes, "frozen_layers", lambda *_: None)
    plain = dataclasses.replace(asked, output_dir=tmp_path / "plain")
    evaluate_suite(plain)
    found, expected = (
        pd.read_parquet(each.output_dir / "shapes" / "predictions.parquet")
        for each in (asked, plain)
    )
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert found["weight/all/0.500/prediction"].nunique() <= len(CLASSES)
