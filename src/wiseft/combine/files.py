"""Combining from files to a file, one tensor at a time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wiseft.alphas import format_alpha
from wiseft.classifier import build_classifier
from wiseft.combine.fisher import FisherCoefficients, estimate_fisher, open_fisher, save_fisher
from wiseft.combine.groups import group_alphas
from wiseft.combine.linear import Coefficients, Combination, ends
from wiseft.combine.patching import Patched
from wiseft.combine.recipes import (
    FisherRecipe,
    GreedySoupRecipe,
    GroupsRecipe,
    LinearRecipe,
    PatchingRecipe,
    Recipe,
    UniformSoupRecipe,
)
from wiseft.combine.soups import HELD_OUT, HeldOutAccuracy, greedy_soup, uniform_coefficients
from wiseft.data.store import open_manifest, open_split
from wiseft.errors import WiseftError
from wiseft.finetune.contrastive import HeadBuilder, Prompts, has_text
from wiseft.finetune.sampling import draw_subset
from wiseft.io import sha256_file
from wiseft.runtime import check_writable
from wiseft.tensor_file import LazyTensors, examples
from wiseft.theta import (
    StoredTheta,
    ThetaHeader,
    check_compatible,
    load_theta,
    make_header,
    open_theta,
    write_theta,
)


@dataclass(frozen=True)
class Inputs:
    """What a recipe is followed with.

    Attributes:
        thetas: in the order that the recipe's coefficients have.
        fishers: Fisher information of each, for `fisher`.
        head: the theta whose head the result has, for `patching`; None: the first.
        dataset: manifest of the reference, for `soup-greedy`.
    """

    thetas: Sequence[Path]
    fishers: Sequence[Path] = ()
    head: Path | None = None
    dataset: Path | None = None


@dataclass(frozen=True)
class _Result:
    """Tensors, the theta whose header they go with, and what the header says of them."""

    tensors: Mapping[str, Tensor]
    like: ThetaHeader
    settings: dict[str, Any] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)


def interpolate_files(theta_0: Path, theta_1: Path, alpha: float | str, output: Path) -> str:
    """Write the theta between two files and return its SHA-256.

    The header is of kind `combined`; it names the coefficients and, as parents, the SHA-256 of
    the two files. Where the thetas have a text tower, the head is built from the interpolated one.

    Raises:
        WiseftError: if alpha is not one of three decimals in [0, 1], a file is missing or
            broken, or the two are of different architectures, classes or preprocessing.
    """
    alpha = format_alpha(alpha)
    thetas = _open_compatible([theta_0, theta_1])
    settings = {
        "combination": "weight",
        "alpha": alpha,
        "coefficients": dict(zip(("theta_0", "theta_1"), ends(alpha), strict=True)),
    }
    end = thetas[1].header
    tensors = _with_head(_combination(thetas, ends(alpha)), end)
    return _write(output, _Result(tensors, end, settings), thetas, seed=end.seed)


def combine_files(
    recipe: Recipe,
    inputs: Inputs,
    output: Path,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = lambda line: None,
) -> str:
    """Write the theta that a recipe makes of others and return its SHA-256.

    Memory is one tensor of every theta; for a greedy soup two thetas and a model, for thetas with
    a text tower one whole model. The header is of kind `combined`; it holds the recipe and, as
    parents, the SHA-256 of every input: `theta_0`, `theta_1` and so on.

    Args:
        device: where a greedy soup evaluates its ingredients.
        say: takes lines about what is done.

    Raises:
        WiseftError: if an input is missing, broken or not one that the recipe takes, or the
            thetas are of different architectures, classes or preprocessing.
    """
    check_writable(output)
    _check_inputs(recipe, inputs)
    if isinstance(recipe, PatchingRecipe):
        thetas, result = _patched(recipe, inputs)
    else:
        thetas = _open_compatible(inputs.thetas)
        result = _followed(recipe, inputs, thetas, device, say)
    seeds = {theta.header.seed for theta in thetas} - {None}
    settings = {"combination": "weight", "recipe": recipe.model_dump(mode="json")}
    whole = _Result(result.tensors, result.like, settings | result.settings, result.parents)
    return _write(output, whole, thetas, seed=seeds.pop() if len(seeds) == 1 else None)


@dataclass(frozen=True)
class FisherRequest:
    """What Fisher information is estimated from.

    Attributes:
        samples: how many of the split, drawn by the seed; None: all.
        labels: `sampled` or `labels`; see `estimate_fisher`.
        batch_size: samples at once, as far as memory allows.
    """

    theta: Path
    dataset: Path
    split: str
    samples: int | None
    labels: str
    seed: int
    batch_size: int = 32


def fisher_file(
    request: FisherRequest,
    output: Path,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Estimate and write the Fisher information of a theta.

    The header holds the SHA-256 of the theta, the identity of the dataset, and the samples.

    Raises:
        WiseftError: if an input is missing or broken, the dataset has other classes than the
            theta, or there are fewer samples than are asked for.
    """
    check_writable(output)
    theta = load_theta(request.theta)
    manifest = open_manifest(request.dataset)
    if manifest.class_names != theta.header.class_names:
        raise WiseftError(
            f"dataset {manifest.dataset} has other classes than {request.theta}; give the "
            "reference that its head is of"
        )
    split = open_split(manifest.path, request.split, theta.header.transform)
    if request.samples is not None and request.samples > len(split):
        raise WiseftError(
            f"{request.samples} samples are asked for, but {manifest.dataset}, split "
            f"{split.name}, has {len(split)}; lower the number or leave it out"
        )
    indices = draw_subset(len(split), request.samples, request.seed)
    start = time.perf_counter()
    fisher = estimate_fisher(
        build_classifier(theta.header, theta.tensors).to(device),
        split,
        labels=request.labels,
        seed=request.seed,
        indices=indices,
        batch_size=request.batch_size,
    )
    about = {
        "theta": theta.sha256,
        "dataset": manifest.dataset,
        "manifest": manifest.identity([split.name]),
        "split": split.name,
        "samples": len(indices),
        "labels": request.labels,
        "seed": request.seed,
    }
    save_fisher(output, fisher, about)
    rate = len(indices) / (time.perf_counter() - start)
    say(f"fisher: wrote {output} ({len(indices)} samples, {rate:.1f} samples/s)")


def _followed(
    recipe: Recipe,
    inputs: Inputs,
    thetas: list[StoredTheta],
    device: torch.device | str,
    say: Callable[[str], None],
) -> _Result:
    if isinstance(recipe, GreedySoupRecipe):
        return _greedy(inputs, thetas, device, say)
    parents = {}
    coefficients: Coefficients
    if isinstance(recipe, LinearRecipe):
        coefficients = recipe.coefficients
    elif isinstance(recipe, UniformSoupRecipe):
        coefficients = uniform_coefficients(len(thetas))
    elif isinstance(recipe, GroupsRecipe):
        alphas = group_alphas(thetas[0].tensors, recipe.alphas)
        coefficients = {name: ends(alpha) for name, alpha in alphas.items()}
    elif isinstance(recipe, FisherRecipe):
        parents = {f"fisher_{i}": sha256_file(path) for i, path in enumerate(inputs.fishers)}
        coefficients = FisherCoefficients(
            [
                open_fisher(path, theta.sha256)
                for path, theta in zip(inputs.fishers, thetas, strict=True)
            ],
            list(thetas[0].tensors),
            recipe.coefficients or uniform_coefficients(len(thetas)),
            recipe.floor,
        )
    like = thetas[-1].header
    return _Result(_with_head(_combination(thetas, coefficients), like), like, parents=parents)


def _greedy(
    inputs: Inputs,
    thetas: list[StoredTheta],
    device: torch.device | str,
    say: Callable[[str], None],
) -> _Result:
    assert inputs.dataset is not None
    manifest = open_manifest(inputs.dataset)
    like = thetas[-1].header
    accuracy = HeldOutAccuracy(manifest, like, device)
    stored = [theta.tensors for theta in thetas]
    builder = HeadBuilder(like, device) if has_text(stored[0]) else None
    soup = greedy_soup(
        stored,
        accuracy,
        finish=(lambda mean: mean | builder.head(mean)) if builder else lambda mean: mean,
        say=say,
    )
    settings = {
        "ingredients": soup.ingredients,
        "accuracies": soup.accuracies,
        "accuracy": soup.accuracy,
        "held_out": {
            "dataset": manifest.dataset,
            "split": HELD_OUT,
            "samples": accuracy.samples,
            "identity": manifest.identity([HELD_OUT]),
        },
    }
    return _Result(soup.tensors, like, settings, {"dataset": manifest.sha256})


def _patched(recipe: PatchingRecipe, inputs: Inputs) -> tuple[list[StoredTheta], _Result]:
    thetas = [open_theta(path) for path in inputs.thetas]
    head = open_theta(inputs.head) if inputs.head else thetas[0]
    for path, theta in zip(inputs.thetas[1:], thetas[1:], strict=True):
        if theta.header.preprocessing != thetas[0].header.preprocessing:
            raise WiseftError(
                f"{path} has the preprocessing {theta.header.preprocessing}, but {inputs.thetas[0]}"
                f" has {thetas[0].header.preprocessing}; tasks are patched into one model"
            )
    tensors = [theta.tensors for theta in thetas]
    alpha = recipe.alpha[0] if len(recipe.alpha) == 1 else recipe.alpha
    patched = Patched(tensors[0], tensors[1:], alpha, head.tensors)
    return thetas, _Result(patched, head.header, parents={"head": head.sha256})


def _check_inputs(recipe: Recipe, inputs: Inputs) -> None:
    """Check that there is all that a recipe takes, and nothing that it does not."""
    kind, n = recipe.kind, len(inputs.thetas)
    if n < 2:
        raise WiseftError(f"{kind} combines at least two thetas, but {n or 'none'} was given")
    if kind == "groups" and n != 2:
        raise WiseftError(f"groups interpolates between two thetas, but {n} were given")
    wanted = {
        "--fisher": (bool(inputs.fishers), kind == "fisher", "fisher"),
        "--head": (inputs.head is not None, None if kind == "patching" else False, "patching"),
        "--dataset": (inputs.dataset is not None, kind == "soup-greedy", "soup-greedy"),
    }
    for option, (given, needed, of) in wanted.items():
        if needed and not given:
            raise WiseftError(f"{kind} needs {option}, but it was not given")
        if given and needed is False:
            raise WiseftError(f"{option} is for {of}, but the recipe is {kind}; leave it out")
    if kind == "fisher" and len(inputs.fishers) != n:
        raise WiseftError(
            f"{n} thetas but {len(inputs.fishers)} Fisher files were given; give one for each "
            "theta, in their order"
        )


def _open_compatible(paths: Sequence[Path]) -> list[StoredTheta]:
    thetas = [open_theta(path) for path in paths]
    for path, theta in zip(paths[1:], thetas[1:], strict=True):
        try:
            check_compatible(thetas[0], theta)
        except WiseftError as error:
            raise WiseftError(f"{paths[0]} and {path}: {error}") from None
    return thetas


def _combination(thetas: list[StoredTheta], coefficients: Coefficients) -> Combination:
    return Combination([theta.tensors for theta in thetas], coefficients)


def _write(output: Path, result: _Result, thetas: list[StoredTheta], seed: int | None) -> str:
    like, settings, shapes = result.like, result.settings, examples(result.tensors)
    if has_text(shapes):
        with contextlib.suppress(WiseftError):  # a header that says nothing of prompts
            settings = settings | {"prompts": Prompts.of(like).settings()}
    parents = {f"theta_{place}": theta.sha256 for place, theta in enumerate(thetas)}
    header = make_header(
        "combined",
        "combine",
        architecture=like.architecture,
        preprocessing=like.preprocessing,
        class_names=like.class_names,
        parents=parents | result.parents,
        seed=seed,
        settings=settings,
        never_predicted=like.never_predicted,
    )
    return write_theta(output, shapes, result.tensors.__getitem__, header)


def _with_head(mixture: Combination, header: ThetaHeader) -> Mapping[str, Tensor]:
    """Return a mixture of thetas with the head that follows from its text tower, if it has one."""
    if mixture.copied is not None or not has_text(mixture):
        return mixture
    return _Overlaid(mixture, HeadBuilder(header).head(mixture))


class _Overlaid(LazyTensors):
    """Tensors of which some are replaced by others."""

    def __init__(self, below: LazyTensors, above: Mapping[str, Tensor]):
        self._below, self._above = below, above

    def __getitem__(self, name: str) -> Tensor:
        return self._above[name] if name in self._above else self._below[name]

    @property
    def shapes(self) -> Mapping[str, Tensor]:
        """An example of every tensor."""
        return {**self._below.shapes, **self._above}
