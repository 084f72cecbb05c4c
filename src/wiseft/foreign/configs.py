"""Configurations of two models: whether what no tensor shows is the same in both."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from wiseft.errors import WiseftError

_HARMLESS = {
    *("_name_or_path", "name_or_path", "_commit_hash", "transformers_version", "auto_map"),
    *("dtype", "torch_dtype", "use_bfloat16", "torchscript", "cast_dtype", "output_dict"),
    *("id2label", "label2id", "num_labels", "problem_type", "finetuning_task"),
    *("use_cache", "gradient_checkpointing", "use_gradient_checkpointing", "label_smoothing"),
    *("output_attentions", "output_hidden_states", "return_dict", "use_return_dict"),
    *("attn_implementation", "_attn_implementation", "_attn_implementation_autoset"),
    *("layerscale_value", "task_specific_params"),
}
"""Keys that change nothing that the trained model computes."""
_TRAINING = re.compile("drop|init_|_init|initializer|loss|mask_time|mask_feature")
"""In keys of what a training alone does: dropout, first values, losses, masks of spectrograms."""
_GENERIC = re.compile(r"LABEL_\d+")
_DEEPEST = 20


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the keys in which two configurations describe other models, with both values.

    Both are filled with the defaults of transformers, open_clip or timm first. Two configurations
    of different libraries have no keys in common, and nothing is returned.

    Args:
        one: the content of a `config.json` or `open_clip_config.json`.
        other: likewise.
    """
    kinds = [_kind(config) for config in (one, other)]
    if kinds[0] != kinds[1]:
        return []
    first, second = (dict(_flat(config)) for config in _filled(kinds[0], one, other))
    differ = sorted(key for key in first.keys() | second if first.get(key) != second.get(key))
    found = [f"{key} is {first.get(key)!s:.60} and {second.get(key)!s:.60}" for key in differ]
    names = [class_names(config) for config in (one, other)]
    if names[0] != names[1] and sorted(names[0]) == sorted(names[1]):
        found.append("the classes are in another order")
    return found


def class_names(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the classes that a configuration gives, in their order."""
    given = config.get("id2label") or config.get("label_names")
    given = given or _object(config, "pretrained_cfg").get("label_names")
    if isinstance(given, Mapping):
        given = [given[key] for key in sorted(given, key=lambda key: (len(str(key)), str(key)))]
    names = [str(name) for name in given] if isinstance(given, list) else []
    return [] if all(_GENERIC.fullmatch(name) for name in names) else names


def _kind(config: Mapping[str, Any]) -> str:
    return next((key for key in ("model_type", "model_cfg", "architecture") if key in config), "")


def _filled(
    kind: str, one: Mapping[str, Any], other: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    fill = {
        "model_type": _of_transformers,
        "model_cfg": _of_open_clip,
        "architecture": _of_timm,
    }.get(kind, dict)
    try:
        return fill(one), fill(other)
    except Exception:  # of a library that is not there, or does not know the model or its keys
        return one, other


def _of_transformers(config: Mapping[str, Any]) -> dict[str, Any]:
    from transformers import CONFIG_MAPPING

    kind = CONFIG_MAPPING[config["model_type"]]  # never code that comes with the model
    return dict(kind.from_dict(copy.deepcopy(dict(config))).to_dict())


def _of_open_clip(config: Mapping[str, Any]) -> dict[str, Any]:
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    model: dict[str, Any] = {"quick_gelu": False} | dict(config["model_cfg"])
    model.pop("custom_text", None)  # the names of the tensors show it
    vision, text = CLIPVisionCfg(**model["vision_cfg"]), CLIPTextCfg(**model["text_cfg"])
    return model | {"vision_cfg": asdict(vision), "text_cfg": asdict(text)}


def _of_timm(config: Mapping[str, Any]) -> dict[str, Any]:
    options = _object(config, "model_args")
    options.pop("num_classes", None)  # the head's shape shows it
    pool = config.get("global_pool") or _object(config, "pretrained_cfg").get("global_pool")
    return {
        "architecture": str(config["architecture"]).split(".")[0],
        "global_pool": pool,
        "model_args": options,
    }


def _object(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key)
    return dict(value) if isinstance(value, Mapping) else {}


def _flat(config: Mapping[str, Any], above: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the keys that matter, with dots where objects are nested, and their values."""
    for key, value in config.items():
        if key in _HARMLESS or _TRAINING.search(str(key)):
            continue
        if isinstance(value, Mapping) and value:
            if depth == _DEEPEST:
                raise WiseftError(f"a configuration nests deeper than others at {above:.60}")
            yield from _flat(value, f"{above}{key}.", depth + 1)
        else:
            yield f"{above}{key}", list(value) if isinstance(value, tuple) else value
