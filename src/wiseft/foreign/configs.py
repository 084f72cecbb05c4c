"""Configurations of two models: whether what no tensor shows is the same in both."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from wiseft.errors import WiseftError, some
from wiseft.foreign.class_names import names_described
from wiseft.foreign.formats import Checkpoint
from wiseft.foreign.forms import form_of
from wiseft.models.building import for_weights
from wiseft.thetas.tensor_file import examples

log = logging.getLogger(__name__)


def _described(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a configuration, that of a CLIPModel in open_clip's terms."""
    of_clip = getattr(form_of(config), "architecture_of", None)
    return {"model_cfg": of_clip(config)} if of_clip else config


_HARMLESS = re.compile(
    "_?name_or_path|_commit_hash|transformers_version|auto_map|(torch_)?dtype|cast_dtype|num_labels"
    "|use_bfloat16|torchscript|output_(dict|attentions|hidden_states)|id2label|label2id|use_cache"
    "|(use_)?(return_dict|gradient_checkpointing)|problem_type|finetuning_task|label_smoothing"
    "|task_specific_params|_?attn_implementation.*|layerscale_value|custom_text"
    "|.*(drop|init_|_init|initializer|loss|mask_time|mask_feature).*"
    "|device|use_amp|push_to_hub|repo_id|private|tags|license|pretrained_(path|backbone_weights)"
    "|(optimizer|scheduler|freeze)_.*|train_.*_only|unsloth_.*|_diffusers_version"
)
"""Keys that change nothing that the trained model computes. The last lines are of training:
dropout, first values, losses, masks of spectrograms; what LeRobot and Unsloth write. Names of
tensors show `custom_text`."""
_TOKENS = re.compile(r"(.*\.)?(bos|eos|pad)_token_id")
"""Keys that say where a language model begins and stops to write."""
_MOST_LAYERS = 10_000


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the keys in which two configurations describe other models, with both values.

    Both are filled with the defaults of transformers, open_clip or timm first.

    Args:
        one: the content of a `config.json` or `open_clip_config.json`; empty: nothing is known.
        other: likewise.
    """
    if not one or not other or _flat(one) == _flat(other):
        return []
    fill = next((how for key, how in _FILLED.items() if key in one and key in other), dict)
    try:
        first, second = _flat(fill(one)), _flat(fill(other))
    except Exception:  # of a library that is not there, or does not know the model or its keys
        first, second = _flat(one), _flat(other)
    differ = sorted(key for key in first.keys() | second if first.get(key) != second.get(key))
    if str(one.get("architectures")).endswith(("ForCausalLM']", "ForConditionalGeneration']")):
        differ = [key for key in differ if not _TOKENS.fullmatch(key)]
    return [f"{key} is {first.get(key)!s:.60} and {second.get(key)!s:.60}" for key in differ]


def _of_transformers(config: Mapping[str, Any]) -> dict[str, Any]:
    from transformers import CONFIG_MAPPING

    kind = CONFIG_MAPPING[config["model_type"]]  # never code that comes with the model
    return dict(kind.from_dict(_own(config)).to_dict())


def _own(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration for transformers, which makes a list of layers, and of labels."""
    if any(key.endswith("layers") and each > _MOST_LAYERS for key, each in _flat(config).items()):
        raise ValueError(f"it has more than {_MOST_LAYERS} layers")
    return copy.deepcopy({key: value for key, value in config.items() if key != "num_labels"})


def _of_open_clip(config: Mapping[str, Any]) -> dict[str, Any]:
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    model: dict[str, Any] = {"quick_gelu": False} | dict(config["model_cfg"])
    vision, text = CLIPVisionCfg(**model["vision_cfg"]), CLIPTextCfg(**model["text_cfg"])
    return model | {"vision_cfg": asdict(vision), "text_cfg": asdict(text)}


def _of_timm(config: Mapping[str, Any]) -> dict[str, Any]:
    pool = config.get("global_pool") or _object(config, "pretrained_cfg").get("global_pool")
    options = _object(config, "model_args") | {"num_classes": None}  # the head's shape shows it
    name = str(config["architecture"]).split(".")[0]
    return {"architecture": name, "global_pool": pool, "model_args": options}


_FILLED = {"model_type": _of_transformers, "model_cfg": _of_open_clip, "architecture": _of_timm}


def _object(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key)
    return dict(value) if isinstance(value, Mapping) else {}


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that matter, with dots where objects are nested, and their values."""
    flat, stack = {}, [("", config)]
    while stack:
        above, part = stack.pop()
        for key, value in part.items():
            if _HARMLESS.fullmatch(str(key)):
                continue
            if isinstance(value, Mapping) and value:
                stack.append((f"{above}{key}.", value))
            else:
                flat[f"{above}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat


def check_described(checkpoint: Checkpoint) -> None:
    """Refuse a folder whose configuration does not describe its tensors, where that can be told.

    Raises:
        WiseftError: naming a tensor and its two shapes, or as its form says it.
    """
    tensors, config = examples(checkpoint.tensors), checkpoint.config
    if check := getattr(form_of(config), "check", None):
        check(config, tensors, str(checkpoint.path))
    elif module := _in_transformers(config, tensors):
        state = module.state_dict()
        shapes = {name: tuple(state[name].shape) for name in state.keys() & tensors}
        odd = [name for name in sorted(shapes) if shapes[name] != tuple(tensors[name].shape)]
        if odd:
            name = odd[0]
            raise WiseftError(
                f"{checkpoint.path}: by its configuration {name} has the shape {shapes[name]}, but "
                f"in the weights {tuple(tensors[name].shape)}; transformers does not load them. "
                "Take both from one copy of the model"
            )


_FETCHES = "use_pretrained_backbone"
"""A key with which building a model of transformers asks the hub for weights."""


def _plain(value: Any) -> Any:
    """Return a configuration without choices of kernels, which may be code of the hub."""
    if isinstance(value, dict):
        return {k: _plain(each) for k, each in value.items() if "_implementation" not in str(k)}
    return value


def tied_names(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the first name of each parameter of a model of transformers, by its further names."""
    module, first = _in_transformers(config, tensors), dict[int, str]()
    named = module.named_parameters(remove_duplicate=False) if module else ()
    return {name: one for name, each in named if (one := first.setdefault(id(each), name)) != name}


def _in_transformers(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> torch.nn.Module | None:
    """Return the model of a configuration, without values; None: it is none of transformers, its
    class is not known here, or cannot be built so.
    """
    if "model_type" not in config:
        return None
    try:
        import transformers

        kind = getattr(transformers, config["architectures"][0])
        described = kind.config_class.from_dict(_plain(_own(config)))
        keys = _flat(config) | _flat(described.to_dict())
        if any(key.endswith(_FETCHES) and each for key, each in keys.items()):
            return None
        with for_weights({}, tensors), torch.device("meta"):
            module: torch.nn.Module = kind(described)
    except Exception:  # of a library that is not there, or of keys that it does not take
        return None
    return module


def compare_configs(first: Checkpoint, second: Checkpoint, ordered: bool = True) -> None:
    """Refuse folders whose architectures differ in what no tensor shows.

    Args:
        ordered: whether the classes must be in one order; a sweep brings heads into one.

    Raises:
        WiseftError: naming the keys, e.g. the activation or the number of heads.
    """
    names = [[name for name, *_ in names_described(each.config)[0]] for each in (first, second)]
    differ = differences(*(_described(each.config) for each in (first, second)))
    if ordered and names[0] != names[1] and sorted(names[0]) == sorted(names[1]):
        differ.append("the classes are in another order")
    if differ:
        raise WiseftError(
            f"{first.path} and {second.path} describe different models: {some(differ)}. If this "
            "changes nothing that the models compute, make the configurations equal"
        )
    if ordered and all(names) and names[0] != names[1]:
        log.info(
            f"{first.path} and {second.path} name other classes; the result has those of the first"
        )
