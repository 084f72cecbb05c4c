"""Tiny models of every kind of tower, and a dataset that names the classes."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

from wiseft.images.split import PreparedSplit
from wiseft.models.towers.open_clip_models import open_clip_model
from wiseft.study.data.prepared import write_prepared
from wiseft.thetas.theta import save_weights

TEXT = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}
VIT = {"image_size": 32, "patch_size": 16, "layers": 1, "width": 16, "head_width": 8}
ARCHITECTURES = {
    "resnet": {"embed_dim": 16, "vision_cfg": RESNET, "text_cfg": TEXT},
    "vit": {"embed_dim": 16, "vision_cfg": VIT, "text_cfg": TEXT},
    "vit-other-tower": {
        "embed_dim": 16,
        "vision_cfg": VIT,
        "text_cfg": TEXT | {"no_causal_mask": True},
        "custom_text": True,
    },
}
PREPROCESSING = {"size": 32, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
PROMPT_NAMES = [["0", "zero"], ["1", "one"], ["2", "two"]]


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    return copy.deepcopy(ARCHITECTURES[request.param])


@pytest.fixture
def resnet():
    return copy.deepcopy(ARCHITECTURES["resnet"])


@pytest.fixture
def write_weights(tmp_path):
    """Write random weights of an architecture; `change` edits the tensors before."""

    def write(architecture, change=None, name="weights.safetensors") -> Path:
        model = open_clip_model(architecture, seed=3)
        tensors = {k: v for k, v in model.state_dict().items() if v.is_floating_point()}
        if change:
            change(tensors)
        header = {"architecture": architecture, "preprocessing": PREPROCESSING, "seed": 3}
        save_weights(tmp_path / name, tensors, header | {"settings": {"steps": 1}})
        return tmp_path / name

    return write


@pytest.fixture
def manifest(tmp_path) -> Path:
    images = np.zeros((3, 32, 32, 3), dtype=np.uint8)
    split = PreparedSplit(images, np.arange(3), [f"s{i}" for i in range(3)])
    return write_prepared(
        tmp_path / "digits",
        "digits",
        {"train": split},
        ["0", "1", "2"],
        prompt_names=PROMPT_NAMES,
    )
