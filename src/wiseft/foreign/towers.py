"""What is in the tensors of a checkpoint: an image tower, a head, or both towers."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wiseft.errors import WiseftError
from wiseft.foreign import huggingface
from wiseft.foreign.door import Opened, open_model
from wiseft.foreign.formats import Checkpoint
from wiseft.models import towers
from wiseft.thetas.tensor_file import examples
from wiseft.thetas.tensor_views import check_fit, floating
from wiseft.thetas.theta import load_theta

log = logging.getLogger(__name__)

_HEADS = re.compile(
    r"(?:^|\.)(?:classification_head|classifier|classifier\.1|head|fc|linear)\.weight$"
)


@dataclass(frozen=True)
class FoundTower:
    """A checkpoint in which the image tower was found.

    Attributes:
        path: of the file or folder.
        image: its tensors, by their names without `image.`.
        prefix: what is before these names in the checkpoint.
        rest: all other floating tensors of the checkpoint, by its names.
        names: the name that each of its tensors has in the checkpoint.
    """

    path: Path
    image: dict[str, Tensor]
    prefix: str
    rest: dict[str, Tensor]
    names: dict[str, str]


def image_tower_of(
    architecture: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the tensors that an architecture's image tower has, without values of meaning.

    Raises:
        WiseftError: if it cannot be built, or is of a far larger model than the weights.
    """
    with towers.for_weights(architecture, weights):
        return floating(towers.build_image(architecture, seed=0).state_dict())


def find_image_tower(
    checkpoint: Checkpoint, architecture: Mapping[str, Any], expected: Mapping[str, Tensor]
) -> FoundTower:
    """Find the tensors that are expected of an image tower in a checkpoint, in fp32.

    It is behind the prefix that most of its tensors' names have. Programs call it `visual.`,
    `model.visual.`, `image_encoder.model.visual.`, `image.` or nothing. A CLIPModel of
    transformers is brought under open_clip's names.

    Raises:
        WiseftError: listing the tensors that are missing, unexpected and of another shape.
    """
    tensors, file = checkpoint.tensors, checkpoint.path
    ours = any(key.startswith(towers.IMAGE) for key in tensors)
    if towers.family(architecture) == "transformers" and not ours:
        return _tower_of_transformers(checkpoint, architecture, expected)
    if towers.family(architecture) == "open_clip" and huggingface.is_clip(tensors):
        tensors = huggingface.to_open_clip(tensors)
    tensors = {key: value.float() for key, value in floating(tensors).items()}
    counts = Counter(
        key.removesuffix(name)
        for name in expected
        for key in tensors
        if key == name or key.endswith("." + name)
    )
    best = max(counts, key=lambda prefix: (counts[prefix], -len(prefix)), default="")
    behind = towers.prefixed(tensors, best)
    image = {key: value for key, value in behind.items() if key in expected}
    # Without a prefix everything else in the file would count as unexpected.
    own, _ = towers.image_names(architecture)
    inner = own if next(iter(expected)).startswith(own) else ""  # the text tower lies beside it
    ends = {k.removesuffix("weight") + end for k in heads_in(behind) for end in ("weight", "bias")}
    strict = {k: v for k, v in behind.items() if best and k.startswith(inner) and k not in ends}
    check_fit(expected, image | strict, f"{file} (image tower, names behind '{best}')")
    if not ours:
        _say_prefix(tensors, best.removesuffix(own), file)
    names = {key: best + key for key in image}
    taken = set(names.values())
    rest = {key: value for key, value in tensors.items() if key not in taken}
    return FoundTower(file, image, best, rest, names)


def _tower_of_transformers(
    checkpoint: Checkpoint, architecture: Mapping[str, Any], expected: Mapping[str, Tensor]
) -> FoundTower:
    """Find the tensors of an image classifier of transformers, under names of files or modules."""
    file, tensors = checkpoint.path, floating(checkpoint.tensors)
    head = f"{architecture['classifier']}.weight"
    prefix = next((k.removesuffix(head) for k in tensors if f".{k}".endswith(f".{head}")), None)
    if prefix is None:
        raise WiseftError(
            f"{file} has no {head}, which {architecture['model']} classifies with; give the model "
            "that was fine-tuned, saved whole"
        )
    behind = towers.prefixed(tensors, prefix)
    library = towers.of_family("transformers")
    found, others = library.names_in(architecture, behind, len(behind[head]))
    names = {f"model.{name}": prefix + own for name, own in found.items()}
    image = {name: tensors[own].float() for name, own in names.items() if name in expected}
    rest = {own: tensors[own].float() for name, own in names.items() if name not in expected}
    strange = {k: t for k, t in tensors.items() if not k.startswith(prefix)}
    strange |= {prefix + name: behind[name] for name in others}
    check_fit(expected, image | strange, f"{file} ({architecture['model']})")
    _say_prefix(tensors, prefix, file)
    return FoundTower(file, image, prefix, rest, {name: names[name] for name in image})


def _say_prefix(tensors: Mapping[str, Tensor], prefix: str, file: Path) -> None:
    if prefix:
        n = sum(name.startswith(prefix) for name in tensors)
        log.info(f"{file}: prefix {prefix} of {n} tensors taken off")


def head_in(
    tensors: Mapping[str, Tensor], shape: tuple[int, ...], where: str
) -> dict[str, Tensor] | None:
    """Return the one head as a theta has it (`head.weight`, `head.bias`), in fp32; None if there is
    none. As `head_name`.
    """
    key = head_name(tensors, shape, where)
    if key is None:
        return None
    bias = tensors.get(key.removesuffix("weight") + "bias", torch.zeros(shape[0]))
    return {"head.weight": tensors[key].float(), "head.bias": bias.float()}


def head_of(file: Path, shape: tuple[int, ...] | None = None) -> dict[str, Tensor] | None:
    """Return the head that a file holds, as `head_in`; without a shape, of any."""
    tensors = floating(open_model(file).tensors)
    found = (tuple(each.shape) for each in heads_in(tensors).values())
    return head_in(tensors, shape or next(found, (0, 0)), str(file))


def heads_in(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the matrices that are named as the weight of a head is; none of a text tower."""
    named = {k: v for k, v in tensors.items() if _HEADS.search(k) or k == "weight"}
    return {k: v for k, v in named.items() if v.ndim == 2 and "text_model." not in k}


def head_name(tensors: Mapping[str, Tensor], shape: tuple[int, ...], where: str) -> str | None:
    """Return the name of the one head's weight; None if there is no head.

    Args:
        shape: of the weight, (classes, width).
        where: names the tensors in messages.

    Raises:
        WiseftError: if there are several of that shape, or none of it but others.
    """
    named = heads_in(tensors)
    fitting = [key for key, value in named.items() if tuple(value.shape) == shape]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise WiseftError(
            f"{where} has several heads of {shape[0]} classes: {', '.join(fitting)}; save it with "
            "the one that belongs to the images"
        )
    if named:
        shapes = ", ".join(f"{key} {tuple(value.shape)}" for key, value in named.items())
        raise WiseftError(
            f"{where} has the head {shapes}, but {shape[0]} classes and a width of {shape[1]} are "
            "expected; theta_0 and the checkpoint must be of the same classes"
        )
    return None


@dataclass(frozen=True)
class Parts:
    """A checkpoint taken apart: a head, or both towers, or neither."""

    found: FoundTower
    head: dict[str, Tensor] | None
    whole: dict[str, Tensor] | None


def take_apart(
    end: Opened, architecture: Mapping[str, Any], expected: Mapping[str, Tensor]
) -> Parts:
    """Return a checkpoint taken apart.

    Args:
        expected: the tensors of the image tower.
    """
    checkpoint = end.checkpoint
    if end.header is not None:
        checkpoint = replace(checkpoint, tensors=load_theta(end.path).tensors)
    found = find_image_tower(checkpoint, architecture, expected)
    if named := heads_in(found.rest):
        width = towers.embed_dim(architecture)
        rows = [len(weight) for weight in named.values() if weight.shape[1] == width]
        shape = (rows[0] if rows else 0, width)
        return Parts(found, head_in(found.rest, shape, str(end.path)), None)
    whole = None
    if towers.has_text(architecture):
        tensors = towers.prefixed(checkpoint.tensors, found.prefix.removesuffix("visual."))
        with suppress(WiseftError):
            whole = family_tensors(replace(checkpoint, tensors=tensors), architecture)
    return Parts(found, head_of(end.head) if end.head else None, whole)


def family_tensors(checkpoint: Checkpoint, architecture: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return a checkpoint's floating tensors, in fp32, under the names of a family.

    A CLIPModel of transformers, a text tower at the top where open_clip has a module for it, and
    a scale in a vector of one are brought into open_clip's form.

    Raises:
        WiseftError: if they are not exactly the tensors of the architecture; lists those that are
            missing, unexpected and of another shape.
    """
    tensors = checkpoint.tensors
    if towers.family(architecture) == "open_clip":
        tensors = _open_clip_names(tensors, architecture)
    tensors = {key: value.float() for key, value in floating(tensors).items()}
    with towers.for_weights(architecture, tensors):
        expected = towers.build(architecture, seed=0).tensors()
    for name in ("logit_scale", "logit_bias", "temperature"):
        if name in tensors and name in expected and tensors[name].numel() == 1:
            tensors[name] = tensors[name].reshape(expected[name].shape)
    check_fit(expected, tensors, str(checkpoint.path))
    return tensors


def _open_clip_names(
    tensors: Mapping[str, Tensor], architecture: Mapping[str, Any]
) -> Mapping[str, Tensor]:
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    if huggingface.is_clip(tensors):
        tensors = huggingface.to_open_clip(tensors)
    if any(key.startswith("image_encoder.model.patch_e") for key in tensors):  # MobileCLIP's own
        tensors = convert_state_dict(towers.build(architecture, seed=0).module, dict(tensors))
    custom = architecture.get("custom_text") or architecture["text_cfg"].get("hf_model_name")
    if custom and "positional_embedding" in tensors:
        tensors = convert_to_custom_text_state_dict(dict(tensors))
    return tensors


def has_head(opened: Opened) -> bool:
    """Whether a checkpoint has a head, in it or beside it."""
    return opened.head is not None or bool(heads_in(examples(opened.tensors)))
