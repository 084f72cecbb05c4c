"""The model that is trained: both towers, its low-rank changes, its form on this machine.

It is an `ImageClassifier`, or `TwoTowers` where the text tower is trained and not a head: a theta
then holds `text.*`, and its head is built from that text tower, at every alpha anew. With LoRA (Hu
et al. 2022) the image tower's matrices change by B A alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from wiseft.errors import WiseftError
from wiseft.models import towers
from wiseft.models.classifier import ImageClassifier, PixelModule
from wiseft.models.towers import ZeroShotModel, seeded
from wiseft.study.config.machine import HowSettings
from wiseft.study.config.training_parts import Lora
from wiseft.thetas.theta import Theta
from wiseft.zeroshot.prompts import fill_templates
from wiseft.zeroshot.text_head import Prompts, has_text

_MATRICES = ("weight", "in_proj_weight")


def prepare_model(model: ImageClassifier | TwoTowers, how: HowSettings) -> None:
    """Put a model into the wanted form in place; names and values of its weights stay.

    Raises:
        WiseftError: if the image tower cannot do what is asked for.
    """
    form = torch.channels_last if how.channels_last else torch.contiguous_format
    model.to(memory_format=form)  # type: ignore[call-overload]
    model.memory_format = form
    if how.activation_checkpointing:
        _checkpoint_activations(model.image)


def set_train_mode(model: nn.Module, batch_norm: str) -> None:
    """Switch to training; with `batch_norm: eval` running statistics stay those of theta_0.

    Scale and shift of batch normalisation are trained in either case.
    """
    model.train()
    if batch_norm == "eval":
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def follows_batches(model: nn.Module, batch_norm: str) -> bool:
    """Return whether a model in training normalises with the statistics of its batches."""
    return batch_norm == "train" and any(isinstance(m, _BatchNorm) for m in model.modules())


def _checkpoint_activations(tower: nn.Module) -> None:
    # open_clip wraps timm's models and swallows their refusal; the trunk itself says so.
    target, cause = getattr(tower, "trunk", tower), None
    name = type(target).__name__
    of_transformers = getattr(target, "gradient_checkpointing_enable", None)
    switch = getattr(target, "set_grad_checkpointing", of_transformers)
    why = f"an image tower of kind {name} has none"
    # open_clip's ResNet takes the call and does nothing.
    if switch is not None and name != "ModifiedResNet":
        try:
            return switch()
        except Exception as error:
            why, cause = f"the image tower refuses it ({error})", error
    raise WiseftError(
        f"activation_checkpointing is on, but {why}; switch it off and lower "
        "training.how.micro_batch instead"
    ) from cause


def zero_shot_model(start: Theta, why: str) -> ZeroShotModel:
    """Return both towers of theta_0.

    Raises:
        WiseftError: if there is no text tower in it; `why` says what needs one.
    """
    if not has_text(start.tensors):
        raise WiseftError(
            f"{why}, but theta_0 has none; make it with the text tower: `wiseft text-tower`"
        )
    architecture = start.header.architecture
    whole = towers.whole_tensors(architecture, start.tensors)
    return towers.load(architecture, whole, "theta_0 with its text tower")


class TwoTowers(PixelModule):
    """A zero-shot model as it is trained: images and prompts to features and their scale.

    Its tensors have their family's names behind `whole.`.

    Args:
        start: theta_0 with `text.*`.

    Raises:
        WiseftError: if there is no text tower in it, or its header lacks prompts.
    """

    def __init__(self, start: Theta):
        header = start.header
        super().__init__(header.preprocessing)
        self._header = header
        self._model = zero_shot_model(start, "loss is contrastive, which trains the text tower too")
        self.whole = self._model.module
        self._prompts = Prompts.of(header)
        prompts = fill_templates(self._prompts.names, self._prompts.templates)
        self._tokens = self._model.tokenize([p for of_class in prompts for p in of_class])
        self._counts = torch.tensor([len(of_class) for of_class in prompts])
        self._firsts = self._counts.cumsum(0) - self._counts

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
        image = self._model.image(self.pixels(images))
        text = self._model.encode_text(tokens)
        scale = self._model.logit_scale.exp()
        return functional.normalize(image, dim=-1), functional.normalize(text, dim=-1), scale

    def own_names(self, theta: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors of a theta by the names of this module's `state_dict`."""
        whole = towers.whole_tensors(self._header.architecture, theta)
        return {f"whole.{name}": tensor for name, tensor in whole.items()}

    def head(self) -> dict[str, Tensor]:
        """Return `head.weight` and `head.bias` that follow from the text tower as it is now."""
        return self._prompts.head(self._model)

    def theta(self) -> dict[str, Tensor]:
        """Return the tensors of the theta that this module is: both towers and the head."""
        architecture, whole = self._header.architecture, self._model.tensors()
        image = towers.image_tensors(architecture, whole)
        return image | towers.text_tensors(architecture, whole) | self.head()


class _LowRank(nn.Module):
    """W + s B A in place of a frozen W (out, in, ...); s = lora_alpha / rank, B starts at 0."""

    def __init__(self, weight: Tensor, settings: Lora):
        super().__init__()
        out, into = weight.flatten(1).shape
        self.scale = settings.lora_alpha / settings.rank
        first = nn.init.kaiming_uniform_(torch.empty(settings.rank, into), a=math.sqrt(5))
        self.first = nn.Parameter(first.to(weight.device))
        self.second = nn.Parameter(torch.zeros(out, settings.rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.scale * self.second @ self.first).view(weight.shape)


def add_lora(model: ImageClassifier, settings: Lora, seed: int) -> None:
    """Freeze the image tower but for low-rank changes of its matrices; outputs stay as they are.

    They are those of linear layers, attentions (query, key and value as one) and convolutions
    without groups. The head is trained as a whole.
    """
    model.image.requires_grad_(False)
    kinds = (nn.Linear, nn.MultiheadAttention, nn.Conv2d)
    modules = [module for module in model.image.modules() if isinstance(module, kinds)]
    with seeded(seed):
        for module in modules:
            for name in _MATRICES:
                weight = getattr(module, name, None)
                if weight is not None and getattr(module, "groups", 1) == 1:
                    change = _LowRank(weight, settings)
                    parametrize.register_parametrization(module, name, change)


def merge_lora(model: ImageClassifier) -> None:
    """Put the changed matrices in place of the frozen ones, under their own names."""
    for module in model.image.modules():
        for name in _MATRICES:
            if parametrize.is_parametrized(module, name):
                parametrize.remove_parametrizations(module, name)
