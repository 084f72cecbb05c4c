"""Adapters of PEFT (LoRA, Hu et al. 2022): a model's weights with their low-rank changes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from wiseft.errors import WiseftError, some
from wiseft.io import read_object
from wiseft.tensor_file import examples
from wiseft.tensor_views import Computed, joined
from wiseft.weights.formats import Checkpoint, read_checkpoint, weight_files

_CONFIG = "adapter_config.json"
_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_FACTORS = {".lora_A.weight": ".lora_B.weight", ".lora_embedding_A": ".lora_embedding_B"}
_PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva")
"""Values of `init_lora_weights` with which PEFT leaves the base as it is."""
_KNOWN = {
    *("alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "eva_config"),
    *("exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights", "lora_alpha"),
    *("layers_pattern", "layers_to_transform", "lora_dropout", "megatron_core", "modules_to_save"),
    *("peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern", "revision"),
    *("target_modules", "task_type", "use_rslora"),
}
"""Keys that are followed here, or say nothing of the merged weights; others must be off."""


def is_adapter(path: Path) -> bool:
    """Whether a path is a folder of an adapter of PEFT."""
    return (path / _CONFIG).is_file()


def files_of(path: Path) -> list[Path]:
    """Return the files of weights of a checkpoint, a file or a folder; of an adapter its weights
    and its configuration, without which these say nothing of the model (`lora_alpha`).

    Raises:
        WiseftError: if there are none.
    """
    if not path.is_dir():
        return [path]
    if not is_adapter(path):
        return [path / name for name in weight_files(path)]
    found = [path / name for name in _FILES if (path / name).is_file()]
    if not found:
        raise WiseftError(f"{path} has none of {', '.join(_FILES)}")
    return [found[0], path / _CONFIG]


def adapted(folder: Path, base: Checkpoint) -> Checkpoint:
    """Return a base with an adapter merged into it, as PEFT's `merge_and_unload` does in fp32.

    A weight W becomes W + s B A with s = lora_alpha / r, or lora_alpha / sqrt(r) with
    `use_rslora`. Whole tensors in the adapter (`modules_to_save`, biases) replace the base's.

    Args:
        base: with the names of the model that the adapter was trained on.

    Raises:
        WiseftError: if it is no LoRA, or a kind that is not a sum of weights (DoRA); if its
            tensors do not fit those of the base.
    """
    config = _config(folder)
    file = files_of(folder)[0]
    adapter = read_checkpoint(file).tensors
    shapes = examples(adapter)
    how = {name: partial(_same, name) for name in base.tensors}
    seconds = set(_FACTORS.values())
    for key in adapter:
        module, end = _split(key)
        if end in seconds:
            continue
        name = module + ".weight" if end else module
        if name not in how:
            raise WiseftError(
                f"{folder} changes {name}, which {base.path} does not have, but "
                f"{some(list(base.tensors), 2)}; give the model that the adapter was trained on"
            )
        how[name] = partial(_same, key)
        if end:
            other = key.removesuffix(end) + _FACTORS[end]
            flip = bool(config.get("fan_in_fan_out")) or end == ".lora_embedding_A"
            if other not in adapter:
                raise WiseftError(f"{file} has {key}, but no {other}; copy it again")
            scale = _scale(config, module, shapes[key].shape[0])
            how[name] = partial(_changed, name, (key, other), scale, flip)
    return replace(base, path=folder, tensors=Computed(joined(base.tensors, adapter), how))


def _config(folder: Path) -> dict[str, Any]:
    config = read_object(folder / _CONFIG, "configuration of an adapter")
    advice = "merge it with PEFT (`merge_and_unload`), save the model, and give that one"
    if config.get("use_dora"):
        raise WiseftError(
            f"{folder} is a DoRA: it scales the columns of the changed weights anew, which is no "
            f"sum of weights and low-rank matrices; {advice}"
        )
    odd = [key for key, value in config.items() if value and key not in _KNOWN]
    if config.get("peft_type") != "LORA":
        odd = ["peft_type"]
    elif config.get("init_lora_weights", True) not in _PLAIN_STARTS:
        odd = ["init_lora_weights"]  # PiSSA and others change the base, too
    if odd:
        raise WiseftError(
            f"{folder} / {_CONFIG} has {odd[0]}: {config.get(odd[0])}, but plain LoRA is read; "
            + advice
        )
    return config


def _split(key: str) -> tuple[str, str]:
    """Return the module that a factor changes and its ending; no ending: a whole tensor."""
    name = key.removeprefix("base_model.model.").replace(".base_layer.", ".")
    ends = (*_FACTORS, *_FACTORS.values())
    end = next((end for end in ends if name.endswith(end)), "")
    return name.removesuffix(end), end


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    alpha, given = (
        next((v for k, v in of.items() if re.match(rf"(.*\.)?({k})$", module)), config[default])
        for of, default in (
            (config.get("alpha_pattern") or {}, "lora_alpha"),
            (config.get("rank_pattern") or {}, "r"),
        )
    )
    if given != rank:
        raise WiseftError(f"{module} has rank {rank}, but {_CONFIG} says {given}; copy both again")
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _same(name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    return tensors[name]


def _changed(
    name: str, factors: tuple[str, str], scale: float, flip: bool, tensors: Mapping[str, Tensor]
) -> Tensor:
    weight, (first, second) = tensors[name], (tensors[key].float().flatten(1) for key in factors)
    change = scale * (second @ first)
    change = change.t() if flip else change
    if change.shape != weight.flatten(1).shape:
        raise WiseftError(
            f"{name} has shape {tuple(weight.shape)}, but the adapter changes one of "
            f"{tuple(change.shape)}; give the model that it was trained on"
        )
    return weight.float() + change.view_as(weight)
