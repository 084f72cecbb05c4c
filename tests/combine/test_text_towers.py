"""Thetas with a text tower: in between, the head follows from the interpolated text tower."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import torch
from tests.combine.conftest import PREPROCESSING
from torch import Tensor
from typer.testing import CliRunner

from wiseft.cli import app
from wiseft.combine.files import interpolate_files
from wiseft.combine.interpolator import Interpolator
from wiseft.combine.linear_combination import interpolate
from wiseft.errors import WiseftError
from wiseft.models import towers
from wiseft.models.classifier import build_classifier, classifier_tensors
from wiseft.thetas.theta import ThetaHeader, load_theta, make_header, save_theta
from wiseft.zeroshot.text_head import HeadBuilder

ARCHITECTURE = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}
PROMPTS = {"prompt_names": [["cat"], ["dog", "hound"]], "templates": ["a {c}.", "the {c}."]}
HEAD = ("head.weight", "head.bias")


def header() -> ThetaHeader:
    return make_header(
        "fine-tuned",
        "finetune",
        architecture=ARCHITECTURE,
        preprocessing=PREPROCESSING,
        class_names=["cat", "dog"],
        parents={},
        settings={"loss": "contrastive", **PROMPTS},
    )


def theta(seed: int) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in _theta(seed).items()}


@functools.cache  # two towers are built for it, and a head
def _theta(seed: int) -> dict[str, Tensor]:
    weights = towers.build(ARCHITECTURE, seed).tensors()
    both = towers.image_tensors(ARCHITECTURE, weights) | towers.text_tensors(ARCHITECTURE, weights)
    return both | HeadBuilder(header(), both).head(both)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    paths = [tmp_path_factory.mktemp("text") / f"{seed}.safetensors" for seed in range(2)]
    for seed, path in enumerate(paths):
        save_theta(path, theta(seed), header())
    return paths


def wanted(alpha: str) -> dict[str, Tensor]:
    mixed = interpolate(theta(0), theta(1), alpha)
    return mixed | HeadBuilder(header(), mixed).head(mixed)


def test_interpolated_file(files: list[Path], tmp_path: Path) -> None:
    interpolate_files(*files, "0.300", tmp_path / "theta")
    found = load_theta(tmp_path / "theta")
    expected = wanted("0.300")
    assert all(torch.equal(found.tensors[name], expected[name]) for name in expected)
    assert found.header.settings["prompts"] == PROMPTS
    linear = interpolate(theta(0), theta(1), "0.300")
    assert not torch.allclose(found.tensors["head.weight"], linear["head.weight"])
    # What was interpolated can be interpolated again.
    interpolate_files(files[0], tmp_path / "theta", "0.500", tmp_path / "again")


@pytest.mark.parametrize("place", [0, 1])
def test_ends_are_copies(files: list[Path], tmp_path: Path, place: int) -> None:
    interpolate_files(*files, f"{place}.000", tmp_path / "theta")
    found, end = load_theta(tmp_path / "theta").tensors, load_theta(files[place]).tensors
    assert all(torch.equal(found[name], end[name]) for name in end)


def test_soup(files: list[Path], tmp_path: Path) -> None:
    arguments = ["--recipe", json.dumps({"kind": "soup-uniform"}), *map(str, files)]
    options = ["--output", str(tmp_path / "theta"), "--device", "cpu"]
    CliRunner().invoke(app, ["combine", *arguments, *options], catch_exceptions=False)
    expected = wanted("0.500")
    found = load_theta(tmp_path / "theta").tensors
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_live_model() -> None:
    start, end = theta(0), theta(1)
    model = build_classifier(header(), start)
    interpolator = Interpolator(model, start, end, header())
    for alpha in ("0.300", "0.000", "0.300", "1.000"):
        interpolator.set(alpha)
        expected = {"0.000": start, "1.000": end}.get(alpha) or wanted(alpha)
        found = classifier_tensors(model)
        assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items()), alpha
    with pytest.raises(WiseftError, match="need a header"):
        Interpolator(model, start, end)
