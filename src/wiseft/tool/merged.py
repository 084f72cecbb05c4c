"""A fine-tuned end that a recipe of `wiseft combine` makes of several fine-tuned models."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from wiseft.combine.files import combine_files
from wiseft.combine.recipe_settings import Recipe, make_recipe
from wiseft.errors import WiseftError
from wiseft.foreign.door import Opened
from wiseft.foreign.ends import Ends
from wiseft.models import towers
from wiseft.thetas.theta import open_theta


def merged_end(
    recipe: Recipe,
    ends: Ends,
    more: Iterable[Opened],
    make: Callable[..., Ends],
    work: Path,
    device: str,
) -> Ends:
    """Return ends of which the fine-tuned one is what a recipe makes of it and of further models.

    Args:
        more: further fine-tuned models.
        make: makes ends of the zero-shot model and an opened checkpoint, in the folder `work`.
        work: folder for the merged theta.

    Raises:
        WiseftError: if a checkpoint is refused or does not fit, or the recipe refuses the models.
    """
    folder, output = work / "more", work / "merged.safetensors"
    others: list[Ends] = []
    for place, end in enumerate(more):
        others.append(make(end, work=folder / str(place)))
        if (own := _has_text(others[-1])) != _has_text(ends):
            raise WiseftError(
                f"{end.path} has {'a' if own else 'no'} text tower of its own, unlike the first "
                "fine-tuned model; a recipe takes models of which all trained it, or none"
            )
    tuned = [each.theta_1 for each in (ends, *others)]
    thetas = [ends.theta_0, *tuned] if recipe.inputs.from_zero_shot else tuned
    options = recipe.options.model_dump()
    combine_files(make_recipe(options, {"thetas": thetas}), output, device)
    shutil.rmtree(folder, ignore_errors=True)
    methods = {each.method for each in (ends, *others)}
    method = ends.method if len(methods) == 1 else "end-to-end"
    return replace(ends, theta_1=output, method=method)


def _has_text(ends: Ends) -> bool:
    """Whether the fine-tuned end has a text tower that differs from the zero-shot model's."""
    return any(name.startswith(towers.TEXT) for name in open_theta(ends.theta_1).tensors)
