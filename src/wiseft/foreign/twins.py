"""Architectures of the same shapes, such as ViT-B-32 with and without QuickGELU: images tell which
of them a checkpoint is of, where nothing else says it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from wiseft.errors import WiseftError
from wiseft.foreign.architecture import fitting_architectures
from wiseft.foreign.door import Opened
from wiseft.tabulate.intervals import mcnemar_exact

LEVEL = 0.05


def twins_of(*models: Opened) -> list[str]:
    """Return the architectures that the first model's tensors fit, if several do and no model says
    which it is; else nothing.
    """
    if any(each.architecture is not None for each in models):
        return []
    names = list(fitting_architectures(models[0].checkpoint))
    return names if len(names) > 1 else []


def told_apart(
    right: Mapping[str, Mapping[str, NDArray[np.bool_]]], images: str = "images"
) -> tuple[str, str]:
    """Return the architecture under which models are more often right, and a sentence about it.

    Of two that differ by no more than noise (McNemar's exact test, p >= 0.05) it is said that they
    do, and the better one is taken; of equal ones the first.

    Args:
        right: by architecture and by model: whether each image is right, bool (n,).
        images: what they are, for the sentence.

    Raises:
        WiseftError: if two models are better, beyond noise, under two architectures.
    """
    hits = {name: np.concatenate([*models.values()]) for name, models in right.items()}
    best, other = sorted(hits, key=lambda name: -hits[name].sum())[:2]
    better: dict[str, str] = {}
    for model, first in right[best].items():
        second = right[other][model]
        n_first, n_second = int((first & ~second).sum()), int((second & ~first).sum())
        if mcnemar_exact(n_first, n_second) < LEVEL:
            better[model] = best if n_first > n_second else other
    shares = " and ".join(f"{100 * hits[name].mean():.1f} % as {name}" for name in (best, other))
    found = f"the tensors fit {', '.join(right)}, and right on {images} are {shares}"
    if len(set(better.values())) > 1:
        each = " and ".join(f"{model} as {name}" for model, name in better.items())
        raise WiseftError(
            f"{found}: better are {each}, so there is no model between them; fine-tune with the "
            "activation of the zero-shot model, or choose with --architecture"
        )
    if better:
        return best, f"{found}: {best} is used; --architecture says otherwise"
    return best, (
        f"{found}, which does not tell them apart: {best} is used; say with --architecture which "
        "is right (OpenAI's weights and what was trained from them are quickgelu)"
    )
