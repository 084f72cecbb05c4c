"""Tensors of a CLIPModel of transformers under open_clip's names, and back.

open_clip keeps query, key and value of an attention in one matrix, transformers in three; the
projections are transposed to each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from wiseft.errors import WiseftError
from wiseft.thetas.tensor_file import examples
from wiseft.thetas.tensor_views import Computed

_PLAIN = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "logit_scale": "logit_scale",
}
_TRANSPOSED = {
    "text_projection.weight": "text_projection",
    "visual_projection.weight": "visual.proj",
}
_NAMES = _PLAIN | _TRANSPOSED
_BLOCKS = {
    "text_model.encoder.layers.": "transformer.resblocks.",
    "vision_model.encoder.layers.": "visual.transformer.resblocks.",
}
_IN_BLOCK = {
    "self_attn.in_proj_": "attn.in_proj_",
    "self_attn.out_proj.": "attn.out_proj.",
    "layer_norm1.": "ln_1.",
    "layer_norm2.": "ln_2.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
}
"""What the names in a block begin with; `in_proj_` of transformers stands for its three parts."""
_PART = re.compile(r"(.+\.self_attn\.)([qkv])_proj\.(weight|bias)")
_PARTS = ("q", "k", "v")


def is_clip(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors are named as transformers' CLIPModel names them."""
    return "vision_model.embeddings.class_embedding" in tensors


def to_open_clip(tensors: Mapping[str, Tensor]) -> Computed:
    """Return the floating tensors of a CLIPModel under open_clip's names.

    Raises:
        WiseftError: naming the tensors that CLIPModel does not have.
    """
    parts: dict[str, dict[str, str]] = {}
    how: dict[str, Callable[[Mapping[str, Tensor]], Tensor]] = {}
    unknown = []
    for name, like in examples(tensors).items():
        part = _PART.fullmatch(name)
        new = _renamed(f"{part[1]}in_proj_{part[3]}" if part else name, _BLOCKS, _IN_BLOCK, _NAMES)
        if not like.is_floating_point():
            continue  # position ids
        if new is None:
            unknown.append(name)
        elif part:
            parts.setdefault(new, {})[part[2]] = name
        else:
            how[new] = partial(_transposed if name in _TRANSPOSED else _same, name)
    if unknown:
        raise WiseftError(
            f"{len(unknown)} tensors are none of CLIPModel: {', '.join(sorted(unknown)[:5])}"
        )
    for new, three in parts.items():
        if missing := [part for part in _PARTS if part not in three]:
            attention, kind = new.split(".in_proj_")
            raise WiseftError(f"{attention} lacks {missing[0]}_proj.{kind}")
        how[new] = partial(_fused, [three[part] for part in _PARTS])
    return Computed(tensors, how)


def from_open_clip(tensors: Mapping[str, Tensor]) -> Computed:
    """Return tensors with open_clip's names under those of a CLIPModel.

    Raises:
        WiseftError: if one is not a tensor of a vision transformer and a text transformer.
    """
    tables = [{new: old for old, new in table.items()} for table in (_BLOCKS, _IN_BLOCK, _NAMES)]
    how: dict[str, Callable[[Mapping[str, Tensor]], Tensor]] = {}
    for name in tensors:
        new = _renamed(name, *tables)
        if new is None:
            raise WiseftError(f"tensor {name} of open_clip has no place in a CLIPModel")
        before, fused, kind = new.partition("in_proj_")
        if fused:
            for place, part in enumerate(_PARTS):
                how[f"{before}{part}_proj.{kind}"] = partial(_third, name, place)
        else:
            how[new] = partial(_transposed if new in _TRANSPOSED else _same, name)
    return Computed(tensors, how)


def _same(name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    return tensors[name]


def _transposed(name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    return tensors[name].t().contiguous()


def _fused(names: list[str], tensors: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([tensors[name] for name in names])


def _third(name: str, place: int, tensors: Mapping[str, Tensor]) -> Tensor:
    return tensors[name].chunk(3)[place]


def _renamed(
    name: str, blocks: Mapping[str, str], inner: Mapping[str, str], names: Mapping[str, str]
) -> str | None:
    """Return the name that the other library has for a tensor; None if it has none."""
    if name in names:
        return names[name]
    for prefix, block in blocks.items():
        number, _, rest = name.removeprefix(prefix).partition(".")
        module = next((module for module in inner if rest.startswith(module)), None)
        if name.startswith(prefix) and number.isdecimal() and module:
            return f"{block}{number}.{inner[module]}{rest.removeprefix(module)}"
    return None
