"""Combining from files to a file, one tensor at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wiseft.base import plugins
from wiseft.base.alphas import format_alpha
from wiseft.base.io import check_writable
from wiseft.combine.linear_combination import Coefficients, Combination, ends
from wiseft.combine.recipe import Mixture
from wiseft.combine.recipe_settings import Recipe
from wiseft.errors import WiseftError
from wiseft.thetas.tensor_file import LazyTensors
from wiseft.thetas.tensor_views import joined
from wiseft.thetas.theta import (
    StoredTheta,
    ThetaHeader,
    check_compatible,
    make_header,
    open_theta,
    save_theta,
)
from wiseft.zeroshot.text_head import HeadBuilder, Prompts, has_text


def interpolate_files(theta_0: Path, theta_1: Path, alpha: float | str, output: Path) -> str:
    """Write the theta between two files and return its identity.

    The header is of kind `combined`; it names the coefficients and, as parents, the identities of
    the two. Where the thetas have a text tower, the head is built from the interpolated one.

    Raises:
        WiseftError: if alpha is not one of three decimals in [0, 1], a file is missing or
            broken, or the two are of different architectures, classes or preprocessing.
    """
    alpha = format_alpha(alpha)
    mixed = mixture(open_thetas([theta_0, theta_1]), ends(alpha))
    coefficients = dict(zip(("theta_0", "theta_1"), ends(alpha), strict=True))
    settings = {"alpha": alpha, "coefficients": coefficients}
    return save_theta(output, mixed.tensors, mixed_header(mixed, settings, mixed.like.seed))


def combine_files(recipe: Recipe, output: Path, device: torch.device | str = "cpu") -> str:
    """Write the theta that a recipe makes of others and return its identity.

    Memory is one tensor of every theta, unless the recipe says otherwise; for thetas with a text
    tower one whole model. The header is of kind `combined`; it holds the recipe and, as parents,
    the identity of every input: `theta_0`, `theta_1` and so on.

    Args:
        device: where a recipe that needs a model runs it.

    Raises:
        WiseftError: if an input is missing or broken, or the thetas are of different
            architectures, classes or preprocessing.
    """
    check_writable(output)
    options, inputs = recipe
    mixed: Mixture = plugins.load(plugins.RECIPES, options.kind).apply(options, inputs, device)
    seeds = {theta.header.seed for theta in mixed.thetas} - {None}
    seed = seeds.pop() if len(seeds) == 1 else None
    settings = {"recipe": options.model_dump(mode="json"), **mixed.settings}
    return save_theta(output, mixed.tensors, mixed_header(mixed, settings, seed))


def mix(recipe: Recipe, thetas: Sequence[LazyTensors]) -> Mapping[str, Tensor]:
    """Return what a recipe makes of tensors that are no thetas, each when it is asked for.

    Args:
        recipe: takes nothing but thetas; those that it names are not looked at.
        thetas: floating tensors of equal names and shapes, in the recipe's order.
    """
    options, inputs = recipe
    header = ThetaHeader("combined", "combine", 0, {}, {}, [])
    given = inputs.model_copy(update={"thetas": [StoredTheta(each, header, "") for each in thetas]})
    mixed: Mixture = plugins.load(plugins.RECIPES, options.kind).apply(options, given, "cpu")
    return mixed.tensors


def open_thetas(thetas: Sequence[Path | StoredTheta]) -> list[StoredTheta]:
    """Return thetas that can be combined; those that are open already as they are.

    Raises:
        WiseftError: naming the files, if they are of different architectures, classes or
            preprocessing, or one is missing or broken.
    """
    opened = [each if isinstance(each, StoredTheta) else open_theta(each) for each in thetas]
    for given, theta in zip(thetas[1:], opened[1:], strict=True):
        with naming(thetas[0], given):
            check_compatible(opened[0], theta)
    return opened


@contextlib.contextmanager
def naming(first: Any, second: Any) -> Iterator[None]:
    """Put the names of two files before what is wrong with them."""
    try:
        yield
    except WiseftError as error:
        raise WiseftError(f"{first} and {second}: {error}") from None


def mixture(
    thetas: list[StoredTheta], coefficients: Coefficients, parents: Mapping[str, str] | None = None
) -> Mixture:
    """Return the combination of thetas, with the head that follows from its text tower, if any.

    Args:
        coefficients: as `Combination` takes them.
        parents: what identifies other inputs, by their names in the header.

    Raises:
        WiseftError: as `Combination` does.
    """
    like = thetas[-1].header
    mixed = Combination([theta.tensors for theta in thetas], coefficients)
    tensors = mixed if mixed.copied is not None else with_head(mixed, like)
    return Mixture(tensors, thetas, like, parents=dict(parents or {}))


def with_head(mixed: Mapping[str, Tensor], like: ThetaHeader) -> Mapping[str, Tensor]:
    """Return tensors with the head that follows from their text tower, if they have one."""
    known = bool(like.architecture) and has_text(mixed)  # `mix` has names of other programs
    return joined(mixed, HeadBuilder(like, mixed).head(mixed)) if known else mixed


def mixed_header(mixed: Mixture, settings: dict[str, Any], seed: int | None) -> ThetaHeader:
    """Return the header of a mixture: of kind `combined`, with the identities of its thetas."""
    like = mixed.like
    settings = {"combination": "weight", **settings}
    if has_text(mixed.tensors):
        with contextlib.suppress(WiseftError):  # a header that says nothing of prompts
            settings["prompts"] = Prompts.of(like).settings()
    parents = {f"theta_{place}": theta.identity for place, theta in enumerate(mixed.thetas)}
    return make_header(
        "combined",
        "combine",
        architecture=like.architecture,
        preprocessing=like.preprocessing,
        class_names=like.class_names,
        parents=parents | mixed.parents,
        seed=seed,
        settings=settings,
        never_predicted=like.never_predicted,
    )
