"""Interpolation of two thetas with an alpha for each group of layers.

A group is named by a *selector*:

    stem            what comes before the blocks of the image tower
    blocks          all blocks
    blocks.3        one block, counted from 0 by depth
    blocks.0-5      blocks 0 to 5
    blocks.6-       blocks from 6 on
    tail            what comes after the blocks (last norm, pooling, projection)
    head            the head
    text            the text tower, where a theta has one
    re:PATTERN      tensors whose whole name matches a regular expression
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field

from wiseft.base.alphas import format_alpha
from wiseft.combine.parts import parts_of
from wiseft.combine.recipe import Alpha, Mixture, RecipeOptions, TwoThetas
from wiseft.errors import WiseftError

_PARTS = ("stem", "blocks", "tail", "head", "text")
_RANGE = re.compile(r"blocks\.(\d+)(-(\d*))?")

Inputs = TwoThetas


class Options(RecipeOptions):
    """An alpha for every group."""

    alphas: Annotated[dict[str, Alpha], Field(min_length=1)]
    """Alpha by group: stem, blocks, blocks.3, blocks.0-5, tail, head, text, re:PATTERN."""


def apply(options: Options, inputs: TwoThetas, *_: Any) -> Mixture:
    """Return the interpolation."""
    from wiseft.combine.files import mixture, open_thetas
    from wiseft.combine.linear_combination import ends

    thetas = open_thetas(inputs.thetas)
    alphas = group_alphas(thetas[0].tensors, options.alphas)
    return mixture(thetas, {name: ends(alpha) for name, alpha in alphas.items()})


def group_alphas(names: Iterable[str], alphas: Mapping[str, float | str]) -> dict[str, str]:
    """Return the alpha of every tensor.

    Args:
        names: of all tensors of a theta.
        alphas: by selector; see above.

    Raises:
        WiseftError: if a selector or an alpha is malformed, a selector matches no tensor, or a
            tensor is in no group or in two; the message names it.
    """
    names = list(names)
    checked = {selector: format_alpha(alpha) for selector, alpha in alphas.items()}
    parts, blocks = parts_of(names)
    members = {selector: _members(selector, parts, blocks) for selector in checked}
    chosen = {}
    for name in names:
        groups = [selector for selector, matched in members.items() if name in matched]
        if len(groups) != 1:
            raise WiseftError(_misplaced(name, parts[name], groups, list(checked)))
        chosen[name] = checked[groups[0]]
    return chosen


def _members(selector: str, parts: Mapping[str, str | None], blocks: int) -> set[str]:
    if selector.startswith("re:"):
        try:
            pattern = re.compile(selector.removeprefix("re:"))
        except re.error as error:
            raise WiseftError(f"group {selector!r} is no regular expression: {error}") from None
        members = {name for name in parts if pattern.fullmatch(name)}
    else:
        wanted = _selected(selector, blocks)
        members = {name for name, part in parts.items() if part in wanted}
    if not members:
        there = [part for part in ("stem", "tail", "head", "text") if part in parts.values()]
        raise WiseftError(
            f"group {selector!r} holds no tensor; the thetas have "
            f"{', '.join([*there, f'{blocks} blocks'])}"
        )
    return members


def _selected(selector: str, blocks: int) -> set[str]:
    if selector == "blocks":
        return {f"blocks.{index}" for index in range(blocks)}
    if selector in _PARTS:
        return {selector}
    match = _RANGE.fullmatch(selector)
    if match is None:
        raise WiseftError(
            f"group {selector!r} is none of {', '.join(_PARTS)}, blocks.3, blocks.0-5, blocks.6- "
            "or re:PATTERN"
        )
    first = int(match[1])
    last = first if match[2] is None else int(match[3] or blocks - 1)
    if last < first or last >= blocks:
        raise WiseftError(f"group {selector!r} is no range of blocks; there are {blocks}, from 0")
    return {f"blocks.{index}" for index in range(first, last + 1)}


def _misplaced(name: str, part: str | None, groups: list[str], known: list[str]) -> str:
    if groups:
        return f"tensor {name} is in the groups {groups[0]!r} and {groups[1]!r}; it must be in one"
    fitting = part.split(".")[0] if part else f"re:{re.escape(name)}"
    return (
        f"tensor {name} is in none of the groups {', '.join(known) or '(there are none)'}; "
        f"add one for it, such as {fitting!r}"
    )
