"""What every family of zero-shot models offers, and names of tensors."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wiseft.errors import WiseftError, some

IMAGE, TEXT = "image.", "text."
"""What the names of the towers' tensors begin with in a theta."""


class ZeroShotModel(ABC):
    """An image tower and, in most families, a text tower with a tokenizer.

    Attributes:
        architecture: the description that the model was built from.
        module: the whole model, with tensors in its family's own names.
        image: maps normalised pixels (n, 3, S, S) to features (n, width), not L2-normalised.
        normalise: whether features are L2-normalised before the head (paper D.2).
    """

    normalise: bool = True

    def __init__(self, architecture: Mapping[str, Any], module: nn.Module, image: nn.Module):
        self.architecture = architecture
        self.module = module
        self.image = image

    @property
    @abstractmethod
    def logit_scale(self) -> Tensor:
        """The logarithm of what cosines are multiplied by, a scalar."""

    @property
    def logit_bias(self) -> Tensor | None:
        """What is added to every logit, a scalar; None where the family has nothing of the kind."""
        return None

    @abstractmethod
    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Return int64 (n, context length).

        Raises:
            WiseftError: if a prompt is longer than the context, or there is no text tower.
        """

    @abstractmethod
    def encode_text(self, tokens: Tensor) -> Tensor:
        """Map int64 (n, length) to features (n, width), not L2-normalised.

        The length is the context's, or at least the largest of `lengths`.
        """

    def lengths(self, tokens: Tensor) -> Tensor | None:
        """Return for each prompt how many of its first tokens have any influence, int64 (n,).

        None: the tower has to see the whole context.
        """
        return None

    def tensors(self) -> dict[str, Tensor]:
        """Return the floating tensors of the whole model by its family's names.

        Integer entries (position ids, BatchNorm's num_batches_tracked) are no weights.
        """
        return floating(self.module.state_dict())

    def load(self, weights: Mapping[str, Tensor], where: str) -> None:
        """Put weights in place of the model's own, whatever their dtype.

        Raises:
            WiseftError: if they are not exactly the floating tensors of the architecture; lists
                those that are missing, unexpected and of another shape.
        """
        check_fit(self.tensors(), weights, where)
        self.module.load_state_dict(dict(weights), strict=False)

    def to(self, device: torch.device | str) -> ZeroShotModel:
        """Move the model to a device and return it."""
        self.module.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.module.parameters()).device


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Draw random numbers from `seed` and leave the global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def explained(what: str, advice: str) -> Iterator[None]:
    """Turn an error of a library, of which there are many kinds, into a sentence."""
    try:
        yield
    except Exception as error:
        raise WiseftError(f"{what}: {type(error).__name__}: {error}; {advice}") from error


def floating(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the floating tensors."""
    return {key: value for key, value in tensors.items() if value.is_floating_point()}


def prefixed(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    length = len(prefix)
    return {key[length:]: value for key, value in tensors.items() if key.startswith(prefix)}


def with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors with a prefix before their names."""
    return {prefix + key: value for key, value in tensors.items()}


def check_fit(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], where: str) -> None:
    """Check that tensors are those of an architecture, by name and shape.

    Raises:
        WiseftError: with the names that are missing, unexpected and of another shape.
    """
    problems = []
    if missing := sorted(expected.keys() - given.keys()):
        problems.append(f"  {len(missing)} missing: {some(missing, 8)}")
    if unexpected := sorted(given.keys() - expected.keys()):
        problems.append(f"  {len(unexpected)} unexpected: {some(unexpected, 8)}")
    misshapen = [
        f"{key} (expected {tuple(expected[key].shape)}, found {tuple(given[key].shape)})"
        for key in sorted(expected.keys() & given.keys())
        if expected[key].shape != given[key].shape
    ]
    if misshapen:
        problems.append(f"  {len(misshapen)} of another shape: {some(misshapen, 8)}")
    if problems:
        raise WiseftError(
            f"{where} does not fit the architecture:\n" + "\n".join(problems) + "\n"
            "Give the architecture that the checkpoint was made with, or its own checkpoint."
        )
