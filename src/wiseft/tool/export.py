"""A theta in the format of another checkpoint: its names, dtypes, wrapper and configuration."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from wiseft.base.io import atomic_path, json_text
from wiseft.errors import WiseftError
from wiseft.foreign import huggingface
from wiseft.foreign.class_names import CLASSES, FEATURES, HEAD
from wiseft.foreign.door import Opened, open_model
from wiseft.foreign.formats import Checkpoint
from wiseft.foreign.named import local_path
from wiseft.foreign.towers import FoundTower, find_image_tower, head_name
from wiseft.models import towers
from wiseft.models.towers import IMAGE, TEXT
from wiseft.thetas.tensor_file import examples
from wiseft.thetas.tensor_views import joined
from wiseft.thetas.theta import Theta, load_theta, save_theta

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """What was written: the library that loads it, and whether the head lies beside it."""

    loads_with: str
    head_beside: bool


def export_theta(theta: Path, like: Path, output: Path, weights: str | None = None) -> Exported:
    """Write a theta in the format of the checkpoint that it was fine-tuned as.

    The image tower, the text tower where the theta has one, and the head where the checkpoint has
    one take the place of its own; all else in it stays. Where it has no head, `head.safetensors`
    (weight, bias) lies beside the result. `classes.json`, the names of the classes in the order of
    the head, always does.

    Args:
        theta: of `wiseft interpolate`, `wiseft combine`, `wiseft finetune` or a sweep.
        like: file or folder of open_clip, transformers' CLIPModel, timm, or of another program;
            or a name (`wiseft.foreign.named`).
        output: a new file, or folder where `like` is one.
        weights: the key of the weights in a `.pt` that holds several mappings of tensors.

    The model gets its name last, so that the same command goes on after a kill.

    Raises:
        WiseftError: if the two are of different architectures or heads, or `output` exists, or
            another head or other names of classes lie where it goes.
    """
    if output.exists() or output.is_symlink():
        raise WiseftError(f"{output} exists and is not touched; name another folder")
    read = load_theta(theta)
    opened = open_model(local_path(like), weights=weights)
    if opened.header is not None:
        write_beside(read, False, output.parent)
        save_theta(output, read.tensors, read.header)
        done = Exported("wiseft", head_beside=False)
    else:
        done = _write_like(read, opened, output)
    where = f"its head in {HEAD} beside it" if done.head_beside else "its head in it"
    log.info(f"{output}: {theta.name} in the format of {like}, {where}")
    return done


def _write_like(theta: Theta, opened: Opened, output: Path) -> Exported:
    like, architecture = opened.checkpoint, theta.header.architecture
    found = find_image_tower(like, architecture, towers.prefixed(theta.tensors, IMAGE))
    new = _towers(theta, like, found)
    shape = (len(theta.header.class_names), towers.embed_dim(architecture))
    head = head_name(found.rest, shape, str(like.path))
    if head is not None:
        new |= _head(theta, like, head)
    if absent := sorted(new.keys() - like.tensors.keys()):
        raise WiseftError(f"{like.path} has no tensor {absent[0]}, which the theta has")
    shapes = examples(like.tensors)
    made = {n: each.reshape(shapes[n].shape).to(shapes[n].dtype) for n, each in new.items()}
    ready = joined(like.tensors, made)
    opened.write(ready, output, partial(write_beside, theta, head is None))
    library = "wiseft" if opened.own else _library(like, found, architecture)
    return Exported(library, head is None)


def write_beside(theta: Theta, head: bool, folder: Path) -> None:
    """Write the names of the classes, and maybe the head, into the folder of a model, and whether
    the head takes features as they are.
    """
    raw = not towers.has_text(theta.header.architecture)  # heads of timm take features so
    contents = {CLASSES: json_text(theta.header.class_names).encode()}
    if head:
        contents[HEAD] = save({name: theta.tensors[f"head.{name}"] for name in ("weight", "bias")})
    if not towers.normalises(theta.header.architecture) and not raw:
        contents[FEATURES] = json_text("raw").encode()
    for name in (HEAD, CLASSES, FEATURES):
        path, content = folder / name, contents.get(name)
        if path.is_file() and path.read_bytes() == content:
            continue  # of the same command, which was killed
        if path.exists() or path.is_symlink():
            raise WiseftError(f"{path} exists and is not touched; name another folder")
        if content is not None:
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)


def _towers(theta: Theta, like: Checkpoint, found: FoundTower) -> dict[str, Tensor]:
    """Return the theta's image tower, and text tower if it has one, by the checkpoint's names."""
    image, text = found.image.keys(), towers.prefixed(theta.tensors, TEXT)
    values = {name: theta.tensors[IMAGE + name] for name in image}
    if towers.family(theta.header.architecture) == "open_clip" and huggingface.is_clip(
        like.tensors
    ):
        flat = {name.removeprefix("text."): tensor for name, tensor in text.items()}
        return dict(huggingface.from_open_clip(towers.with_prefix(values, "visual.") | flat))
    new = {found.names[name]: value for name, value in values.items()}
    before = found.prefix.removesuffix("visual.")
    for name, tensor in text.items():
        names = (before + name, before + name.removeprefix("text."), f"{before}text.{name}")
        new[next((each for each in names if each in like.tensors), names[0])] = tensor
    return new


def _head(theta: Theta, like: Checkpoint, weight: str) -> dict[str, Tensor]:
    new = {weight: theta.tensors["head.weight"]}
    bias = weight.removesuffix("weight") + "bias"
    if bias in like.tensors:
        new[bias] = theta.tensors["head.bias"]
    elif theta.tensors["head.bias"].any():
        raise WiseftError(f"the theta's head has a bias, but {like.path} has no {bias} for it")
    return new


def _library(like: Checkpoint, found: FoundTower, architecture: Mapping[str, Any]) -> str:
    if (family := towers.family(architecture)) == "timm":
        return "timm"
    if huggingface.is_clip(like.tensors) or family in ("align", "siglip", "transformers"):
        return "transformers"
    whole = found.prefix == "visual." and not set(found.rest).isdisjoint(
        ("text_projection", "text.text_projection", "logit_scale")
    )
    return "open_clip" if whole or "model_cfg" in like.config else "torch"
