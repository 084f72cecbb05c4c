"""Weights set into a live model equal those that are written to a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from wiseft.combine.interpolator import Interpolator
from wiseft.combine.linear_combination import interpolate
from wiseft.errors import WiseftError
from wiseft.models.classifier import ImageClassifier, build_classifier, classifier_tensors
from wiseft.thetas.theta import Theta, load_theta


@pytest.fixture
def ends(theta_files: tuple[Path, Path]) -> tuple[Theta, Theta]:
    return load_theta(theta_files[0]), load_theta(theta_files[1])


@pytest.fixture
def model(ends: tuple[Theta, Theta]) -> ImageClassifier:
    return build_classifier(ends[0].header, seed=3)


@pytest.mark.parametrize("alpha", ["0.000", "0.100", "0.500", "0.730", "1.000"])
def test_equals_interpolate_bit_for_bit(
    ends: tuple[Theta, Theta], model: ImageClassifier, alpha: str
) -> None:
    start = ends[0].tensors | {"head.bias": torch.tensor([-0.0, 0.0, 1.0])}
    end = ends[1].tensors | {"head.bias": torch.tensor([0.0, -0.0, 2.0])}
    interpolator = Interpolator(model, start, end)
    interpolator.set(0.9)
    interpolator.set(alpha)
    wanted = interpolate(start, end, alpha)
    for name, tensor in classifier_tensors(model).items():
        found = tensor.detach().contiguous().numpy().view(np.int32)
        assert np.array_equal(found, wanted[name].numpy().view(np.int32)), name


def test_memory_format_and_ends_are_kept(ends: tuple[Theta, Theta], model: ImageClassifier) -> None:
    before = {name: tensor.clone() for name, tensor in ends[0].tensors.items()}
    strides = {name: tensor.stride() for name, tensor in classifier_tensors(model).items()}
    interpolator = Interpolator(model, ends[0].tensors, ends[1].tensors)
    for alpha in (0.5, 0.0, 0.25):
        interpolator.set(alpha)
    assert strides == {name: tensor.stride() for name, tensor in classifier_tensors(model).items()}
    assert all(torch.equal(before[name], ends[0].tensors[name]) for name in before)


def test_misfits(ends: tuple[Theta, Theta], model: ImageClassifier) -> None:
    start, end = ends[0].tensors, ends[1].tensors
    with pytest.raises(WiseftError, match=r"lacks head\.bias"):
        Interpolator(model, start, {k: v for k, v in end.items() if k != "head.bias"})
    nan = end["head.weight"] * float("nan")
    with pytest.raises(WiseftError, match=r"head\.weight of theta_1 holds a NaN"):
        Interpolator(model, start, end | {"head.weight": nan})
    huge = torch.full_like(end["head.bias"], 3e38)
    with pytest.raises(WiseftError, match=r"difference of the ends in tensor head\.bias"):
        Interpolator(model, start | {"head.bias": -huge}, end | {"head.bias": huge})
    with pytest.raises(WiseftError, match="outside"):
        Interpolator(model, start, end).set(1.5)
