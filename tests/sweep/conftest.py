"""Tiny models in the formats of other libraries, and folders of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
import transformers
from PIL import Image
from tests import tiny_models as tiny
from tests.evaluate.conftest import blobs
from tools.rehearsal.checkpoints import weights_of

CLASSES = ["bird", "number", "paper", "tail"]
HEAD = {"weight": torch.randn(4, 16, generator=torch.Generator().manual_seed(1)) * 40}
HEAD["bias"] = torch.tensor([0.1, -0.2, 0.3, 0.0])


def write_images(folder: Path, per_class: int, seed: int, classes: list[str] | None) -> Path:
    """Write `<class>/<number>.png`, or without classes the images alone."""
    for place, name in enumerate(classes or [""]):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(blobs(per_class, 100 * seed + place)):
            Image.fromarray(image).save(folder / name / f"{number:02}.png")
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """A reference, a labelled shift of two of its classes, one of all, and one without labels."""
    root = tmp_path_factory.mktemp("photos")
    write_images(root / "photos", 16, 1, CLASSES)
    write_images(root / "sketches", 15, 2, CLASSES[1:3])
    write_images(root / "paintings", 11, 3, CLASSES)
    write_images(root / "camera", 21, 4, None)
    return root


@pytest.fixture(autouse=True)
def tiny_architecture(monkeypatch):
    """Make open_clip know the tiny model by a name."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny", tiny.clip())


def tuned(weights, seed: int = 5, only: str = ""):
    """Return weights of which those that begin with `only` are a little off."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: value + 0.2 * torch.randn(value.shape, generator=generator)
        if value.is_floating_point() and key.startswith(only) and value.ndim
        else value
        for key, value in weights.items()
    }


@pytest.fixture
def clips():
    """A CLIP, and the same with another image tower."""
    weights = weights_of(tiny.clip(), 1)
    return weights, tuned(weights, only="visual.")


def clip_config() -> transformers.CLIPConfig:
    text = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"intermediate_size": 64, "max_position_embeddings": 20}
    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"intermediate_size": 64, "image_size": 32, "patch_size": 16}
    return transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)


def save_clip_folder(model: transformers.CLIPModel, folder: Path) -> Path:
    """Save a CLIPModel with its image processor."""
    model.save_pretrained(folder)
    size = {"shortest_edge": 32}
    crop = {"height": 32, "width": 32}
    transformers.CLIPImageProcessor(size=size, crop_size=crop).save_pretrained(folder)
    return folder


def save_timm_folder(model, folder: Path, classes: list[str]) -> Path:
    """Save a model of timm as timm does for its hub."""
    pretrained = {"mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0}
    about = {"label_names": classes, "pretrained_cfg": pretrained}
    timm.models.save_for_hf(model, folder, model_config=about, safe_serialization=True)
    return folder


def timm_options() -> dict:
    return dict(tiny.timm()["options"])


def timm_model(seed: int, classes: int = 4):
    torch.manual_seed(seed)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=classes, **timm_options())
    with torch.no_grad():
        model.head.weight.normal_()
    return model


def photo(folder: Path) -> Path:
    Image.fromarray(np.asarray(blobs(1, 9)[0])).resize((40, 36)).save(folder / "photo.jpg")
    return folder / "photo.jpg"
