"""Fisher information: squared gradients of single samples, and means that it weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.combine.conftest import random_tensors, tiny_header
from torch import Tensor
from torch.nn import functional

from wiseft.combine.fisher_information import draw_labels, estimate_fisher, open_fisher, save_fisher
from wiseft.combine.linear_combination import combine, interpolate
from wiseft.combine.recipes.fisher import FisherCoefficients
from wiseft.errors import WiseftError
from wiseft.images.store import Split, open_split
from wiseft.models.classifier import ImageClassifier, build_classifier
from wiseft.thetas.theta import save_theta

VIT = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 50, "width": 8, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def split(manifest: Path) -> Split:
    return open_split(manifest, "train")


def one_by_one(model: ImageClassifier, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the Fisher information as the authors' code computes it: a sample at a time."""
    found = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for image, label in zip(images, labels, strict=True):
        model.zero_grad()
        functional.cross_entropy(model(image[None]), label[None]).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            found[name] += parameter.grad**2 / len(images)
    return found


def assert_near(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    largest = max(tensor.max() for tensor in wanted.values())
    for name, tensor in wanted.items():
        assert (found[name] - tensor).abs().max() <= 1e-5 * largest, name


@pytest.mark.parametrize("architecture", [tiny_header().architecture, VIT])
def test_equals_gradients_of_one_sample_at_a_time(architecture: dict, split: Split) -> None:
    model = build_classifier(tiny_header(architecture=architecture), seed=1)
    images = torch.from_numpy(split.read(slice(None))).permute(0, 3, 1, 2)
    wanted = one_by_one(model, images, torch.tensor(split.labels))
    found = estimate_fisher(model, split, labels="labels")
    assert_near(found, wanted)
    assert all(tensor.dtype == torch.float32 for tensor in found.values())


def test_head_by_hand(split: Split) -> None:
    model = build_classifier(tiny_header(), seed=1)
    images = torch.from_numpy(split.read(slice(None))).permute(0, 3, 1, 2)
    with torch.no_grad():
        features = model.features(images)
        error = functional.one_hot(torch.tensor(split.labels), 3) - model(images).softmax(1)
    found = estimate_fisher(model, split, labels="labels")
    torch.testing.assert_close(found["head.bias"], error.square().mean(dim=0))
    wanted = error.square().T @ features.square() / len(images)
    torch.testing.assert_close(found["head.weight"], wanted)


def test_statistics_of_batch_norm_have_none(split: Split) -> None:
    found = estimate_fisher(build_classifier(tiny_header(), seed=1), split)
    assert "image.bn1.weight" in found
    assert "image.bn1.running_mean" not in found


def test_drawn_labels_depend_on_seed_and_sample_alone(split: Split) -> None:
    model = build_classifier(tiny_header(), seed=1)
    whole = estimate_fisher(model, split, seed=3)
    halves = [
        estimate_fisher(model, split, seed=3, indices=i) for i in np.arange(24).reshape(2, 12)
    ]
    assert_near({name: (halves[0][name] + halves[1][name]) / 2 for name in whole}, whole)
    other = estimate_fisher(model, split, seed=4)
    assert not torch.equal(other["head.bias"], whole["head.bias"])


def test_labels_are_drawn_with_the_model_s_probabilities() -> None:
    logits = torch.tensor([[0.2, 0.0, 0.3, 0.5]]).log().repeat(1000, 1)
    numbers = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    assert draw_labels(logits, numbers).bincount(minlength=4).tolist() == [200, 0, 300, 500]
    ends = torch.tensor([0.0, 1.0 - 2**-53], dtype=torch.float64)
    assert draw_labels(
        torch.tensor([[-torch.inf, 0.0, -torch.inf]]).repeat(2, 1), ends
    ).tolist() == [
        1,
        1,
    ]


def test_class_that_is_never_predicted(split: Split) -> None:
    model = build_classifier(tiny_header(never_predicted=[1]), seed=1)
    with pytest.raises(WiseftError, match="never predicts it; take labels: sampled"):
        estimate_fisher(model, split, labels="labels")
    found = estimate_fisher(model, split)
    assert found["head.bias"][1] == 0.0
    assert found["head.bias"][0] > 0.0


def test_bad_requests(split: Split) -> None:
    model = build_classifier(tiny_header(), seed=1)
    with pytest.raises(WiseftError, match="must be sampled or labels"):
        estimate_fisher(model, split, labels="true")
    with pytest.raises(WiseftError, match="no sample"):
        estimate_fisher(model, split, indices=np.array([], dtype=np.int64))


def merged(
    thetas: list[dict[str, Tensor]], fishers: list[dict[str, Tensor]], weights: list[float]
) -> dict[str, Tensor]:
    return combine(thetas, FisherCoefficients(fishers, list(thetas[0]), weights))


def random_fisher(seed: int, like: dict[str, Tensor]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    names = [name for name in like if "running" not in name]
    # Over many orders of magnitude, as they are.
    return {n: 10 ** (-12 * torch.rand(like[n].shape, generator=generator)) for n in names}


@given(st.integers(1, 999), st.integers(0, 5))
@settings(deadline=None, max_examples=10)
def test_equal_fisher_information_is_the_interpolation(thousandths: int, seed: int) -> None:
    thetas = [random_tensors(0), random_tensors(1)]
    fisher = random_fisher(seed, thetas[0])
    alpha = thousandths / 1000
    found = merged(thetas, [fisher, fisher], [1 - alpha, alpha])
    wanted = interpolate(*thetas, alpha)
    for name in wanted:
        assert (found[name] - wanted[name]).abs().max() <= 1e-7 * wanted[name].abs().max(), name


def test_equal_fisher_information_of_three_is_linear() -> None:
    thetas = [random_tensors(seed) for seed in range(3)]
    weights = [0.5, 0.2, 0.3]
    found = merged(thetas, [random_fisher(0, thetas[0])] * 3, weights)
    torch.testing.assert_close(found, combine(thetas, weights), rtol=1e-6, atol=1e-7)


def test_weighted_by_hand_with_the_floor() -> None:
    thetas = [{"w": torch.tensor([1.0, 1.0, 1.0])}, {"w": torch.tensor([3.0, 3.0, 3.0])}]
    fishers = [{"w": torch.tensor([3.0, 0.0, 1e-8])}, {"w": torch.tensor([1.0, 0.0, 0.0])}]
    found = merged(thetas, fishers, [0.5, 0.5])["w"]
    torch.testing.assert_close(found, torch.tensor([1.5, 2.0, 2.0]))
    three = merged([*thetas, thetas[0]], [*fishers, fishers[0]], [0.25, 0.5, 0.25])["w"]
    torch.testing.assert_close(three, found)


def test_ends_are_copies_whatever_the_fisher_information() -> None:
    thetas = [random_tensors(0), random_tensors(1)]
    fishers = [random_fisher(seed, thetas[0]) for seed in (0, 1)]
    for place, weights in enumerate(([1.0, 0.0], [0.0, 1.0])):
        found = merged(thetas, fishers, weights)
        assert all(torch.equal(found[name], thetas[place][name]) for name in found)


def test_statistics_are_combined_linearly() -> None:
    thetas = [random_tensors(0), random_tensors(1)]
    fishers = [random_fisher(seed, thetas[0]) for seed in (0, 1)]
    found, wanted = merged(thetas, fishers, [0.7, 0.3]), interpolate(*thetas, 0.3)
    assert torch.equal(found["image.bn1.running_var"], wanted["image.bn1.running_var"])
    assert not torch.equal(found["image.bn1.weight"], wanted["image.bn1.weight"])


def test_fisher_information_that_does_not_fit() -> None:
    thetas = [{"w": torch.zeros(2)}, {"w": torch.zeros(2)}]
    good = {"w": torch.ones(2)}
    for fishers, weights, message in (
        ([good], [0.5, 0.5], "1 Fisher files but 2 coefficients"),
        ([good, {}], [0.5, 0.5], "another architecture: w is not in it"),
        ([{"v": torch.ones(2)}] * 2, [0.5, 0.5], "another architecture: v"),
        ([good, {"w": torch.ones(3)}], [0.5, 0.5], "information of w has the shapes"),
        ([good, {"w": -torch.ones(2)}], [0.5, 0.5], "w is negative"),
        ([good, {"w": torch.full((2,), torch.nan)}], [0.5, 0.5], "w holds a NaN"),
    ):
        with pytest.raises(WiseftError, match=message):
            merged(thetas, fishers, weights)


def test_stored_and_of_the_right_theta(tmp_path: Path) -> None:
    fisher = random_fisher(0, random_tensors(0))
    about = {"theta": "ab" * 32, "dataset": "shapes", "split": "train", "samples": 24}
    save_fisher(tmp_path / "fisher", fisher, about)
    found = open_fisher(tmp_path / "fisher", "ab" * 32)
    assert found.keys() == fisher.keys()
    assert all(torch.equal(found[name], fisher[name]) for name in fisher)
    with pytest.raises(WiseftError, match="is of the theta with identity abababababab, but"):
        open_fisher(tmp_path / "fisher", "cd" * 32)
    save_theta(tmp_path / "theta", random_tensors(0), tiny_header())
    with pytest.raises(WiseftError, match="holds zero-shot, not Fisher information"):
        open_fisher(tmp_path / "theta", "ab" * 32)
