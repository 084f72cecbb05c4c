"""Soups: means of thetas, and which thetas a greedy soup takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.combine.conftest import ARCHITECTURE, deciding_tensors, random_tensors, tiny_header
from torch import Tensor

from wiseft.combine.held_out import HeldOutAccuracy
from wiseft.combine.linear_combination import combine, interpolate
from wiseft.combine.recipes.soup_greedy import greedy_soup
from wiseft.errors import WiseftError
from wiseft.images.store import open_manifest, open_split
from wiseft.models.classifier import build_classifier


def points(*values: float) -> list[dict[str, Tensor]]:
    return [{"w": torch.tensor([value])} for value in values]


def near(target: float):
    """Return the accuracy of a classifier that is the better, the nearer it is to a target."""

    def accuracy(theta: Mapping[str, Tensor]) -> float:
        return 1.0 - abs(theta["w"].item() - target) / 10

    return accuracy


@pytest.mark.parametrize("alpha", ["0.100", "0.420", "0.500", "0.999"])
def test_soup_of_two_with_weights_is_the_interpolation(alpha: str) -> None:
    start, end = random_tensors(0), random_tensors(1)
    # As they are read from a recipe: 0.58 is not 1 - 0.42 in binary.
    found = combine([start, end], [float(f"{1 - float(alpha):.3f}"), float(alpha)])
    wanted = interpolate(start, end, alpha)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_greedy_soup_by_hand() -> None:
    # Nearest to 4 is 5, then 2, then 7, then 0: (5+2)/2 = 3.5 is better, (5+2+7)/3 = 4.67 is not,
    # (5+2+0)/3 = 2.33 is not.
    soup = greedy_soup(points(0.0, 5.0, 2.0, 7.0), near(4.0))
    assert soup.ingredients == [1, 2]
    assert soup.tensors["w"].item() == 3.5
    assert soup.accuracy == pytest.approx(0.95)
    assert soup.accuracies == pytest.approx([0.6, 0.9, 0.8, 0.7])


def test_greedy_soup_adds_what_does_not_make_it_worse() -> None:
    soup = greedy_soup(points(1.0, 2.0, 3.0), lambda theta: 0.5)
    assert soup.ingredients == [0, 1, 2]
    torch.testing.assert_close(soup.tensors, points(2.0)[0])


def test_greedy_soup_may_keep_the_best_alone_and_keeps_its_bits() -> None:
    thetas = [random_tensors(seed) for seed in range(3)]
    accuracy = {thetas[1]["head.bias"][0].item(): 0.9}
    soup = greedy_soup(thetas, lambda t: accuracy.get(t["head.bias"][0].item(), 0.1))
    assert soup.ingredients == [1]
    assert all(torch.equal(soup.tensors[name], thetas[1][name]) for name in thetas[1])


def test_greedy_soup_is_never_worse_than_its_best_ingredient() -> None:
    for target in np.linspace(-1, 8, 19):
        soup = greedy_soup(points(0.0, 5.0, 2.0, 7.0), near(target))
        assert soup.accuracy >= max(soup.accuracies)
        assert soup.accuracy == pytest.approx(near(target)(soup.tensors))


@pytest.mark.parametrize("keep", [0, 2**30])
def test_held_out_accuracy_is_that_of_the_classifier(manifest: Path, keep: int) -> None:
    header = tiny_header()
    split = open_split(manifest, "held-out")
    images = torch.from_numpy(split.read(slice(None))).permute(0, 3, 1, 2)
    first, second = deciding_tensors(0, images), deciding_tensors(1, images)
    accuracy = HeldOutAccuracy(open_manifest(manifest), header, first, batch_size=16, keep=keep)
    head = {name: second[name] for name in ("head.weight", "head.bias")}
    # The third has the image tower of the one before it, whose features are used again.
    found = []
    for tensors in (first, second, first | head, first):
        with torch.no_grad():
            logits = build_classifier(header, tensors)(images)
        wanted = (logits.argmax(dim=1).numpy() == split.labels).mean()
        found.append(accuracy(tensors))
        assert found[-1] == wanted
    assert len(set(found)) > 1
    assert accuracy.samples == 40


def test_held_out_samples_must_be_of_the_reference(manifest: Path) -> None:
    with pytest.raises(WiseftError, match="choose by their reference"):
        HeldOutAccuracy(open_manifest(manifest), tiny_header(class_names=["a", "b", "c"]), {})


def test_a_header_of_a_far_larger_model_is_refused_before_it_is_built(manifest: Path) -> None:
    vision = {**ARCHITECTURE["vision_cfg"], "layers": [5000, 1, 1, 1]}
    header = tiny_header(architecture={**ARCHITECTURE, "vision_cfg": vision})
    with pytest.raises(WiseftError, match="far larger model"):
        HeldOutAccuracy(open_manifest(manifest), header, random_tensors(0))
