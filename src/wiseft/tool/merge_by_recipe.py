"""Merging by a recipe: what it makes of several checkpoints, in one checkpoint's format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from wiseft.base.alphas import format_alpha
from wiseft.combine.files import mix
from wiseft.combine.recipe_settings import Recipe, recipe_at
from wiseft.errors import WiseftError
from wiseft.foreign.configs import tied_names
from wiseft.foreign.door import open_model
from wiseft.foreign.formats import Checkpoint
from wiseft.thetas.tensor_file import examples
from wiseft.thetas.tensor_views import floating, joined, renamed
from wiseft.tool.merge import Mixed, are_thetas, fitting, open_both


def by_recipe(
    paths: Sequence[Path], recipe: Mapping[str, Any], alpha: str, weights: str | None, like: Path
) -> Callable[[Path], None]:
    """Return what writes the model between the first one and what a recipe makes; all is checked.

    Args:
        paths: the zero-shot model, and fine-tuned ones or adapters for it.
        like: the one whose format is written.
    """
    made, share = recipe_at(recipe, len(paths) - 1, alpha)
    base = open_model(paths[0], weights=weights, also=True)
    pairs = [open_both(like, each, weights, base) for each in paths]
    if any(are_thetas(*pair) for pair in pairs):
        raise WiseftError("of thetas of wiseft, use `wiseft combine`; here a recipe takes no theta")
    own, models = pairs[0][0], [other.checkpoint for _, other in pairs]
    also = {
        key: _made(made, share, each, [model.also[key] for model in models])
        for key, each in own.checkpoint.also.items()
    }
    return partial(own.write, _made(made, share, own.checkpoint, models), also=also)


def _made(recipe: Recipe, alpha: str, like: Checkpoint, models: Sequence[Checkpoint]) -> Mixed:
    """Return the tensors between the first model and what a recipe makes, in the dtypes of one."""
    shapes, tied = examples(like.tensors), tied_names(like.config, like.tensors)
    own = {name: name for name in floating(shapes) if tied.get(name) not in shapes}
    ends = [fitting(like, each) for each in models]
    thetas = [renamed(each, own) for each in ends]
    made = mix(recipe, thetas if recipe.inputs.from_zero_shot else thetas[1:])
    names = {name: own.get(name, tied.get(name, name)) for name in shapes}
    end = renamed(joined(like.tensors, made), names)
    return Mixed(end, ends[0], dict.fromkeys(shapes, turned(alpha)), "cpu", shapes)


def turned(alpha: str) -> str:
    """Return the alpha of the same model, seen from the other end."""
    return format_alpha(round(1 - float(alpha), 3))
