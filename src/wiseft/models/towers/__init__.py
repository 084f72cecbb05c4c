"""Families of models behind one small interface: open_clip, ALIGN, SigLIP, timm, transformers.

A family turns the description of an architecture (the theta header's `architecture`, plain JSON)
into modules, and says how the names of its image tower begin, in weights and in a theta
(`IMAGE_NAMES`). Without the key `family` a description is an open_clip model config.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from wiseft.errors import WiseftError
from wiseft.models.building import explained as explained
from wiseft.models.building import for_weights as for_weights
from wiseft.thetas.tensor_views import check_fit, floating

IMAGE, TEXT = "image.", "text."
"""What the names of the towers' tensors begin with in a theta."""

FAMILIES = ("open_clip", "align", "siglip", "timm", "transformers")
CLASSIFIERS = ("timm", "transformers")
"""Families without a text tower, whose features are not L2-normalised before the head."""


class PrefixSharing(NamedTuple):
    """A text tower that computes a beginning of several prompts once.

    Attributes:
        weights: those that a token is multiplied with.
        encode: maps a tree of prompts (`wiseft.zeroshot.shared_prefixes.tree_of`) to the features
            of its prompts (n, width), not L2-normalised.
    """

    weights: int
    encode: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


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

    def prefix_sharing(self) -> PrefixSharing | None:
        """Return how prompts share what they begin with, where each token of the text tower sees
        those before it alone; None: another tower.
        """
        return None

    def tensors(self) -> dict[str, Tensor]:
        """Return the floating tensors of the whole model by its family's names.

        Integer entries (position ids, BatchNorm's num_batches_tracked) are no weights.
        """
        return floating(self.module.state_dict())

    def load(self, weights: Mapping[str, Tensor], where: str, share: bool = False) -> None:
        """Put weights in place of the model's own, whatever their dtype.

        Args:
            share: not copied, where they lie in memory as torch would have put them (products may
                otherwise be rounded otherwise); the model is then not to be trained.

        Raises:
            WiseftError: if they are not exactly the floating tensors of the architecture; lists
                those that are missing, unexpected and of another shape.
        """
        check_fit(self.tensors(), weights, where)
        share &= all(
            each.dtype == torch.float32 and each.is_contiguous() and each.data_ptr() % 64 == 0
            for each in weights.values()
        )
        self.module.load_state_dict(dict(weights), strict=False, assign=share)

    def to(self, device: torch.device | str) -> ZeroShotModel:
        """Move the model to a device and return it."""
        self.module.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.module.parameters()).device


def family(architecture: Mapping[str, Any]) -> str:
    """Return the family of an architecture.

    Raises:
        WiseftError: if there is no such family.
    """
    name = str(architecture.get("family", "open_clip"))
    if name not in FAMILIES:
        raise WiseftError(
            f"the architecture is of the family {name}, but must be one of {', '.join(FAMILIES)}"
        )
    return name


def build(architecture: Mapping[str, Any], seed: int | None = None) -> ZeroShotModel:
    """Return a model in eval mode, with random weights drawn from `seed`.

    The global random state is left as it was.

    Raises:
        WiseftError: if the architecture cannot be built, or a library for it is missing.
    """
    return cast(ZeroShotModel, _module(architecture).build(architecture, seed))


def load(
    architecture: Mapping[str, Any], weights: Mapping[str, Tensor], where: str, share: bool = False
) -> ZeroShotModel:
    """Return a model in eval mode with these weights.

    Args:
        weights: floating tensors of the whole model, in its family's names.
        where: names the weights in messages.
        share: as `ZeroShotModel.load` takes it.

    Raises:
        WiseftError: if the architecture cannot be built or the weights are not exactly its own.
    """
    with for_weights(architecture, weights):
        model = build(architecture, seed=0)
    model.load(weights, where, share)
    return model


def build_image(architecture: Mapping[str, Any], seed: int | None = None) -> nn.Module:
    """Return an image tower alone, in train mode, with random weights drawn from `seed`.

    It maps normalised pixels (n, 3, S, S) to features (n, width), not L2-normalised.

    Raises:
        WiseftError: if the architecture cannot be built, or a library for it is missing.
    """
    return cast(nn.Module, _module(architecture).build_image(architecture, seed))


def embed_dim(architecture: Mapping[str, Any]) -> int:
    """Return the width of the features."""
    return int(architecture["embed_dim"])


def image_size(architecture: Mapping[str, Any]) -> int | None:
    """Return the edge in pixels of the images that the tower reads; None for any.

    Raises:
        WiseftError: if the architecture has no such edge.
    """
    with explained("the architecture has no image size", "compare it with one of its family"):
        return cast("int | None", _module(architecture).image_size(architecture))


def normalises(architecture: Mapping[str, Any]) -> bool:
    """Whether features are L2-normalised before the head."""
    return bool(architecture.get("normalise", True))


def has_text(architecture: Mapping[str, Any]) -> bool:
    """Whether a family has a text tower."""
    return family(architecture) not in CLASSIFIERS


def image_tensors(
    architecture: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the image tower of whole weights by its names in a theta: `image.*`."""
    theirs, ours = image_names(architecture)
    own = prefixed(weights, theirs)
    if not theirs:  # the classifier lies beside it
        classifier = _module(architecture).classifier_names(architecture)
        own = {name: tensor for name, tensor in own.items() if name not in classifier}
    return with_prefix(own, ours)


def text_tensors(
    architecture: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the text tower, scale included, of whole weights by its names in a theta: `text.*`.

    Raises:
        WiseftError: if the family has none.
    """
    theirs, _ = _with_text(architecture)
    rest = {name: tensor for name, tensor in weights.items() if not name.startswith(theirs)}
    return with_prefix(rest, TEXT)


def whole_tensors(
    architecture: Mapping[str, Any], theta: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the weights of a whole model, in its family's names, from a theta with `text.*`.

    Raises:
        WiseftError: if the family has no text tower.
    """
    theirs, ours = _with_text(architecture)
    return with_prefix(prefixed(theta, ours), theirs) | prefixed(theta, TEXT)


def _with_text(architecture: Mapping[str, Any]) -> tuple[str, str]:
    if not has_text(architecture):
        raise WiseftError(f"{architecture['model']} has no text tower")
    return image_names(architecture)


def image_names(architecture: Mapping[str, Any]) -> tuple[str, str]:
    """Return what names of the image tower begin with, in whole weights and in a theta."""
    return cast(tuple[str, str], _module(architecture).IMAGE_NAMES)


def _module(architecture: Mapping[str, Any]) -> ModuleType:
    return of_family(family(architecture))


def of_family(name: str) -> ModuleType:
    """Return the module of a family, which is imported when it is used."""
    return import_module(f"wiseft.models.towers.{name}_models")


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Draw random numbers from `seed` and leave the global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        yield


def prefixed(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    length = len(prefix)
    return {key[length:]: value for key, value in tensors.items() if key.startswith(prefix)}


def with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors with a prefix before their names."""
    return {prefix + key: value for key, value in tensors.items()}
