"""Tensors of a CLIPModel of transformers under open_clip's names, and back.

open_clip keeps query, key and value of an attention in one matrix, transformers in three; the
projections are transposed to each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from wiseft.base.io import read_object
from wiseft.errors import WiseftError
from wiseft.thetas.tensor_file import examples
from wiseft.thetas.tensor_views import Computed

_TABLES = read_object(Path(__file__).with_suffix(".json"))
"""open_clip's name by that of transformers: whole names, what the names of blocks begin with, and
what stands in a block; there `in_proj_` of transformers stands for its three parts."""
_TRANSPOSED, _BLOCKS, _IN_BLOCK = (_TABLES[key] for key in ("transposed", "blocks", "in_block"))
_NAMES = _TABLES["names"] | _TRANSPOSED
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
    how: dict[str, str | Callable[[Mapping[str, Tensor]], Tensor]] = {}
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
            how[new] = partial(_transposed, name) if name in _TRANSPOSED else name
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
    how: dict[str, str | Callable[[Mapping[str, Tensor]], Tensor]] = {}
    for name in tensors:
        new = _renamed(name, *tables)
        if new is None:
            raise WiseftError(f"tensor {name} of open_clip has no place in a CLIPModel")
        before, fused, kind = new.partition("in_proj_")
        if fused:
            for place, part in enumerate(_PARTS):
                how[f"{before}{part}_proj.{kind}"] = partial(_third, name, place)
        else:
            how[new] = partial(_transposed, name) if new in _TRANSPOSED else name
    return Computed(tensors, how)


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
