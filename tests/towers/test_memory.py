"""What is counted on fake tensors, held to what torch's profiler sees allocated on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import open_clip
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from wiseft.models import towers
from wiseft.models.classifier import ImageClassifier
from wiseft.models.footprint import evaluation_bytes, images_that_fit, spared, training_bytes
from wiseft.models.towers.memory import footprint
from wiseft.study.finetune.state import Precision
from wiseft.study.plan.without_bytes import built

NORMALISED = {"mean": [0.5] * 3, "std": [0.5] * 3}
EFFICIENTNET = {
    "family": "timm",
    "model": "tf_efficientnet_lite0",
    "embed_dim": 1280,
    "normalise": False,
    "image_size": 96,
}
CASES = {
    "ViT-B-32": (open_clip.get_model_config("ViT-B-32-quickgelu"), 224, 6),
    "RN50": (open_clip.get_model_config("RN50"), 224, 6),
    "EfficientNet-Lite0": (EFFICIENTNET, 96, 32),
}


def _allocated(run: Callable[[], object]) -> int:
    """Return the most bytes that were allocated at once, beside what was there."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    now = most = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


@pytest.mark.parametrize(("name", "precision"), [*((n, "fp32") for n in CASES), ("RN50", "bf16")])
def test_the_count_is_what_the_profiler_sees(name: str, precision: str) -> None:
    architecture, size, batch = CASES[name]
    image = towers.build_image(architecture, seed=0)
    head = torch.nn.Linear(towers.embed_dim(architecture), 10)
    model = ImageClassifier(image, head, NORMALISED)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)
    arithmetic = Precision(precision, torch.device("cpu"))

    def train() -> None:
        with arithmetic.autocast():
            loss = model(images).float().logsumexp(1).sum()
        loss.backward()

    def evaluate() -> None:
        with torch.inference_mode(), arithmetic.autocast():
            model(images)

    counted = footprint(model, size, precision, device_type="cpu")
    model.train()
    train()  # gradients are there from now on
    trained = _allocated(train) + images.nbytes
    model.eval()
    evaluated = _allocated(evaluate) + images.nbytes
    there = training_bytes(counted, 0, moments=0) - counted.cast  # weights and their gradients
    assert trained == pytest.approx(training_bytes(counted, batch, moments=0) - there, rel=0.15)
    # Without gradients weights in half precision may be kept or go again at once.
    least, most = batch * counted.peak, batch * counted.peak + counted.cast
    assert 0.85 * least < evaluated < 1.15 * most
    floating = towers.floating(model.state_dict()).values()
    assert counted.weights == pytest.approx(sum(tensor.nbytes for tensor in floating), rel=1e-4)


def test_an_architecture_counts_as_its_module_does() -> None:
    architecture, size, _ = CASES["ViT-B-32"]
    head = torch.nn.Linear(towers.embed_dim(architecture), 1000)
    model = ImageClassifier(towers.build_image(architecture, seed=0), head, NORMALISED).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    counted = footprint(model, size)
    assert counted == replace(footprint(built(architecture), size), weights=counted.weights)
    assert not model.training and not model.image.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_kernels_are_named_and_differ_as_they_do() -> None:
    architecture, size, _ = CASES["ViT-B-32"]
    model = built(architecture)
    cuda, cpu = (footprint(model, size, device_type=kind) for kind in ("cuda", "cpu"))
    half = footprint(model, size, "bf16")
    assert cuda.attention == "memory-efficient"
    assert cpu.attention == "flash on a CPU, a fused module with the matrix of tokens x tokens"
    assert half.attention == "flash"
    assert half.cast == 2 * half.parameters and 0.5 < half.saved / cuda.saved < 0.6
    assert footprint(built(EFFICIENTNET), 96).attention is None
    both = footprint(built(architecture, tokens=77), size, tokens=77)
    assert both.parameters > cuda.parameters and both.saved > 1.5 * cuda.saved


def test_counting_replaces_no_function_of_torch() -> None:
    """Another thread may run a model meanwhile: it runs what torch has, and is not counted."""

    class Looks(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.seen = torch.nn.LayerNorm(8), []

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            functions = torch.nn.functional
            known = functions.scaled_dot_product_attention, functions.layer_norm
            self.seen += [*known, torch._native_multi_head_attention]
            rows = images.float().flatten(1)[:, :8]
            return functions.scaled_dot_product_attention(*[self.norm(rows)[:, None, None]] * 3)

    before = (
        *(torch.nn.functional.scaled_dot_product_attention, torch.nn.functional.layer_norm),
        torch._native_multi_head_attention,
    )
    model = Looks()
    assert footprint(model, 8, "bf16").attention == "flash"
    assert all(one is other for one, other in zip(model.seen, before * 4, strict=True))


@pytest.mark.parametrize("training", [True, False])
def test_the_largest_batch_that_fits_and_no_larger_one(training: bool) -> None:
    architecture, size, _ = CASES["RN50"]
    counted = footprint(built(architecture), size)
    needed = training_bytes if training else evaluation_bytes
    for available in (10**9, 10**10, 8 * 10**10):
        fits = images_that_fit(counted, available, training=training)
        usable = available - spared(available)
        assert needed(counted, fits + 1) > usable
        assert fits == 0 or needed(counted, fits) <= usable
    assert images_that_fit(counted, 10**8, training=training) == 0
