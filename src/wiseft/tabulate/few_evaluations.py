"""Where to evaluate next if only a few alphas may be evaluated, and what was not seen.

The two ends and 0.5 come first. Then the two ways to choose alpha take turns: the best held-out
value, and the smallest alpha within one standard error of it (`wiseft.tabulate.selection`). A
monotone cubic is drawn through the held-out values (Fritsch and Carlson 1980,
doi:10.1137/0717021; scipy's `PchipInterpolator`). If the alpha that would be chosen on it was not
evaluated, it is next. Else the gap beside it is halved, on the side whose other end is better. If
no grid point is left beside either choice, the widest gap is halved.

The method has no setting and no random numbers. Only the held-out set has a part in it: to look
where curves of shifts change most instead of into the widest gap gained nothing. The curve is
never reported: the final choice is among the evaluated alphas alone. How much is lost that way is
in `benchmarks/few.py`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

import pandas as pd
from scipy.interpolate import PchipInterpolator

from wiseft.base.alphas import FIXED_ALPHA
from wiseft.errors import WiseftError
from wiseft.tabulate.selection import best_alpha, one_standard_error_alpha

HELD_OUT, ONE_ERROR = "held-out", "held-out-1se"


class Score(NamedTuple):
    """What an evaluation found on one set.

    Attributes:
        value: in the metric's own unit.
        stderr: its standard error in the same unit; None, if unknown, counts as 0.
    """

    value: float
    stderr: float | None = None
    higher_is_better: bool = True


Measured = Mapping[float, Mapping[str, Score]]
"""By alpha and set."""


def next_alpha(
    grid: Sequence[float], measured: Measured, held_out: str, budget: int
) -> float | None:
    """Return the alpha of the grid to evaluate next, or None if budget or grid are used up.

    Args:
        grid: the alphas that may be evaluated.
        measured: what is there; other alphas than the grid's count as well.
        held_out: the set by which alpha is chosen.
        budget: evaluations in all, those in `measured` included.

    Raises:
        WiseftError: if an alpha has no finite value of the held-out set.
    """
    left = sorted(set(grid) - set(measured))
    if not left or len(measured) >= budget:
        return None
    for first in (min(grid), max(grid), _nearest(grid, float(FIXED_ALPHA))):
        if first in left:
            return first
    known, error = _held_out_curve(measured, held_out)
    gaps = [(a, b) for a, b in pairwise(known.index) if any(a < each < b for each in left)]
    chosen = _chosen_on_curve(known, error, left)
    for alpha in chosen if len(measured) % 2 else reversed(chosen):
        if alpha in left:
            return alpha
        beside = [gap for gap in gaps if alpha in gap]
        if beside:
            return _middle(max(beside, key=lambda gap: known[gap[0]] + known[gap[1]]), left)
    return _middle(max(gaps, key=lambda gap: round(gap[1] - gap[0], 9)), left)


def choices(measured: Measured, held_out: str) -> dict[str, float]:
    """Return the alphas that the held-out set chooses among those evaluated, by the rule's name.

    Raises:
        WiseftError: if nothing was evaluated, or an alpha has no finite value of that set.
    """
    known, error = _held_out_curve(measured, held_out)
    return {HELD_OUT: best_alpha(known), ONE_ERROR: one_standard_error_alpha(known, error)}


def unseen(grid: Sequence[float], measured: Collection[float]) -> str:
    """Return a sentence on the alphas that were not evaluated; empty, if all were."""
    ordered = sorted(set(grid))
    runs = [list(run) for seen, run in groupby(ordered, measured.__contains__) if not seen]
    if not runs:
        return ""
    names = [
        f"{r[0]:g} to {r[-1]:g}" if len(r) > 2 else ", ".join(f"{a:g}" for a in r) for r in runs
    ]
    return (
        f"{sum(map(len, runs))} of {len(ordered)} alphas were not evaluated ({', '.join(names)}): "
        "the choices are among the others, and the curves between those are not known."
    )


def _held_out_curve(measured: Measured, held_out: str) -> tuple[pd.Series, float]:
    """Return the values by alpha, ascending and higher is better, and the best one's error."""
    values: dict[float, float] = {}
    for alpha in sorted(measured):
        score = measured[alpha].get(held_out)
        if score is None or not all(map(math.isfinite, (score.value, score.stderr or 0))):
            raise WiseftError(
                f"at alpha {alpha:g} the held-out set {held_out} has "
                f"{'no value' if score is None else f'{score.value} +- {score.stderr}'}; "
                "the evaluation must give a finite value at every alpha"
            )
        values[alpha] = score.value if score.higher_is_better else -score.value
    if not values:
        raise WiseftError("no alpha was evaluated; evaluate at least one")
    known = pd.Series(values)
    return known, measured[best_alpha(known)][held_out].stderr or 0.0


def _chosen_on_curve(known: pd.Series, error: float, left: Sequence[float]) -> list[float]:
    """Return the best alpha, and the smallest within one standard error on the drawn curve.

    The curve is monotone between evaluated alphas, so the best is always one of these.
    """
    curve = PchipInterpolator(known.index.to_numpy(), known.to_numpy())
    values = pd.Series(known.to_dict() | dict(zip(left, curve(left).tolist(), strict=True)))
    return [best_alpha(known), one_standard_error_alpha(values, error)]


def _middle(gap: tuple[float, float], left: Sequence[float]) -> float:
    inside = [alpha for alpha in left if gap[0] < alpha < gap[1]]
    return _nearest(inside, (gap[0] + gap[1]) / 2)


def _nearest(alphas: Sequence[float], to: float) -> float:
    """Return the nearest alpha; of two the smaller."""
    return min(sorted(alphas), key=lambda alpha: round(abs(alpha - to), 9))
