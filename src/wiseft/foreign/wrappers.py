"""Which mapping in a file of torch holds the weights, and what lies beside them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wiseft.errors import WiseftError, some
from wiseft.foreign.quantised import refuse_quantised

Place = tuple[Any, ...]
"""The keys that lead to a mapping; none: the file's own."""

_STATE = {
    *("amp", "callbacks", "loops", "optim", "optimiser", "optimisers", "optimizer", "optimizers"),
    *("rng", "sampler", "scaler", "scheduler", "schedulers"),
}
"""Words in keys of a training's state, which means nothing for other weights."""
_SETTINGS = {"arguments", "args", "cfg", "config", "hparams", "hyper", "opt", "options"}
"""Words in keys of settings, which stay as they are."""
_MEASURED = {
    *("acc", "accuracy", "best", "epoch", "epochs", "iter", "iteration", "iterations", "loss"),
    *("losses", "metric", "metrics", "perplexity", "prec", "score", "step", "steps"),
}
"""Words in keys of single numbers that a training measured."""
_AVERAGE = {"ema"}
"""Words in keys of moving averages of the weights."""
_DEEPEST, _MOST = 8, 10**7
"""Levels and entries of a file that are looked at."""


@dataclass(frozen=True)
class Found:
    """Where a file of torch holds what.

    Attributes:
        weights: place of the weights.
        copies: places of the same tensors.
        averages: places of moving averages of the weights.
        left: keys of tensors and of a training's state that a result does not get.
        around: all else that the file holds.
    """

    weights: Place
    copies: list[Place]
    averages: list[Place]
    left: list[str]
    around: dict[Any, Any]


def find_weights(path: Path, content: Any, chosen: str | None = None) -> Found:
    """Find the one mapping of weights in what a file of torch holds.

    Args:
        chosen: the key of the weights, with dots where mappings are nested. It decides where the
            file has that key.

    Raises:
        WiseftError: if there are no weights, several mappings that could be the weights, or
            tensors whose meaning is unknown; names the keys.
    """
    if not isinstance(content, Mapping):
        raise WiseftError(f"{path} holds {type(content).__name__}, expected tensors by name")
    holders = dict(_holders(path, content))
    if any(t.is_quantized for holder in holders.values() for _, t in _tensors(holder)):
        refuse_quantised(path, "tensors that torch quantised")
    candidates = [place for place, holder in holders.items() if not _measured(place, holder)]
    plain = [place for place in candidates if key_of(place) == chosen]
    averages: list[Place] = []
    if not plain:
        averages = [place for place in candidates if _has(place, _AVERAGE)]
        plain = [place for place in candidates if place not in averages]
        if not plain:
            plain, averages = averages, []
    if not plain:
        keys = some([str(key) for key in content]) or "nothing"
        raise WiseftError(f"{path} holds {keys}, but no tensors by name")
    first, *others = plain
    mappings = all(isinstance(holders[place], Mapping) for place in plain + averages)
    if not mappings or not all(_same(holders[first], holders[place]) for place in others):
        raise several(path, candidates)
    left: list[str] = []
    around = _around(path, content, plain, averages, left)
    return Found(first, others, averages, left, around)


def several(path: Path, places: Sequence[Place]) -> WiseftError:
    """Return the refusal of a file that could be read in several ways."""
    return WiseftError(
        f"{path} holds tensors under {some([key_of(place) for place in places])}, and only one "
        "mapping can be the weights; name it with --weights KEY, or save it alone"
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
            inner[key] = dict(inner.get(key, {}))
            inner = inner[key]
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
            raise WiseftError(
                f"{path} nests more than a checkpoint does; save the weights alone, by their names"
            )
        if any(isinstance(value, Tensor) for _, value in items):
            yield place, content
        stack += [
            ((*place, key), value)
            for key, value in reversed(items)
            if isinstance(value, Mapping | list | tuple | set)
            and not _has((key,), _STATE | _SETTINGS)
        ]


def _items(content: Any) -> list[tuple[Any, Any]]:
    if isinstance(content, Mapping):
        return list(content.items())
    return list(enumerate(content)) if isinstance(content, list | tuple | set) else []


def _tensors(content: Any) -> Iterator[tuple[Any, Tensor]]:
    return ((key, value) for key, value in _items(content) if isinstance(value, Tensor))


def _has(place: Place, words: set[str]) -> bool:
    return any(not words.isdisjoint(re.findall("[a-z]+", str(key).lower())) for key in place)


def _measured(place: Place, holder: Any) -> bool:
    return all(t.numel() == 1 and _has((*place, key), _MEASURED) for key, t in _tensors(holder))


def _same(one: Any, other: Any) -> bool:
    first, second = dict(_tensors(one)), dict(_tensors(other))
    with contextlib.suppress(RuntimeError):  # of tensors without values, which cannot be compared
        return first.keys() == second.keys() and all(
            t.dtype == second[name].dtype
            and t.nbytes <= t.untyped_storage().nbytes()  # none that is expanded
            and torch.equal(t, second[name])
            for name, t in first.items()
        )
    return False


def _around(
    path: Path,
    content: Mapping[Any, Any],
    weights: Sequence[Place],
    averages: Sequence[Place],
    left: list[str],
    above: Place = (),
) -> dict[Any, Any]:
    """Return what is neither a tensor nor state of a training; `left` gets the other keys."""
    kept: dict[Any, Any] = {}
    for key, value in content.items():
        place = (*above, key)
        if any(each[: len(place)] == place for each in weights):
            kept[key] = _around(path, value, weights, averages, left, place)
        elif isinstance(value, Tensor) and above in weights:
            continue  # of the weights
        elif _has((key,), _SETTINGS) or not (_has((key,), _STATE) or _holds(path, value)):
            kept[key] = value
        elif not any(each[: len(place)] == place for each in averages):
            left.append(key_of(place))
    return kept


def _holds(path: Path, value: Any) -> bool:
    return isinstance(value, Tensor) or next(_holders(path, value), None) is not None
