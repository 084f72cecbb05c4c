"""Tiny models with random weights, in the form that those of an entry are fetched in."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from tools.rehearsal import folders, tiny
from tools.rehearsal.checkpoints import torchscript, weights_of
from torch import Tensor
from torch.nn.functional import interpolate

from wiseft.base import library
from wiseft.base.io import sha256_file
from wiseft.models import towers
from wiseft.models.towers import timm_models
from wiseft.study.config import ModelEntry

SIZE = 32
"""Edge in pixels of the images of the tiny models, but for timm's vision transformers."""
TIMM = {"tf_efficientnet": "test_efficientnet.r160_in1k", "vit": "test_vit.r160_in1k"}
"""timm's own tiny architectures, by what the names of their families begin with."""

ALIGN_SCALE, RELATIVE = 10.0, 1e-4

Changes = dict[str, Any]


def write_model(entry: ModelEntry, root: Path) -> Changes:
    """Write the weights of an entry below a project's root; return what its entry says instead."""
    if entry.source == "timm":
        return _timm(entry, root)
    path = Path("outside") / "models" / entry.name
    (root / path).mkdir(parents=True, exist_ok=True)
    if entry.source == "align":
        _align(root / path)
    elif entry.revision is None:
        path = path / "model.pt"
        _openai(_shrunk(entry), root / path, _seed(entry))
    else:
        _open_clip(_shrunk(entry), entry, root / path, _seed(entry))
    sums = {"sha256": sha256_file(root / path)} if path.suffix else {}
    architecture = path.suffix and _write_architecture(entry, root)
    found = {"architecture": architecture} if architecture else {}
    return _resized(entry, SIZE) | {"source": "file", "path": path.as_posix()} | sums | found


def _seed(entry: ModelEntry) -> int:
    """Return a seed that entries of the same weights share."""
    return zlib.crc32(f"{entry.repository} {entry.architecture} {entry.pretrained}".encode())


def _resized(entry: ModelEntry, size: int) -> Changes:
    """Return the preprocessing for images of another size, and no pins."""
    pixels = entry.preprocessing.given() | {"size": size}
    if old := pixels.get("resize_size"):
        pixels["resize_size"] = round(old * size / entry.preprocessing.size)
    gone = ("architecture", "pretrained", "repository", "revision", "sha256")
    return {"preprocessing": pixels} | dict.fromkeys(gone)


def _shrunk(entry: ModelEntry) -> dict[str, Any]:
    """Return an architecture of open_clip with the towers of the named one, tiny."""
    assert entry.architecture is not None
    config = open_clip.get_model_config(entry.architecture)
    image = tiny.RESNET if isinstance(config["vision_cfg"]["layers"], list) else tiny.VIT
    text = config["text_cfg"] | {"width": 16, "heads": 2, "layers": 2}
    return config | {"embed_dim": 16, "vision_cfg": dict(image), "text_cfg": text}


def _openai(architecture: Mapping[str, Any], path: Path, seed: int) -> None:
    """Write OpenAI's form: a TorchScript archive, matrices in half precision."""
    tensors = weights_of(architecture, seed)
    torchscript({k: v.half() if v.ndim > 1 else v for k, v in tensors.items()}, path)


def _write_architecture(entry: ModelEntry, root: Path) -> str:
    """Write an architecture into the catalogue, where files of weights do not say it."""
    path = root / "config" / "models" / f"{entry.name}.json"
    path.write_text(json.dumps(_shrunk(entry), indent=2))
    return path.name


def _open_clip(architecture: Mapping[str, Any], entry: ModelEntry, folder: Path, seed: int) -> None:
    """Write the files of open_clip's repository on the hub."""
    pixels = entry.preprocessing
    preprocess = {"mean": list(pixels.mean), "std": list(pixels.std)}
    about = {"model_cfg": architecture, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(about, indent=2))
    _save(weights_of(architecture, seed), folder / "open_clip_model.safetensors")


def _align(folder: Path) -> None:
    """Write the files of a repository of AlignModel: its tokenizer's, and its processor's.

    Its temperature is fitted, for which it has to be better than chance, if by a hair.
    """
    architecture = tiny.align()
    (folder / "config.json").write_text(json.dumps(architecture["config"], indent=2))
    tiny.write_word_pieces(folder)
    weights = weights_of(architecture, seed=6)
    # A tiny random BERT tells hardly any prompts apart.
    weights = {k: v * ALIGN_SCALE if v.ndim > 1 else v for k, v in weights.items()}
    change = _towards_pictures(architecture, weights)
    weights |= {k: change @ v for k, v in weights.items() if k.startswith("text_projection")}
    _save(weights, folder / "model.safetensors")


def _towards_pictures(architecture: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Tensor:
    """Return the matrix (d, d) whose product with text features is nearest to what tells the
    made-up pictures of ImageNet's classes apart, and has nothing of what all pictures share.
    """
    model = towers.build(architecture)
    model.load({k: v for k, v in weights.items() if v.is_floating_point()}, "a made-up model")
    prompts = [f"a photo of {name}." for name in library.class_names("imagenet")]
    colours = np.stack([folders.colours(label) for label in range(len(prompts))])
    pixels = torch.tensor(colours / 127.5 - 1.0, dtype=torch.float32).permute(0, 3, 1, 2)
    with torch.no_grad():
        images = model.image(interpolate(pixels, (SIZE, SIZE), mode="bilinear")).double()
        texts = model.encode_text(model.tokenize(prompts)).double()
    mean = images.mean(dim=0)
    # Of texts that hardly differ, what is below rounding would be enlarged else.
    fit = torch.linalg.lstsq(texts, images - mean, rcond=RELATIVE, driver="gelsd").solution
    shared = mean / mean.norm()
    return (fit - torch.outer(fit @ shared, shared)).T.float()


def _timm(entry: ModelEntry, root: Path) -> Changes:
    """Put the weights where timm's are put by hand."""
    name, architecture = _tiny_timm(entry)
    folder = root / ".wiseft" / "fetched" / entry.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.safetensors"
    _save(weights_of(architecture, _seed(entry)), path)
    return _sized(entry, architecture) | {"architecture": name, "sha256": sha256_file(path)}


def write_packaged(entry: ModelEntry, path: Path) -> Changes:
    """Write a package with the weights of an entry; return what its entry says instead."""
    assert entry.package is not None
    name, architecture = _tiny_timm(entry)
    stream = io.BytesIO()
    torch.save(weights_of(architecture, _seed(entry)), stream)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry.package.member, stream.getvalue())
    return _sized(entry, architecture) | {"architecture": name}


def _tiny_timm(entry: ModelEntry) -> tuple[str, dict[str, Any]]:
    """Return the name of timm's tiny architecture of an entry's family, and its description."""
    assert entry.architecture is not None
    name = next(TIMM[prefix] for prefix in TIMM if entry.architecture.startswith(prefix))
    return name, timm_models.at_size(timm_models.describe(name), SIZE)


def _sized(entry: ModelEntry, architecture: Mapping[str, Any]) -> Changes:
    return _resized(entry, towers.image_size(architecture) or SIZE)


def _save(tensors: Mapping[str, Any], path: Path) -> None:
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, {"format": "pt"})
