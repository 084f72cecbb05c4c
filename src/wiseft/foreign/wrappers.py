"""Which mapping in a file of torch holds the weights, and what lies beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wiseft.errors import WiseftError, some
from wiseft.foreign.quantised import check_not_quantised

Place = tuple[Any, ...]
"""The keys that lead to a mapping; none: the file's own."""

_STATE = re.compile("amp|callbacks?|loops|opt|optim|optimi[sz]ers?|rng|sampler|scaler|schedulers?")
"""Words in keys of a training's state, which means nothing for other weights."""
_SETTINGS = re.compile("arguments|args|cfg|config|hparams|hyper|options")
"""Words in keys of settings, which stay as they are."""
_MEASURED = re.compile(
    "acc|accuracy|best|epochs?|iter|iterations?|loss|losses|lr|metrics?|perplexity|prec|score|steps?"
)
"""Words in keys of single numbers that a training measured."""
_AVERAGE = re.compile("ema")
"""The word in keys of moving averages of the weights."""
_DEEPEST, _MOST = 8, 10**7
"""Levels and entries of a file that are looked at."""


def find_weights(
    path: Path, content: Any, chosen: str | None = None
) -> tuple[list[Place], list[str], dict[Any, Any]]:
    """Find the one mapping of weights in what a file of torch holds.

    Args:
        chosen: the key of the weights, with dots where mappings are nested. It decides where the
            file has that key.

    Returns:
        The place of the weights, and behind it those of moving averages of them or of the same
        tensors again; the keys of measurements and of a training's state; and all else.

    Raises:
        WiseftError: if there are no weights, several mappings that could be the weights, or
            tensors whose meaning is unknown; names the keys.
    """
    if not isinstance(content, Mapping):
        raise WiseftError(f"{path} holds {type(content).__name__}, expected tensors by name")
    holders = dict(_holders(path, content))
    every = {key_of((*p, key)): t for p, holder in holders.items() for key, t in _tensors(holder)}
    check_not_quantised(path, every, {})
    found = [place for place, holder in holders.items() if not _measured(place, holder)]
    if not found:
        keys = some([str(key) for key in content]) or "nothing"
        raise WiseftError(f"{path} holds {keys}, but no tensors by name")
    named = [place for place in found if key_of(place) == chosen]
    places = named or sorted(found, key=lambda place: _has(_AVERAGE, *place))
    known = (_has(_AVERAGE, *p) or _same(holders[places[0]], holders[p]) for p in places[1:])
    if not (all(_is_mapping(content, place) for place in places) and all(known)):
        raise several(path, found)
    left: list[str] = []
    return places, left, _beside(path, content, places, left)


def several(path: Path, places: Sequence[Place]) -> WiseftError:
    """Return the refusal of a file that could be read in several ways."""
    return WiseftError(
        f"{path} holds tensors under {some([key_of(place) for place in places])}, but only one "
        "mapping can be the weights; save it alone, or give its key: --weights KEY"
    )


def key_of(place: Place) -> str:
    """Return a place as a user writes it: keys with dots between, a dot alone for the top."""
    return ".".join(map(str, place)) or "."


def at(content: Mapping[Any, Any], place: Place) -> dict[str, Tensor]:
    """Return the tensors of the mapping at a place."""
    for key in place:
        content = content[key]
    return {str(key): tensor for key, tensor in _tensors(content)}


def placed(around: Mapping[Any, Any], new: Mapping[Place, Mapping[str, Any]]) -> dict[Any, Any]:
    """Return what a file holds with mappings put at their places."""
    whole = dict(around)
    for place, mapping in new.items():
        inner = whole
        for key in place:
            inner[key] = inner = dict(inner.get(key, {}))
        inner.update(mapping)
    return whole


def _holders(path: Path, content: Any) -> Iterator[tuple[Place, Any]]:
    """Yield the mappings and sequences that hold tensors themselves, with their places."""
    stack: list[tuple[Place, Any]] = [((), content)]
    entries = 0
    while stack:
        place, content = stack.pop()
        items = _items(content)
        entries += len(items)
        if len(place) > _DEEPEST or entries > _MOST:
            raise WiseftError(f"{path} nests more than a checkpoint does; save the weights alone")
        if any(_tensors(content)):
            yield place, content
        inner = [item for item in items if _items(item[1]) and not _has(_STATE, item[0])]
        stack += [((*place, k), v) for k, v in reversed(inner) if not _has(_SETTINGS, k)]


def _is_mapping(content: Any, place: Place) -> bool:
    """Whether mappings alone lead to a place, and it is one."""
    for key in place:
        if not isinstance(content, Mapping):
            return False
        content = content[key]
    return isinstance(content, Mapping)


def _items(content: Any) -> list[tuple[Any, Any]]:
    if isinstance(content, Mapping):
        return list(content.items())
    return list(enumerate(content)) if isinstance(content, list | tuple | set) else []


def _tensors(content: Any) -> Iterator[tuple[Any, Tensor]]:
    return (item for item in _items(content) if isinstance(item[1], Tensor))


def _has(word: re.Pattern[str], *keys: Any) -> bool:
    return any(
        word.fullmatch(each) for key in keys for each in re.findall("[a-z]+", str(key).lower())
    )


def _measured(place: Place, holder: Any) -> bool:
    return all(t.numel() == 1 and _has(_MEASURED, *place, key) for key, t in _tensors(holder))


def _same(one: Any, other: Any) -> bool:
    """Whether two mappings are of the same memory, as a file has it that was written of one."""
    first, second = (
        {k: t.layout == torch.strided and (t.data_ptr(), t.shape, t.stride()) for k, t in each}
        for each in map(_tensors, (one, other))
    )
    return first == second


def _beside(
    path: Path, content: Any, places: Sequence[Place], left: list[str], above: Place = ()
) -> dict[Any, Any]:
    """Return what is neither a tensor nor state of a training; `left` gets the other keys."""
    kept: dict[Any, Any] = {}
    for key, value in content.items():
        place = (*above, key)
        tensor = isinstance(value, Tensor)
        if any(each[: len(place)] == place for each in places):
            kept[key] = _beside(path, value, places, left, place)
        elif _has(_SETTINGS, key) and not tensor:
            kept[key] = value
        elif tensor or _has(_STATE, key) or any(_holders(path, value)):
            left += [] if tensor and above in places else [key_of(place)]
        else:
            kept[key] = value
    return kept
