"""Where a sweep with the user's own evaluation evaluates: plain alphas, then parts or a recipe.

A point is an alpha, or an alpha with those of parts: `0.500 vision=0.300`. Parts at the plain alpha
are left out, so that a point has one name; one of a recipe is `0.500 ties`. The search over parts
is coordinate-wise, from the best plain alpha: part after part, the others held, alphas are
evaluated as with few evaluations (`wiseft.tabulate.few_evaluations`), and the part moves to the
best held-out value, if that is better than where it is. Each part is visited once. A recipe counts
as one part, with a line of its own from the zero-shot model to what it makes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from wiseft.base.alphas import format_alpha
from wiseft.combine.recipe_settings import options_of
from wiseft.errors import WiseftError, some
from wiseft.tabulate.few_evaluations import HELD_OUT, Score, choices, next_alpha
from wiseft.tabulate.predictions import ENDS
from wiseft.tabulate.reported import chosen, of_set, score_of

_NAME = re.compile(r"[A-Za-z_][\w-]*")


def point_of(alpha: str, own: Mapping[str, str]) -> str:
    """Return the name of a point: an alpha, and alphas of parts."""
    return " ".join([alpha, *(f"{part}={at}" for part, at in sorted(own.items()) if at != alpha)])


def split_point(point: str) -> tuple[str, dict[str, str]]:
    """Return the alpha of a point, and those of parts that have another."""
    alpha, *own = point.split(" ")
    return alpha, {part: at for part, _, at in (each.partition("=") for each in own)}


def shown(point: str) -> str:
    """Return a point as messages show it: `0.5 vision=0.3`."""
    return re.sub(r"\d\.\d{3}", lambda found: f"{float(found[0]):g}", point)


def is_plain(point: str) -> bool:
    """Whether all parts of a point have the plain alpha."""
    return " " not in point


def is_made(point: str) -> bool:
    """Whether the model of a point is what a recipe makes."""
    return not is_plain(point) and "=" not in point


def points_made(recipe: Mapping[str, Any], grid: Sequence[str]) -> list[str]:
    """Return the points of a recipe: all alphas of a grid but 0, of a recipe without alpha one."""
    at = grid[1:] if {"alpha", "scale"} & options_of(recipe).keys() else grid[-1:]
    return [f"{alpha} {recipe['kind']}" for alpha in at]


def tensors_of(parts: Mapping[str, str], tensors: Collection[str]) -> dict[str, str]:
    """Return the part of each tensor that belongs to one.

    Args:
        parts: regular expressions by the names of parts; they may match anywhere in a tensor's.
        tensors: names.

    Raises:
        WiseftError: if a name or an expression is none, an expression matches nothing, or two match
            the same tensor.
    """
    found: dict[str, str] = {}
    for part, pattern in parts.items():
        try:
            own = [name for name in tensors if re.search(pattern, name)]
        except re.error as error:
            raise WiseftError(f"--part {part}={pattern}: no regular expression ({error})") from None
        if not _NAME.fullmatch(part):
            raise WiseftError(f"--part {part}={pattern}: call it by letters, digits, _ and -")
        if not own:
            raise WiseftError(
                f"--part {part}={pattern} matches none of {len(tensors)} tensors, such as "
                f"{some(sorted(tensors), 3)}"
            )
        if twice := [name for name in own if name in found]:
            raise WiseftError(
                f"--part {found[twice[0]]} and --part {part} both match {some(twice, 3)}; a tensor "
                "has one alpha, so change one of the expressions"
            )
        found |= dict.fromkeys(own, part)
    return found


@dataclass(frozen=True)
class Plan:
    """What is evaluated, given the results so far.

    Attributes:
        grid: alphas in ascending order.
        needed: those that come first.
        parts: regular expressions by name, in the order of the search.
        budget: evaluations in all; None: the grid, and then for each part once more.
        held_out: the set that points are chosen by.
        metrics: as in `sweep_with`.
        made: points of a recipe, which is the only part then.

    Raises:
        WiseftError: if the budget is too small.
    """

    grid: list[str]
    needed: list[str]
    parts: Mapping[str, str]
    budget: int | None
    held_out: str
    metrics: Sequence[str]
    made: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.budget is not None and self.budget < len(self.needed) + len(self.parts):
            least = ", ".join(f"{float(each):g}" for each in self.needed)
            more = f" and one more for each of {len(self.parts)} parts" if self.parts else ""
            more = " and one of the recipe" if self.made else more
            raise WiseftError(f"--budget {self.budget} is too small for the alphas {least}{more}")

    def next(self, measured: Mapping[str, pd.DataFrame], busy: Collection[str]) -> str | None:
        """Return the point to evaluate next; None: no more."""
        order = dict.fromkeys([*self.needed, *([] if self.budget else [*self.grid, *self.made])])
        left = (each for each in order if each not in {*measured, *busy})
        searched = self.parts and not self.made
        if (found := next(left, None)) is not None or (self.budget is None and not searched):
            return found
        metric = chosen(measured[ENDS[0]], [self.held_out], self.metrics)[self.held_out]
        scores = {at: score_of(of_set(f, self.held_out, metric)) for at, f in measured.items()}
        if self.budget is not None:
            half = min(self.budget // 2, len(self.made) or self.budget)
            share = max(self.budget - half, len(self.needed))
            share = min(share, self.budget - len(self.parts)) if self.parts else self.budget
            plain = {at: score for at, score in scores.items() if is_plain(at)}
            if (at := self._on_line(plain, share, self.grid)) is not None:
                return at
        return self.searched(scores)[0]

    def _on_line(self, line: Mapping[str, Score], budget: int, grid: Collection[str]) -> str | None:
        measured = {float(at): {self.held_out: score} for at, score in line.items()}
        at = next_alpha([float(each) for each in grid], measured, self.held_out, budget)
        return None if at is None else format_alpha(at)

    def searched(self, scores: Mapping[str, Score]) -> tuple[str | None, str, str]:
        """Return the point that the search over parts asks for, the best plain alpha, and the best
        point so far, by held-out scores; the first is None if the search is done. With a recipe,
        the best point is the best one of it.
        """
        plain = {float(at): {self.held_out: s} for at, s in scores.items() if is_plain(at)}
        start, own = format_alpha(choices(plain, self.held_out)[HELD_OUT]), dict[str, str]()
        left = None if self.budget is None else self.budget - len(plain)
        made = {split_point(point)[0]: point for point in self.made}
        for place, part in enumerate(self.parts):
            moved = {at: point_of(start, own | {part: at}) for at in self.grid}
            points = {ENDS[0]: ENDS[0], **made} if made else moved
            line = {at: scores[point] for at, point in points.items() if point in scores}
            share = len(self.grid) if left is None else left // (len(self.parts) - place)
            if (at := self._on_line(line, 1 + share, points)) is not None:
                return points[at], start, point_of(start, own)
            better = {at: s.value if s.higher_is_better else -s.value for at, s in line.items()}
            ranks = {at: (v, at == start) for at, v in better.items() if at in (made or line)}
            own[part] = max(ranks, key=ranks.__getitem__)
            left = None if left is None else left - len(line) + 1
        return None, start, made[own[part]] if made else point_of(start, own)
