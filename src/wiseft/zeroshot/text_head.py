"""Heads that follow from a text tower and prompts.

A theta that holds its text tower (`text.*`) has such a head at every alpha anew: contrastive
fine-tuning trains the tower, and whatever mixes thetas mixes it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from wiseft.errors import WiseftError
from wiseft.models import towers
from wiseft.models.towers import ZeroShotModel
from wiseft.thetas.tensor_file import examples
from wiseft.thetas.theta import Theta, ThetaHeader, check_same_headers
from wiseft.zeroshot.head import build_head


def has_text(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether tensors hold a text tower, so that their head follows from it."""
    return any(name.startswith(towers.TEXT) for name in tensors)


def with_head_of(other: Theta, theta: Theta) -> Theta:
    """Return a theta that predicts the classes of another one, by the image tower that it has.

    The head is the other's; that of a theta with a text tower follows from that tower and the
    other's prompts.

    Raises:
        WiseftError: if the two are of different architectures or preprocessing, or the head is to
            follow from a text tower and the other's says nothing of its prompts.
    """
    check_same_headers(theta.header, other.header, ("architecture", "preprocessing"))
    names = ("class_names", "settings", "never_predicted")
    header = replace(theta.header, **{name: getattr(other.header, name) for name in names})
    rest = {name: each for name, each in theta.tensors.items() if not name.startswith("head.")}
    if has_text(rest):
        return Theta(rest | HeadBuilder(header, rest).head(rest), header)
    head = {name: other.tensors[name] for name in ("head.weight", "head.bias")}
    return Theta(rest | head, header)


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
        settings = header.settings.get("prompts", header.settings)
        names, templates = settings.get("prompt_names"), settings.get("templates")
        if not names or not templates:
            raise WiseftError(
                "the theta says nothing of the prompts that its head was made of, but a head that "
                "follows from a text tower needs them; make theta_0 with `wiseft zeroshot`"
            )
        if "spread" in settings:
            raise WiseftError(
                "the head of the theta was spread over the classes of "
                f"{settings['spread']['over']}, but a head that follows from a text tower is of "
                "the prompted classes themselves; make theta_0 without --spread-over"
            )
        temperature = settings.get("calibration", {}).get("temperature", 1.0)
        return cls(names, templates, settings.get("precision", "fp32"), temperature)

    def settings(self) -> dict[str, Any]:
        """Return them as they stand in the header of a fine-tuned theta, under `prompts`."""
        settings: dict[str, Any] = {"templates": self.templates, "prompt_names": self.names}
        if self.precision != "fp32":
            settings["precision"] = self.precision
        if self.temperature != 1.0:
            settings["calibration"] = {"temperature": self.temperature}
        return settings

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
        like: such a theta's tensors, or only their shapes (meta tensors).
        device: that encodes the prompts.

    Raises:
        WiseftError: as `Prompts.of` does, or if the architecture has no text tower or is of a far
            larger model than the tensors.
    """

    def __init__(
        self, header: ThetaHeader, like: Mapping[str, Tensor], device: torch.device | str = "cpu"
    ):
        self._prompts = Prompts.of(header)
        with towers.for_weights(header.architecture, examples(like)):
            model = towers.build(header.architecture, seed=0)
        self._model = model.to(device)

    def head(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return `head.weight` and `head.bias` of a theta with `text.*`, in fp32 on the CPU.

        Raises:
            WiseftError: if the tensors are not those of the architecture.
        """
        whole = towers.whole_tensors(self._model.architecture, tensors)
        self._model.load(whole, "the theta with a text tower")
        return self._prompts.head(self._model)
