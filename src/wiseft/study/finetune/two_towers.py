"""Both towers of a zero-shot model as they are trained, on images and prompts of their classes.

What is trained is the text tower, not a head: a theta then holds `text.*`, and its head is built
from that text tower, at every alpha anew.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from wiseft.errors import WiseftError
from wiseft.models import towers
from wiseft.models.classifier import PixelModule
from wiseft.models.towers import ZeroShotModel
from wiseft.thetas.theta import Theta
from wiseft.zeroshot.prompts import fill_templates
from wiseft.zeroshot.text_head import Prompts, has_text


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
