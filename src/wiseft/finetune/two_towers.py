"""Fine-tuning of both towers with the loss of pre-training, CLIP's symmetric contrastive one.

An image is paired with a prompt of its class (Goyal et al. 2023; the paper fine-tunes BASIC so).
What is trained is the text tower, not a head: a theta then holds `text.*`, and its head is built
from that text tower, at every alpha anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from wiseft import towers
from wiseft.errors import WiseftError
from wiseft.finetune.batch import Batch
from wiseft.io import sha256_file
from wiseft.theta import Theta, ThetaHeader, load_theta, load_weights, save_theta
from wiseft.towers import ZeroShotModel
from wiseft.zeroshot.head import build_head
from wiseft.zeroshot.prompts import fill_templates


def has_text(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether tensors hold a text tower, so that their head follows from it."""
    return any(name.startswith(towers.TEXT) for name in tensors)


def add_text_tower(theta_0: Path, weights: Path, output: Path) -> str:
    """Write theta_0 with the text tower of its zero-shot model, and return its SHA-256.

    The header stays as it is: it is the same classifier.

    Raises:
        WiseftError: if the weights are not those that theta_0 was made of, the model has no text
            tower, or a file is missing or broken.
    """
    theta = load_theta(theta_0)
    made_of, found = theta.header.parents.get("weights"), sha256_file(weights)
    if made_of != found:
        raise WiseftError(
            f"{theta_0} was made of weights with SHA-256 {made_of}, but {weights} has {found}; "
            "give the weights that it was made of, or make it again"
        )
    whole, _ = load_weights(weights)
    text = towers.text_tensors(theta.header.architecture, whole)
    return save_theta(output, theta.tensors | text, theta.header)


@dataclass(frozen=True)
class Prompts:
    """What a head is made of besides a text tower.

    Attributes:
        names: the names of every class.
        templates: sentences that each name is put into.
        precision: of the text tower.
        temperature: that the head is divided by (a calibration before fine-tuning).
    """

    names: list[list[str]]
    templates: list[str]
    precision: str = "fp32"
    temperature: float = 1.0

    @classmethod
    def of(cls, header: ThetaHeader) -> Prompts:
        """Return those of a theta.

        Raises:
            WiseftError: if its header does not hold them, or its head was spread over others.
        """
        about = header.settings.get("prompts", header.settings)
        names, templates = about.get("prompt_names"), about.get("templates")
        if not names or not templates:
            raise WiseftError(
                "the theta says nothing of the prompts that its head was made of, but a head that "
                "follows from a text tower needs them; make theta_0 with `wiseft zeroshot`"
            )
        if "spread" in about:
            raise WiseftError(
                f"the head of the theta was spread over the classes of {about['spread']['over']}, "
                "but a head that follows from a text tower is of the prompted classes themselves; "
                "make theta_0 without --spread-over"
            )
        temperature = about.get("calibration", {}).get("temperature", 1.0)
        return cls(names, templates, about.get("precision", "fp32"), temperature)

    def settings(self) -> dict[str, Any]:
        """Return them as they stand in the header of a fine-tuned theta, under `prompts`."""
        found: dict[str, Any] = {"templates": self.templates, "prompt_names": self.names}
        if self.precision != "fp32":
            found["precision"] = self.precision
        if self.temperature != 1.0:
            found["calibration"] = {"temperature": self.temperature}
        return found

    def head(self, model: ZeroShotModel) -> dict[str, Tensor]:
        """Return `head.weight` and `head.bias` that follow from a text tower, fp32, on the CPU.

        At theta_0 they are its own head, bit for bit on the same machine.
        """
        weight = build_head(model, self.names, self.templates, precision=self.precision)
        bias = torch.zeros(len(weight))
        if (logit_bias := model.logit_bias) is not None:
            bias += logit_bias.detach().float().cpu()
        if self.temperature != 1.0:
            weight, bias = weight / self.temperature, bias / self.temperature
        return {"head.weight": weight, "head.bias": bias}


class HeadBuilder:
    """Builds heads from text towers of one architecture and one set of prompts.

    Args:
        header: of a theta whose head follows from its text tower.
        device: that encodes the prompts.

    Raises:
        WiseftError: as `Prompts.of` does, or if the architecture has no text tower.
    """

    def __init__(self, header: ThetaHeader, device: torch.device | str = "cpu"):
        self._prompts = Prompts.of(header)
        self._model = towers.build(header.architecture, seed=0).to(device)

    def head(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return `head.weight` and `head.bias` of a theta with `text.*`, in fp32 on the CPU.

        Raises:
            WiseftError: if the tensors are not those of the architecture.
        """
        whole = towers.whole_tensors(self._model.architecture, tensors)
        self._model.load(whole, "the theta with a text tower")
        return self._prompts.head(self._model)


def rebuild_head(tensors: Mapping[str, Tensor], header: ThetaHeader) -> dict[str, Tensor]:
    """Return the tensors with the head that follows from their text tower.

    For many sets of tensors of one architecture, `HeadBuilder` builds the model once.

    Raises:
        WiseftError: as `HeadBuilder` does.
    """
    return dict(tensors) | HeadBuilder(header).head(tensors)


class TwoTowers(nn.Module):
    """A zero-shot model as it is trained: images and prompts to features and their scale.

    Its tensors have their family's names behind `whole.`.

    Args:
        start: theta_0 with `text.*`.

    Raises:
        WiseftError: if there is no text tower in it, or its header lacks prompts.
    """

    mean: Tensor
    std: Tensor
    memory_format: torch.memory_format

    def __init__(self, start: Theta):
        super().__init__()
        self.memory_format = torch.channels_last
        header = start.header
        if not has_text(start.tensors):
            raise WiseftError(
                "loss is contrastive, which trains the text tower too, but theta_0 has none; make "
                "it with the text tower: `wiseft text-tower`"
            )
        self._header = header
        self._model = towers.load(
            header.architecture,
            towers.whole_tensors(header.architecture, start.tensors),
            "theta_0 with its text tower",
        )
        self.whole = self._model.module
        self._prompts = Prompts.of(header)
        prompts = fill_templates(self._prompts.names, self._prompts.templates)
        self._tokens = self._model.tokenize([p for of_class in prompts for p in of_class])
        self._counts = torch.tensor([len(of_class) for of_class in prompts])
        self._firsts = self._counts.cumsum(0) - self._counts
        for name in ("mean", "std"):
            value = torch.tensor(header.preprocessing[name], dtype=torch.float32).view(1, 3, 1, 1)
            self.register_buffer(name, value, persistent=False)

    @property
    def image(self) -> nn.Module:
        """The image tower."""
        return self._model.image

    def draw_prompts(self, labels: Tensor) -> Tensor:
        """Return the tokens of a random prompt of each label's class, int64 (n, length).

        They are drawn from torch's random numbers, which the training loop seeds at every step.
        """
        labels = labels.cpu()
        drawn = (torch.rand(len(labels)) * self._counts[labels]).long()
        tokens = self._tokens[self._firsts[labels] + drawn]
        lengths = self._model.lengths(tokens)
        return tokens if lengths is None else tokens[:, : int(lengths.max())]

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return L2-normalised features of images and of prompts, and what cosines are scaled by.

        Args:
            images: uint8 (n, 3, S, S).
            tokens: int64 (n, length).
        """
        pixels = (images.to(torch.float32) / 255.0 - self.mean) / self.std
        image = self._model.image(pixels.contiguous(memory_format=self.memory_format))
        text = self._model.encode_text(tokens)
        scale = self._model.logit_scale.exp()
        return functional.normalize(image, dim=-1), functional.normalize(text, dim=-1), scale

    def theta_names(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors of this module's `state_dict` by their names in a theta."""
        whole = towers.prefixed(towers.floating(tensors), "whole.")
        architecture = self._header.architecture
        return towers.image_tensors(architecture, whole) | towers.text_tensors(architecture, whole)

    def own_names(self, theta: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors of a theta by the names of this module's `state_dict`."""
        whole = towers.whole_tensors(self._header.architecture, theta)
        return {f"whole.{name}": tensor for name, tensor in whole.items()}

    def head(self) -> dict[str, Tensor]:
        """Return `head.weight` and `head.bias` that follow from the text tower as it is now."""
        return self._prompts.head(self._model)

    def theta(self) -> dict[str, Tensor]:
        """Return the tensors of the theta that this module is: both towers and the head."""
        return self.theta_names(self.state_dict()) | self.head()


class ContrastiveLoss:
    """CLIP's loss on images and a random prompt of the class of each (an `Objective`).

    As in pre-training, another image of the same class counts as a wrong answer like any other.
    """

    separable = False

    def __init__(self, model: TwoTowers, penalty: Callable[[], Tensor | None]):
        self._towers = model
        self.penalty = penalty

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean over the batch of the loss from image to prompt and back."""
        tokens = self._towers.draw_prompts(batch.labels).to(batch.labels.device)
        image, text, scale = cast(tuple[Tensor, Tensor, Tensor], model(batch.inputs, tokens))
        with torch.autocast(image.device.type, enabled=False):
            return clip_loss(image.float(), text.float(), scale.float())


def clip_loss(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """Return CLIP's symmetric cross-entropy over the pairs of a batch.

    Args:
        image: L2-normalised features (n, width).
        text: likewise, of the prompt that belongs to each image.
        scale: what cosines are multiplied by, a scalar.
    """
    logits = scale * image @ text.t()
    pairs = torch.arange(len(logits), device=logits.device)
    there = functional.cross_entropy(logits, pairs)
    return (there + functional.cross_entropy(logits.t(), pairs)) / 2
