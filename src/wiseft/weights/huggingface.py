"""CLIP models of transformers: their configuration and names in open_clip's terms, and back.

open_clip keeps query, key and value of an attention in one matrix, transformers in three; the
projections are transposed to each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wiseft.errors import WiseftError

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
_BLOCKS = {
    "text_model.encoder.layers.": "transformer.resblocks.",
    "vision_model.encoder.layers.": "visual.transformer.resblocks.",
}
_IN_BLOCK = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_FILTERS = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers."""
_PARTS = ("q", "k", "v")
_EPS = 1e-5


def preprocessing(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of `wiseft.config.Preprocessing` that a `preprocessor_config.json` says.

    Raises:
        WiseftError: if images are not made square by what is modelled; names key, value and what
            is allowed.
    """
    crop = about.get("crop_size") if about.get("do_center_crop", "crop_size" in about) else None
    cropped = crop["height"] if isinstance(crop, Mapping) else crop
    size = about.get("size", cropped)
    if size is None:
        return _scaling(about)
    if isinstance(size, int):
        size = {"shortest_edge": size}
    edge = size.get("shortest_edge", size.get("height"))
    mode = "shortest" if "shortest_edge" in size else "squash"
    if edge is None or (mode == "squash" and size.get("width") != edge):
        raise _not_modelled("size", size, "shortest_edge, or height and width that are equal")
    if crop is None and mode == "shortest":
        raise _not_modelled("do_center_crop", False, "true where only the shortest edge is resized")
    if not about.get("do_resize", True):
        raise _not_modelled("do_resize", False, "true")
    if (filter_ := about.get("resample", 3)) not in _FILTERS:
        allowed = ", ".join(f"{number} ({name})" for number, name in _FILTERS.items())
        raise _not_modelled("resample", filter_, f"one of {allowed}")
    return _scaling(about) | {
        "size": edge if cropped is None else cropped,
        "resize_mode": mode,
        "interpolation": _FILTERS[filter_],
        "resize_size": edge,
    }


def _scaling(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return mean and std, if they are said."""
    if about.get("rescale_offset"):
        # Pixels become x / 127.5 - 1 (EfficientNet's processor, as ALIGN has it).
        if (again := about.get("include_top")) or about.get("do_normalize"):
            key = "include_top" if again else "do_normalize"
            raise _not_modelled(key, True, "false beside rescale_offset")
        return {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    names = {"mean": "image_mean", "std": "image_std"}
    return {key: list(about[name]) for key, name in names.items() if name in about}


def _not_modelled(key: str, value: object, allowed: str) -> WiseftError:
    found = json.dumps(value)
    return WiseftError(f"preprocessor_config.json: {key} is {found}, but must be {allowed}")


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
    found: dict[str, Any] = {
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
        found["text_cfg"] |= {"pool_type": "eos", "eos_id": end}
    if activations == {"quick_gelu"}:
        found["quick_gelu"] = True
    return found


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


def to_open_clip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the floating tensors of a CLIPModel under open_clip's names.

    Raises:
        WiseftError: naming the tensors that CLIPModel does not have.
    """
    found: dict[str, Tensor] = {}
    parts: dict[tuple[str, str], dict[str, Tensor]] = {}
    unknown = []
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue  # position ids
        if name in _PLAIN:
            found[_PLAIN[name]] = tensor
        elif name in _TRANSPOSED:
            found[_TRANSPOSED[name]] = tensor.t().contiguous()
        elif (place := _attention(name)) is not None:
            block, part, kind = place
            parts.setdefault((block, kind), {})[part] = tensor
        elif (other := _in_block(name)) is not None:
            found[other] = tensor
        else:
            unknown.append(name)
    if unknown:
        raise WiseftError(
            f"{len(unknown)} tensors are none of CLIPModel: {', '.join(sorted(unknown)[:5])}"
        )
    for (block, kind), three in parts.items():
        if missing := [part for part in _PARTS if part not in three]:
            raise WiseftError(f"{block}attn lacks {missing[0]}_proj.{kind}")
        found[f"{block}attn.in_proj_{kind}"] = torch.cat([three[part] for part in _PARTS])
    return found


def from_open_clip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors with open_clip's names under those of a CLIPModel.

    Raises:
        WiseftError: if one is not a tensor of a vision transformer and a text transformer.
    """
    plain = {new: old for old, new in _PLAIN.items()}
    transposed = {new: old for old, new in _TRANSPOSED.items()}
    inner = {new: old for old, new in _IN_BLOCK.items()}
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in plain:
            found[plain[name]] = tensor
        elif name in transposed:
            found[transposed[name]] = tensor.t().contiguous()
        elif (match := re.fullmatch(_block_pattern(_BLOCKS.values()), name)) is None:
            raise WiseftError(f"tensor {name} of open_clip has no place in a CLIPModel")
        else:
            before = next(old for old, new in _BLOCKS.items() if new == match[1])
            block, rest = f"{before}{match[2]}.", match[3]
            if rest in ("attn.in_proj_weight", "attn.in_proj_bias"):
                kind = rest.removeprefix("attn.in_proj_")
                for part, piece in zip(_PARTS, tensor.chunk(3), strict=True):
                    found[f"{block}self_attn.{part}_proj.{kind}"] = piece.contiguous()
            else:
                module, _, kind = rest.rpartition(".")
                if module not in inner:
                    raise WiseftError(f"tensor {name} of open_clip has no place in a CLIPModel")
                found[f"{block}{inner[module]}.{kind}"] = tensor
    return found


def _block_pattern(prefixes: Any) -> str:
    either = "|".join(re.escape(prefix) for prefix in prefixes)
    return rf"({either})(\d+)\.(.+)"


def _attention(name: str) -> tuple[str, str, str] | None:
    """Return open_clip's block, q, k or v, and weight or bias, of a name of an attention."""
    match = re.fullmatch(_block_pattern(_BLOCKS), name)
    inner = re.fullmatch(r"self_attn\.([qkv])_proj\.(weight|bias)", match[3]) if match else None
    if match is None or inner is None:
        return None
    return f"{_BLOCKS[match[1]]}{match[2]}.", inner[1], inner[2]


def _in_block(name: str) -> str | None:
    match = re.fullmatch(_block_pattern(_BLOCKS), name)
    if match is None:
        return None
    module, _, kind = match[3].rpartition(".")
    if module not in _IN_BLOCK:
        return None
    return f"{_BLOCKS[match[1]]}{match[2]}.{_IN_BLOCK[module]}.{kind}"
