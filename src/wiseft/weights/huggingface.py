"""CLIP models of transformers: their configuration and names in open_clip's terms, and back.

open_clip keeps query, key and value of an attention in one matrix, transformers in three; the
projections are transposed to each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from wiseft.errors import WiseftError
from wiseft.tensor_file import examples
from wiseft.tensor_views import Computed

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
_FILTERS = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers."""
CLIP_PIXELS = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
}
"""How OpenAI's CLIPs normalise images; open_clip assumes it of a file that doesn't say."""
_PARTS = ("q", "k", "v")
_EPS = 1e-5


def preprocessing(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of `wiseft.config.Preprocessing` that a `preprocessor_config.json` says.

    Raises:
        WiseftError: if images are not made square by what is modelled; names key, value and what
            is allowed.
    """
    crop = config.get("crop_size") if config.get("do_center_crop", "crop_size" in config) else None
    cropped = crop["height"] if isinstance(crop, Mapping) else crop
    size = config.get("size", cropped)
    if size is None:
        return _scaling(config)
    if isinstance(size, int):
        size = {"shortest_edge": size}
    edge = size.get("shortest_edge", size.get("height"))
    mode = "shortest" if "shortest_edge" in size else "squash"
    if edge is None or (mode == "squash" and size.get("width") != edge):
        raise _not_modelled("size", size, "shortest_edge, or height and width that are equal")
    if crop is None and mode == "shortest":
        raise _not_modelled("do_center_crop", False, "true where only the shortest edge is resized")
    if not config.get("do_resize", True):
        raise _not_modelled("do_resize", False, "true")
    if (filter_ := config.get("resample", 3)) not in _FILTERS:
        allowed = ", ".join(f"{number} ({name})" for number, name in _FILTERS.items())
        raise _not_modelled("resample", filter_, f"one of {allowed}")
    return _scaling(config) | {
        "size": edge if cropped is None else cropped,
        "resize_mode": mode,
        "interpolation": _FILTERS[filter_],
        "resize_size": edge,
    }


def _scaling(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return mean and std, if they are said."""
    if config.get("rescale_offset"):
        # Pixels become x / 127.5 - 1 (EfficientNet's processor, as ALIGN has it).
        if (again := config.get("include_top")) or config.get("do_normalize"):
            key = "include_top" if again else "do_normalize"
            raise _not_modelled(key, True, "false beside rescale_offset")
        return {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    names = {"mean": "image_mean", "std": "image_std"}
    return {key: list(config[name]) for key, name in names.items() if name in config}


def _not_modelled(key: str, value: object, allowed: str) -> WiseftError:
    return WiseftError(
        f"preprocessor_config.json: {key} is {json.dumps(value)}, but must be {allowed}"
    )


def is_clip(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors are named as transformers' CLIPModel names them."""
    return "vision_model.embeddings.class_embedding" in tensors


def architecture_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the open_clip architecture of a `config.json` of CLIPModel.

    Raises:
        WiseftError: if it is the config of another model, or the towers differ in what open_clip
            has in common for both.
    """
    if config.get("model_type") != "clip":
        raise WiseftError(
            f"the folder's config.json is of the model type {config.get('model_type')}, but must "
            "be of clip (CLIPModel)"
        )
    text = _TEXT_DEFAULTS | dict(config.get("text_config") or {})
    vision = _VISION_DEFAULTS | dict(config.get("vision_config") or {})
    activations = {text["hidden_act"], vision["hidden_act"]}
    if len(activations) != 1 or not activations <= {"gelu", "quick_gelu"}:
        raise WiseftError(
            f"the towers have the activations {', '.join(sorted(activations))}; gelu or "
            "quick_gelu in both is supported"
        )
    architecture: dict[str, Any] = {
        "embed_dim": int(config.get("projection_dim", 512)),
        "vision_cfg": _tower(vision)
        | {
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "head_width": vision["hidden_size"] // vision["num_attention_heads"],
        },
        "text_cfg": _tower(text)
        | {
            "context_length": text["max_position_embeddings"],
            "vocab_size": text["vocab_size"],
            "heads": text["num_attention_heads"],
        },
    }
    if (end := text["eos_token_id"]) not in (2, text["vocab_size"] - 1):
        # transformers pools at that token; by 2 it means the highest number, as open_clip does.
        architecture["text_cfg"] |= {"pool_type": "eos", "eos_id": end}
    if activations == {"quick_gelu"}:
        architecture["quick_gelu"] = True
    return architecture


_TEXT_DEFAULTS: dict[str, Any] = {
    "hidden_act": "quick_gelu",
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
    "layer_norm_eps": _EPS,
    "eos_token_id": 49407,
}
_VISION_DEFAULTS: dict[str, Any] = {
    "hidden_act": "quick_gelu",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "layer_norm_eps": _EPS,
}
"""Of transformers: a config.json may leave out what is like them."""


def _tower(config: Mapping[str, Any]) -> dict[str, Any]:
    tower: dict[str, Any] = {"layers": config["num_hidden_layers"], "width": config["hidden_size"]}
    if (ratio := config["intermediate_size"] / config["hidden_size"]) != 4.0:
        tower["mlp_ratio"] = ratio
    if config["layer_norm_eps"] != _EPS:
        tower["norm_kwargs"] = {"eps": config["layer_norm_eps"]}
    return tower


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
