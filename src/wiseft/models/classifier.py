"""A theta as a torch module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from wiseft.models import towers
from wiseft.models.towers import seeded
from wiseft.thetas.tensor_views import floating
from wiseft.thetas.theta import ThetaHeader, check_same_tensors


class PixelModule(nn.Module):
    """A module on uint8 images, which it normalises for an image tower.

    Attributes:
        memory_format: of the pixels that the image tower is given.
    """

    mean: Tensor
    std: Tensor
    memory_format: torch.memory_format

    def __init__(self, preprocessing: Mapping[str, Any]):
        super().__init__()
        self.memory_format = torch.channels_last
        for name in ("mean", "std"):
            value = torch.tensor(preprocessing[name], dtype=torch.float32).view(1, 3, 1, 1)
            self.register_buffer(name, value, persistent=False)

    def pixels(self, images: Tensor) -> Tensor:
        """Map uint8 (N, 3, S, S) to normalised fp32 of the same shape."""
        # In place: three times as fast as with a new tensor for each step.
        scaled = images.to(torch.float32, copy=True).div_(255.0).sub_(self.mean).div_(self.std)
        return scaled.contiguous(memory_format=self.memory_format)


class ImageClassifier(PixelModule):
    """f(x, theta) = g(x, V_enc)^T W_classifier (paper section 3) on uint8 images.

    Features are L2-normalised before the head, in zero-shot, in fine-tuning and at every alpha
    (paper D.2); those of a supervised model are not.

    Args:
        never_predicted: classes whose logit is minus infinity in eval mode (paper C.7.2). In
            training they have logits like all others, so that a sample of theirs has a finite loss.
    """

    def __init__(
        self,
        image: nn.Module,
        head: nn.Linear,
        preprocessing: Mapping[str, Any],
        normalise: bool = True,
        never_predicted: Sequence[int] = (),
    ):
        super().__init__(preprocessing)
        self.image = image
        self.head = head
        self.normalise = normalise
        self.never_predicted = list(never_predicted)

    def features(self, images: Tensor) -> Tensor:
        """Map uint8 (N, 3, S, S) to the features (N, width) that the head takes."""
        return self.encode(self.pixels(images))

    def encode(self, pixels: Tensor) -> Tensor:
        """Map normalised fp32 (N, 3, S, S) to the features (N, width) that the head takes."""
        return self.scaled(cast(Tensor, self.image(pixels)))

    def scaled(self, features: Tensor) -> Tensor:
        """Map what the image tower gives to the features that the head takes."""
        return functional.normalize(features, dim=-1) if self.normalise else features

    def logits(self, features: Tensor) -> Tensor:
        """Map features (N, width) to logits (N, classes)."""
        logits = cast(Tensor, self.head(features))
        return logits if self.training else mask_logits(logits, self.never_predicted)

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 (N, 3, S, S) to logits (N, classes)."""
        return self.logits(self.features(images))


def compile_tower(model: nn.Module) -> None:
    """Have the image tower compiled when it is first used; a head alone has nothing to compile."""
    tower = getattr(model, "image", None)
    if tower is not None:
        # A second shape, the last batch of an epoch, is compiled too rather than made dynamic.
        tower.compile(dynamic=False)


def compilation_failed(error: BaseException) -> str:
    """Return what torch.compile says in an error; nothing where it is not one of its own."""
    own = type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
    return str(error).strip().splitlines()[0] if own else ""


def mask_logits(logits: Tensor, never_predicted: Sequence[int]) -> Tensor:
    """Return logits (N, classes) with minus infinity for classes that are never predicted.

    Their samples then count as errors. Combinations of logits are masked after they are combined.
    """
    if not never_predicted:
        return logits
    where = torch.as_tensor(never_predicted, dtype=torch.int64, device=logits.device)
    return logits.index_fill(-1, where, -torch.inf)


def build_classifier(
    header: ThetaHeader, tensors: Mapping[str, Tensor] | None = None, seed: int | None = None
) -> ImageClassifier:
    """Build the classifier of a theta header; without tensors its weights are random.

    A text tower among the tensors (`text.*`) is left alone.

    Returns a module in eval mode, in channels_last memory format.

    Raises:
        WiseftError: if the tensors don't fit the architecture, naming the first that does not.
    """
    architecture = header.architecture
    with towers.for_weights(architecture, tensors):
        image = towers.build_image(architecture, seed)
        with seeded(seed):
            head = nn.Linear(towers.embed_dim(architecture), len(header.class_names))
    classifier = ImageClassifier(
        image,
        head,
        header.preprocessing,
        normalise=towers.normalises(architecture),
        never_predicted=header.never_predicted,
    )
    if tensors is not None:
        own = {key: value for key, value in tensors.items() if not key.startswith(towers.TEXT)}
        check_same_tensors(classifier_tensors(classifier), own)
        classifier.load_state_dict(own, strict=False)
    classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return classifier.eval()


def classifier_tensors(classifier: ImageClassifier) -> dict[str, Tensor]:
    """Return the floating tensors of the classifier by their names in a theta.

    Integer entries (BatchNorm's num_batches_tracked) have no meaning in between two models and
    are left out.
    """
    return floating(classifier.state_dict())
