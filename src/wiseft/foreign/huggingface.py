"""CLIP models of transformers: their configuration and names in open_clip's terms, and back.

open_clip keeps query, key and value of an attention in one matrix, transformers in three; the
projections are transposed to each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wiseft.base.io import read_object
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
_FILTERS = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers."""
CLIP_PIXELS = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
}
"""How OpenAI's CLIPs normalise images; open_clip assumes it of a file that doesn't say."""
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""Files that say how transformers prepares images; the second, by newer versions, goes first."""
_PARTS = ("q", "k", "v")
_EPS = 1e-5


_HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
_CROP = {"size": {"shortest_edge": 224}, "crop_size": 224, "do_center_crop": True}
_CLIP = {"image_mean": CLIP_PIXELS["mean"], "image_std": CLIP_PIXELS["std"], **_CROP}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "CLIPImageProcessor": _CLIP | {"default_to_square": False},
    "BitImageProcessor": _CLIP | {"default_to_square": False},
    "ViTImageProcessor": _HALF | {"size": 224, "resample": 2},
    "SiglipImageProcessor": _HALF
    | {"size": {"height": 224, "width": 224}}
    | {"default_to_square": False},
    "EfficientNetImageProcessor": _HALF | {"size": 346, "crop_size": 289, "include_top": True},
}
_COMMON: dict[str, Any] = {"crop_size": None, "do_center_crop": False, "do_resize": True}
_COMMON |= {"resample": 3, "do_rescale": True, "rescale_factor": 1 / 255, "rescale_offset": False}
_COMMON |= {"do_normalize": True, "include_top": False, "default_to_square": True}
"""What classes of transformers have where a file is silent; a test compares it with the library."""
_TYPES = ("image_processor_type", "feature_extractor_type")
_NO_PIXELS = {*_TYPES, "processor_class", "data_format", "input_data_format", "return_tensors"}
_NO_PIXELS |= {"device", "disable_grouping", "_valid_processor_keys", "do_convert_rgb"}
"""Keys that change nothing of an image in RGB, as every image here is."""


def processor_in(files: Mapping[str, Path]) -> dict[str, Any] | None:
    """Return how images are prepared, from the file that transformers reads it from; None: none.

    Args:
        files: of a model, by name.

    Raises:
        WiseftError: if a file is no JSON.
    """
    plain, nested = (files.get(name) for name in PROCESSORS)
    if nested and (found := read_object(nested, "configuration").get("image_processor")):
        return dict(found)
    return read_object(plain, "configuration") if plain else None


def preprocessing(config: Mapping[str, Any], model: str = "clip") -> dict[str, Any]:
    """Return the keys of `Preprocessing` that a `preprocessor_config.json` says.

    What it does not say is as the class of its processor has it in transformers.

    Args:
        model: its type, which has a class of its own where the file names none.

    Raises:
        WiseftError: if images are not made square by what is modelled; names key, value and what
            is allowed.
    """
    usual = "EfficientNetImageProcessor" if model == "align" else "CLIPImageProcessor"
    named = next((str(config[key]) for key in _TYPES if config.get(key)), usual)
    stem = re.sub(r"(ImageProcessor(Fast|Pil)?|FeatureExtractor)$", "ImageProcessor", named)
    if stem not in _DEFAULTS:
        raise _not_modelled(_TYPES[0], named, f"one of {', '.join(_DEFAULTS)}")
    said = {key: value for key, value in config.items() if value is not None}
    known = _COMMON | _DEFAULTS[stem] | said
    allowed = _COMMON.keys() | _CLIP.keys() | _NO_PIXELS
    for key in [*(key for key in said if key not in allowed), "include_top"]:
        if known[key]:
            raise _not_modelled(key, known[key], "false, or left out")
    if not known["do_resize"]:
        raise _not_modelled("do_resize", False, "true")
    if (filter_ := known["resample"]) not in list(_FILTERS):
        numbers = ", ".join(f"{number} ({name})" for number, name in _FILTERS.items())
        raise _not_modelled("resample", filter_, f"one of {numbers}")
    mode, edge = _edge("size", known["size"], known["default_to_square"])
    how = {"size": edge, "resize_mode": mode, "interpolation": _FILTERS[filter_]}
    if known["do_center_crop"]:
        kind, cropped = _edge("crop_size", known["crop_size"], True)
        if kind == "shortest":
            raise _not_modelled("crop_size", known["crop_size"], "height and width that are equal")
        how |= {"size": cropped, "resize_size": edge}
        if mode == "shortest" or (edge - cropped) % 4 == 3:  # else both ways begin at one pixel
            how["crop"] = "floor"
    elif mode == "shortest":
        raise _not_modelled("do_center_crop", False, "true where only the shortest edge is resized")
    return _scaling(known) | how


def _edge(key: str, size: Any, square: bool) -> tuple[str, int]:
    """Return how an image is resized, and to how many pixels."""
    if isinstance(size, int):
        return ("squash" if square else "shortest"), size
    given = size.items() if isinstance(size, Mapping) else ()
    said = {name: edge for name, edge in given if edge is not None}
    if not all(isinstance(edge, int) for edge in said.values()):
        raise _not_modelled(key, size, "a number of pixels")
    if said.keys() == {"shortest_edge"}:
        return "shortest", said["shortest_edge"]
    if said.keys() != {"height", "width"} or said["height"] != said["width"]:
        raise _not_modelled(key, size, "shortest_edge, or height and width that are equal")
    return "squash", said["height"]


def _scaling(known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mean and std of pixels from 0 to 1 that do what the processor does."""
    for key in ("rescale_factor", "image_mean", "image_std"):
        values = known[key] if isinstance(known[key], list | tuple) else [known[key]]
        if (
            not all(isinstance(each, int | float) for each in values)
            or known["rescale_factor"] <= 0
        ):
            raise _not_modelled(key, known[key], "a number, above 0 of a factor")
    white = 255 * known["rescale_factor"] if known["do_rescale"] else 255.0
    below = 1.0 if known["do_rescale"] and known["rescale_offset"] else 0.0
    pair = (known["image_mean"], known["image_std"]) if known["do_normalize"] else (0.0, 1.0)
    mean, std = (each if isinstance(each, list | tuple) else [each] * 3 for each in pair)
    return {"mean": [(below + m) / white for m in mean], "std": [s / white for s in std]}


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
