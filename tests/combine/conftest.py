"""Random thetas of a tiny architecture, and a reference for them."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.random_models import blobs, deciding_head, telling_tensors

from wiseft.images.split import PreparedSplit
from wiseft.models.classifier import build_classifier
from wiseft.study.data.prepared import write_prepared
from wiseft.thetas.theta import ThetaHeader, make_header, save_theta

ARCHITECTURE = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    "text_cfg": {"context_length": 16, "vocab_size": 100, "width": 8, "heads": 2, "layers": 1},
}
PREPROCESSING = {"size": 32, "mean": [0.5, 0.4, 0.3], "std": [0.3, 0.2, 0.25]}


def tiny_header(kind: str = "zero-shot", stage: str = "zeroshot", **changes: object) -> ThetaHeader:
    arguments: dict = {
        "architecture": ARCHITECTURE,
        "preprocessing": PREPROCESSING,
        "class_names": ["zero", "one", "two"],
        "parents": {},
    }
    return make_header(kind, stage, **(arguments | changes))


def random_tensors(seed: int) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in _random_tensors(seed).items()}


@functools.cache  # a model is built for them
def _random_tensors(seed: int) -> dict[str, torch.Tensor]:
    return telling_tensors(tiny_header(), seed)


@pytest.fixture(scope="session")
def theta_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("thetas")
    paths = folder / "theta_0.safetensors", folder / "theta_1.safetensors"
    save_theta(paths[0], random_tensors(0), tiny_header())
    save_theta(paths[1], random_tensors(1), tiny_header("fine-tuned", "finetune", seed=7))
    return paths


def deciding_tensors(seed: int, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Random weights that predict every class for some of the images, uint8 (n, 3, 32, 32)."""
    tensors = random_tensors(seed)
    return tensors | deciding_head(build_classifier(tiny_header(), tensors), images, seed)


CLASSES = ["zero", "one", "two"]


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference with the splits train, held-out and test, of random squares."""
    splits = {}
    for seed, (name, n) in enumerate({"train": 24, "held-out": 40, "test": 6}.items()):
        rng = np.random.default_rng(seed)
        splits[name] = PreparedSplit(
            images=blobs(n, seed),
            labels=rng.integers(0, len(CLASSES), n),
            sample_ids=[f"{name}-{i}" for i in range(n)],
        )
    folder = tmp_path_factory.mktemp("datasets") / "shapes"
    return write_prepared(folder, "shapes", splits, CLASSES)
