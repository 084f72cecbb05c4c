"""Tiny models that know the made-up pictures, in the form that those of an entry are fetched in."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from tools.rehearsal import tiny
from tools.rehearsal.checkpoints import torchscript, weights_of
from tools.rehearsal.learning import learned
from torch import Tensor

from wiseft.base import library
from wiseft.base.io import read_json, sha256_file
from wiseft.models import towers
from wiseft.models.towers import timm_models
from wiseft.study.config import ModelEntry

SIZE = 32
"""Edge in pixels of the images of the tiny models, but for timm's vision transformers."""
VIT = tiny.VIT | {"patch_size": SIZE}
"""One patch: attention with random weights takes the mean of several, which loses the cells."""
TIMM = {"tf_efficientnet": "test_efficientnet.r160_in1k", "vit": "test_vit.r160_in1k"}
"""timm's own tiny architectures, by what the names of their families begin with."""


Changes = dict[str, Any]


def write_model(entry: ModelEntry, root: Path) -> Changes:
    """Write the weights of an entry below a project's root; return what its entry says instead."""
    if entry.source == "timm":
        return _timm(entry, root)
    path = Path("outside") / "models" / entry.name
    (root / path).mkdir(parents=True, exist_ok=True)
    if entry.source == "align":
        _align(entry, root / path)
    elif entry.revision is None:
        path = path / "model.pt"
        _openai(_shrunk(entry), entry, root / path)
    else:
        _open_clip(_shrunk(entry), entry, root / path)
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
    image = tiny.RESNET if isinstance(config["vision_cfg"]["layers"], list) else VIT
    text = config["text_cfg"] | {"width": 16, "heads": 2, "layers": 2}
    return config | {"embed_dim": 16, "vision_cfg": dict(image), "text_cfg": text}


def _learned(architecture: Mapping[str, Any], entry: ModelEntry) -> dict[str, Tensor]:
    return learned(architecture, weights_of(architecture, _seed(entry)), entry, SIZE)


def _openai(architecture: Mapping[str, Any], entry: ModelEntry, path: Path) -> None:
    """Write OpenAI's form: a TorchScript archive, matrices in half precision."""
    tensors = _learned(architecture, entry)
    torchscript({k: v.half() if v.ndim > 1 else v for k, v in tensors.items()}, path)


def _write_architecture(entry: ModelEntry, root: Path) -> str:
    """Write an architecture into the catalogue, where files of weights do not say it."""
    path = root / "config" / "models" / f"{entry.name}.json"
    path.write_text(json.dumps(_shrunk(entry), indent=2))
    return path.name


def _open_clip(architecture: Mapping[str, Any], entry: ModelEntry, folder: Path) -> None:
    """Write the files of open_clip's repository on the hub."""
    pixels = entry.preprocessing
    preprocess = {"mean": list(pixels.mean), "std": list(pixels.std)}
    about = {"model_cfg": architecture, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(about, indent=2))
    _save(_learned(architecture, entry), folder / "open_clip_model.safetensors")


def _align(entry: ModelEntry, folder: Path) -> None:
    """Write the files of a repository of AlignModel: its tokenizer's, and its processor's."""
    architecture = tiny.align()
    (folder / "config.json").write_text(json.dumps(architecture["config"], indent=2))
    tiny.write_word_pieces(folder)
    _save(_learned(architecture, entry), folder / "model.safetensors")


def _timm(entry: ModelEntry, root: Path) -> Changes:
    """Put the weights where timm's are put by hand."""
    name, architecture = _tiny_timm(entry)
    folder = root / ".wiseft" / "fetched" / entry.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.safetensors"
    _save(_classifier(architecture, entry, root), path)
    return _sized(entry, architecture) | {"architecture": name, "sha256": sha256_file(path)}


def write_packaged(entry: ModelEntry, path: Path, root: Path) -> Changes:
    """Write a package with the weights of an entry; return what its entry says instead."""
    assert entry.package is not None
    name, architecture = _tiny_timm(entry)
    stream = io.BytesIO()
    torch.save(_classifier(architecture, entry, root), stream)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry.package.member, stream.getvalue())
    return _sized(entry, architecture) | {"architecture": name}


def _tiny_timm(entry: ModelEntry) -> tuple[str, dict[str, Any]]:
    """Return the name of timm's tiny architecture of an entry's family, and its description."""
    assert entry.architecture is not None
    name = next(TIMM[prefix] for prefix in TIMM if entry.architecture.startswith(prefix))
    return name, timm_models.at_size(timm_models.describe(name), SIZE)


def _classifier(
    architecture: Mapping[str, Any], entry: ModelEntry, root: Path
) -> dict[str, Tensor]:
    """Return weights whose classifier knows ImageNet's classes, or those of a label map."""
    names = library.names_by_id("imagenet")
    if entry.label_map:
        of = read_json(root / "config" / "models" / entry.label_map)
        names = names | {wnid: name for name, members in of.items() for wnid in members}
    known = [names.get(wnid, wnid) for wnid in timm_models.labels(architecture)]
    weights = weights_of(architecture, _seed(entry))
    return learned(architecture, weights, entry, towers.image_size(architecture) or SIZE, known)


def _sized(entry: ModelEntry, architecture: Mapping[str, Any]) -> Changes:
    return _resized(entry, towers.image_size(architecture) or SIZE)


def _save(tensors: Mapping[str, Any], path: Path) -> None:
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, {"format": "pt"})
