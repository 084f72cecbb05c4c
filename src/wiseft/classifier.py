"""A theta as a torch module."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from wiseft.errors import WiseftError
from wiseft.io import read_json, sha256_json
from wiseft.theta import ThetaHeader, check_same_tensors


class ImageClassifier(nn.Module):
    """f(x, theta) = g(x, V_enc)^T W_classifier (paper section 3) on uint8 images.

    Features are L2-normalised before the head, in zero-shot, in fine-tuning and at every alpha
    (paper D.2).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, image: nn.Module, head: nn.Linear, preprocessing: Mapping[str, Any]):
        super().__init__()
        self.image = image
        self.head = head
        for name in ("mean", "std"):
            value = torch.tensor(preprocessing[name], dtype=torch.float32).view(1, 3, 1, 1)
            self.register_buffer(name, value, persistent=False)

    def pixels(self, images: Tensor) -> Tensor:
        """Map uint8 (N, 3, S, S) to normalised fp32 of the same shape."""
        scaled = (images.to(torch.float32) / 255.0 - self.mean) / self.std
        return scaled.contiguous(memory_format=torch.channels_last)

    def features(self, images: Tensor) -> Tensor:
        """Map uint8 (N, 3, S, S) to L2-normalised features (N, width)."""
        return self.encode(self.pixels(images))

    def encode(self, pixels: Tensor) -> Tensor:
        """Map normalised fp32 (N, 3, S, S) to L2-normalised features (N, width)."""
        return functional.normalize(self.image(pixels), dim=-1)

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 (N, 3, S, S) to logits (N, classes)."""
        return cast(Tensor, self.head(self.features(images)))


def architecture_from_json(path: Path | str) -> dict[str, Any]:
    """Read an open_clip model config.

    Raises:
        WiseftError: if the file is missing or lacks one of the keys that open_clip needs.
    """
    architecture: dict[str, Any] = read_json(path, "architecture")
    missing = [k for k in ("embed_dim", "vision_cfg", "text_cfg") if k not in architecture]
    if missing:
        raise WiseftError(f"{path} is no open_clip model config: it lacks {', '.join(missing)}")
    return architecture


def open_clip_model(architecture: Mapping[str, Any], seed: int | None = None) -> nn.Module:
    """Build an open_clip model from its config, with random weights drawn from `seed`.

    The global random state is left as it was.

    Raises:
        WiseftError: if open_clip cannot build a model from the config.
    """
    import open_clip

    # open_clip knows architectures by name only; the content is the name here.
    name = f"wiseft-{sha256_json(architecture)[:16]}"
    if name not in open_clip.list_models():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{name}.json"
            file.write_text(json.dumps(architecture))
            open_clip.add_model_config(file)
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        try:
            with _without_warning("initialized randomly"):
                return cast(nn.Module, open_clip.create_model(name))
        except (TypeError, ValueError, KeyError, AttributeError, AssertionError) as error:
            raise WiseftError(
                f"open_clip cannot build the architecture: {type(error).__name__}: {error}; "
                "compare it with one of open_clip's own model configs"
            ) from error


@contextlib.contextmanager
def _without_warning(text: str) -> Iterator[None]:
    """Drop root-logger records that contain the text: random weights are what is asked for."""

    def keep(record: logging.LogRecord) -> bool:
        return text not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(keep)
    try:
        yield
    finally:
        root.removeFilter(keep)


def build_classifier(
    header: ThetaHeader, tensors: Mapping[str, Tensor] | None = None, seed: int | None = None
) -> ImageClassifier:
    """Build the classifier of a theta header; without tensors its weights are random.

    Returns a module in eval mode, in channels_last memory format.

    Raises:
        WiseftError: if the tensors don't fit the architecture, naming the first that does not.
    """
    clip = open_clip_model(header.architecture, seed)
    width = int(header.architecture["embed_dim"])
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        head = nn.Linear(width, len(header.class_names))
    image = cast(nn.Module, clip.visual)
    classifier = ImageClassifier(image, head, header.preprocessing)
    if tensors is not None:
        check_same_tensors(classifier_tensors(classifier), tensors)
        classifier.load_state_dict(dict(tensors), strict=False)
    classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return classifier.eval()


def classifier_tensors(classifier: ImageClassifier) -> dict[str, Tensor]:
    """Return the floating tensors of the classifier by their names in a theta.

    Integer entries (BatchNorm's num_batches_tracked) have no meaning in between two models and
    are left out.
    """
    state = classifier.state_dict()
    return {key: value for key, value in state.items() if value.is_floating_point()}
