"""Adapters of PEFT (LoRA, Hu et al. 2022; DoRA, Liu et al. 2024): a model's weights with their
low-rank changes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict
from torch import Tensor

from wiseft.base.io import read_object, sha256_file, sha256_json
from wiseft.base.typed import Count
from wiseft.base.validation import validate
from wiseft.errors import WiseftError, some
from wiseft.foreign.formats import Checkpoint, read_checkpoint, weight_files
from wiseft.foreign.forms import module_names
from wiseft.foreign.model_folder import inside
from wiseft.thetas.tensor_views import Computed, joined

CONFIG = "adapter_config.json"
FILES = ("adapter_model.safetensors", "adapter_model.bin")
_FIRSTS = {".lora_A.weight": ".lora_B.weight", ".lora_embedding_A": ".lora_embedding_B"}
_SECONDS = {second: first for first, second in _FIRSTS.items()}
_MAGNITUDE = ".lora_magnitude_vector"
"""Ending of DoRA's norms of rows."""
_FACTORS = _FIRSTS | _SECONDS
"""Endings of the factors of a change, each with that of the other."""
_PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva")
"""Values of `init_lora_weights` with which PEFT leaves the base as it is."""
_KNOWN = {
    *("alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "eva_config"),
    *("exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights", "lora_alpha"),
    *("layers_pattern", "layers_to_transform", "lora_dropout", "megatron_core", "modules_to_save"),
    *("peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern", "revision"),
    *("target_modules", "task_type", "use_dora", "use_rslora"),
}
"""Keys that are followed here, or say nothing of the merged weights; others must be off."""
_PATTERN = re.compile(r"([\w^$|-]|\\[.d]|\.\*?)*")
_MOST_STARS = 3
_ADVICE = "merge it with PEFT (`merge_and_unload`), save the model, and give that one"


def _bounded(pattern: str) -> str:
    """Refuse what a matcher may need for ever for: repeated groups, many repetitions."""
    if _PATTERN.fullmatch(pattern) is None or pattern.count("*") > _MOST_STARS:
        raise ValueError(f"it is no name of modules, perhaps with `.*`; {_ADVICE}")
    return pattern


_Modules = Annotated[str, AfterValidator(_bounded)]


class _Lora(BaseModel):
    """What an adapter says of itself that its merged weights depend on."""

    model_config = ConfigDict(allow_inf_nan=False)

    r: Count
    lora_alpha: float
    rank_pattern: dict[_Modules, Count] | None = None
    alpha_pattern: dict[_Modules, float] | None = None
    use_rslora: bool = False
    use_dora: bool = False
    fan_in_fan_out: bool | None = False


def is_adapter(path: Path) -> bool:
    """Whether a path is a folder of an adapter of PEFT."""
    return (path / CONFIG).is_file()


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
    found = [path / name for name in FILES if inside(path / name).is_file()]
    if not found:
        raise WiseftError(f"{path} has none of {', '.join(FILES)}")
    return [found[0], inside(path / CONFIG)]


def adapted(folder: Path, base: Checkpoint) -> Checkpoint:
    """Return a base with an adapter merged into it, as PEFT's `merge_and_unload` does in fp32.

    A weight W becomes W + s B A with s = lora_alpha / r, or lora_alpha / sqrt(r) with
    `use_rslora`; of a DoRA each row is then scaled to the norm that the adapter has for it. Whole
    tensors in the adapter (`modules_to_save`, biases) replace the base's.

    Args:
        base: with the names of the model that the adapter was trained on.

    Raises:
        WiseftError: if it is no LoRA, or of a kind that is not followed; if its tensors do not fit
            those of the base.
    """
    lora, file = config_of(folder), files_of(folder)[0]
    adapter = read_checkpoint(file).tensors
    how: dict[str, str | Callable[[Mapping[str, Tensor]], Tensor]] = {}
    names = names_in(base, adapter)
    for key in adapter:
        if lora.use_dora and key.endswith(_MAGNITUDE):
            continue
        module, end = module_of(key)
        name = module + ".weight" if end else module
        name = names.get(name, name)
        if name not in base.tensors:
            raise WiseftError(
                f"{folder} changes {name}, which {base.path} does not have, but "
                f"{some(list(base.tensors), 2)}; give the model that the adapter was trained on"
            )
        ends = [_FACTORS[end], *([_MAGNITUDE] if lora.use_dora else [])] if end else []
        others = [key.removesuffix(end) + each for each in ends]
        if absent := [other for other in others if other not in adapter]:
            raise WiseftError(f"{file} has {key}, but no {absent[0]}; copy it again")
        if end in _SECONDS:
            continue
        if name in how:
            raise WiseftError(f"{file} changes {name} twice, the second time by {key}")
        how[name] = key
        if end:
            flip = bool(lora.fan_in_fan_out) or end == ".lora_embedding_A"
            how[name] = partial(_changed, name, module, (key, *others), lora, flip)
    unchanged = {name: name for name in base.tensors}
    tensors = Computed(joined(base.tensors, adapter), unchanged | how)
    return replace(base, path=folder, tensors=tensors, also={}, left=[])


def config_of(folder: Path) -> _Lora:
    """Return an adapter's configuration. Raises WiseftError for one that is not followed here."""
    config = read_object(inside(folder / CONFIG), "configuration of an adapter")
    odd = [key for key, value in config.items() if value and key not in _KNOWN]
    if config.get("peft_type") != "LORA":
        odd = ["peft_type"]
    elif config.get("init_lora_weights", True) not in _PLAIN_STARTS:
        odd = ["init_lora_weights"]  # PiSSA and others change the base, too
    if odd:
        raise WiseftError(
            f"{folder} / {CONFIG} has {odd[0]}: {config.get(odd[0])}, but plain LoRA is read; "
            + _ADVICE
        )
    return validate(_Lora, config, str(folder / CONFIG))


def names_in(base: Checkpoint, adapter: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the base's name of each tensor of its module, where an adapter changes others."""
    changed = {module + ".weight" if end else module for module, end in map(module_of, adapter)}
    return {} if changed <= base.tensors.keys() else module_names(base.config, base.tensors)


def module_of(key: str) -> tuple[str, str]:
    """Return the module that a factor changes and its ending; no ending: a whole tensor."""
    name = key.removeprefix("base_model.model.").replace(".base_layer.", ".")
    end = next((end for end in _FACTORS if name.endswith(end)), "")
    return name.removesuffix(end), end


def _scale(lora: _Lora, module: str, rank: int) -> float:
    alpha, given = (
        next((v for k, v in (of or {}).items() if re.match(rf"(.*\.)?({k})$", module)), default)
        for of, default in ((lora.alpha_pattern, lora.lora_alpha), (lora.rank_pattern, lora.r))
    )
    if given != rank:
        raise WiseftError(f"{module} has rank {rank}, but {CONFIG} says {given}; copy both again")
    return alpha / (math.sqrt(rank) if lora.use_rslora else rank)


def _changed(
    name: str,
    module: str,
    factors: tuple[str, ...],
    lora: _Lora,
    flip: bool,
    tensors: Mapping[str, Tensor],
) -> Tensor:
    weight, (first, second, *norms) = tensors[name], (tensors[key].float() for key in factors)
    if min(first.ndim, second.ndim) < 2 or len(first) != second.shape[1]:
        shapes = " and ".join(str(tuple(each.shape)) for each in (first, second))
        raise WiseftError(
            f"{name}: the factors of its change have shapes {shapes}; copy them again"
        )
    change = _scale(lora, module, len(first)) * (second.flatten(1) @ first.flatten(1))
    rows = weight.float().flatten(1)
    rows = rows.t() if flip else rows
    if change.shape != rows.shape or any(norm.numel() != len(rows) for norm in norms):
        wanted = change.t() if flip else change
        raise WiseftError(
            f"{name} has shape {tuple(weight.shape)}, but the adapter changes one of "
            f"{tuple(wanted.shape)}; give the model that it was trained on"
        )
    new = rows + change
    for norm in norms:
        new = new * (norm.flatten() / torch.linalg.norm(new, dim=1))[:, None]
    return (new.t().contiguous() if flip else new).view_as(weight)


def sums_of(path: Path) -> dict[str, str]:
    """Return the SHA-256 of each of `files_of`, by its name."""
    return {file.name: sha256_file(file) for file in files_of(path)}


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of the list of those of a folder (`files_of`)."""
    return sha256_file(path) if path.is_file() else sha256_json(sums_of(path))
