"""The parts of a classifier, by the names of its tensors: stem, blocks, tail, head, text tower."""

from __future__ import annotations

import re
from collections.abc import Iterable

_Depth = tuple[int, int]

_WRAPPERS = {"trunk", "transformer", "encoder", "vision_model", "model"}
_CONTAINERS = {"resblocks", "blocks", "layers", "stages", "layer", "block", "h"}
"""Modules that are lists of blocks; those of a ResNet are called layer1 to layer4."""
# Components of the names of open_clip's, timm's and ALIGN's image towers, and of transformers.
_STEM = {
    *("conv1", "conv2", "conv3", "bn1", "bn2", "bn3", "stem", "conv_stem", "embeddings"),
    *("class_embedding", "positional_embedding", "ln_pre", "patchnorm_pre_ln"),
    *("patch_embed", "pos_embed", "cls_token", "reg_token", "norm_pre"),
    *("embed_tokens", "wte", "wpe"),
}
_TAIL = {
    *("ln_post", "proj", "attnpool", "attn_pool"),
    *("norm", "fc_norm", "head", "top_conv", "top_bn", "conv_head"),
    *("ln_f", "layernorm", "pooler", "classifier", "lm_head", "fc"),
}
_AFTER_HEAD_CONVOLUTION = "bn2"
"""In timm's EfficientNets; in open_clip's ResNets it is in the stem."""


def parts_of(names: Iterable[str]) -> tuple[dict[str, str | None], int]:
    """Return the part that each tensor is in, and the number of blocks.

    A part is `stem`, `blocks.0` and so on by depth, `tail`, `head` or `text`, or None where a name
    says nothing of it. The blocks of a ResNet are counted through all stages.

    Args:
        names: of all tensors of a theta, or of another model.
    """
    places = {name: _place(name) for name in names}
    if "image.conv_head.weight" in places:
        last = f"image.{_AFTER_HEAD_CONVOLUTION}."
        places |= {name: "tail" for name in places if name.startswith(last)}
    depths = sorted({place for place in places.values() if isinstance(place, tuple)})
    parts = {
        n: f"blocks.{depths.index(p)}" if isinstance(p, tuple) else p for n, p in places.items()
    }
    return parts, len(depths)


def _place(name: str) -> str | _Depth | None:
    """Return the part that a tensor is in, the depth of its block, or None if neither is known."""
    components = name.split(".")
    if components[0] in ("head", "text"):
        return components[0]
    for index, component in enumerate(components):
        if component in _STEM:
            return "stem"
        if component in _TAIL:
            return "tail"
        # The stages of a ResNet are layer1 to layer4.
        stage = re.fullmatch(r"layer(\d+)", component)
        if stage or component in _CONTAINERS:
            rest = [stage[1]] if stage else []
            return _depth(rest + [c for c in components[index + 1 :] if c != "blocks"])
        if index and component not in _WRAPPERS:  # the first one is a tower or the model's own name
            return None
    return None


def _depth(components: list[str]) -> _Depth | None:
    """Return (stage or block, block of the stage) from the numbers that a list begins with."""
    numbers = []
    for component in components[:2]:
        if not component.isdecimal():
            break
        numbers.append(int(component))
    return (numbers[0], numbers[1] if numbers[1:] else 0) if numbers else None
