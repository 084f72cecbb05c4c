"""The zero-shot head (paper section 2, appendix D.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from wiseft.models.batch_size import BatchSize
from wiseft.models.precision import Arithmetic
from wiseft.models.towers import ZeroShotModel
from wiseft.zeroshot.prompts import fill_templates
from wiseft.zeroshot.shared_prefixes import PROMPTS, order_to_share, tree_of

BATCH_SIZE = 256


@dataclass(frozen=True)
class Head:
    """A head over the classes of a dataset.

    Attributes:
        weight: fp32 (classes, width).
        bias: fp32 (classes).
        settings: what the header of a theta says of it.
        never_predicted: classes that it can't tell.
    """

    weight: Tensor
    bias: Tensor
    settings: dict[str, Any] = field(default_factory=dict)
    never_predicted: list[int] = field(default_factory=list)


def build_head(
    model: ZeroShotModel,
    prompt_names: Sequence[Sequence[str]],
    templates: Sequence[str],
    batch_size: int = BATCH_SIZE,
    precision: str = "fp32",
) -> Tensor:
    """Return the head's weight, fp32 (classes, width), on the CPU.

    Every class's prompt features are L2-normalised, averaged, L2-normalised again and multiplied
    by exp(logit_scale) once (paper D.1).

    Args:
        model: in eval mode.
        prompt_names: the names of every class; each is put into every template.
        templates: sentences with `{c}` where the name goes.
        batch_size: prompts a pass through the text tower.
        precision: of the text tower, one of `wiseft.models.precision`; averages are in fp32.

    Raises:
        WiseftError: if a prompt is longer than the model's context, or there is no text tower.
    """
    prompts = fill_templates(prompt_names, templates)
    tokens = model.tokenize([prompt for of_class in prompts for prompt in of_class])
    features = encode_prompts(model, tokens, batch_size, precision)
    of_classes = features.split([len(of_class) for of_class in prompts])
    means = torch.stack([of_class.mean(dim=0) for of_class in of_classes])
    scale = model.logit_scale.detach().exp().reshape(()).float().cpu()
    return functional.normalize(means, dim=-1) * scale


@torch.no_grad()
def encode_prompts(
    model: ZeroShotModel, tokens: Tensor, batch_size: int = BATCH_SIZE, precision: str = "fp32"
) -> Tensor:
    """Return the L2-normalised text features, fp32 (n, width), on the CPU.

    Where nothing behind a prompt's end has any influence, prompts are sorted by length and each
    batch is cut to its longest; other towers see the whole context. Many prompts that begin alike
    share their beginnings, where the tower is causal (`wiseft.zeroshot.shared_prefixes`).

    Args:
        model: in eval mode.
        tokens: int64 (n, context length).
        batch_size: prompts a pass.
        precision: one of `wiseft.models.precision`.
    """
    if (lengths := model.lengths(tokens)) is None:
        lengths = torch.full((len(tokens),), tokens.shape[1])
    arithmetic, device = Arithmetic(precision, model.device), model.device
    sharing = model.prefix_sharing()
    shared = order_to_share(tokens, lengths, sharing.weights) if sharing else None
    order = torch.argsort(lengths, stable=True) if shared is None else shared

    def encode(chosen: Tensor) -> Tensor:
        longest = int(lengths[chosen].max())
        batch = tokens[chosen, :longest]
        with arithmetic.kernels(deterministic=True), arithmetic.autocast():
            if sharing and shared is not None:
                tree = (part.to(device) for part in tree_of(batch, lengths[chosen]))
                features = sharing.encode(*tree)
            else:
                features = model.encode_text(batch.to(device))
        return functional.normalize(features.float(), dim=-1).cpu()

    size = batch_size if shared is None else min(batch_size, PROMPTS)
    features = torch.cat(BatchSize(size, unit="prompts").each(encode, order))
    return torch.empty_like(features).index_copy_(0, order, features)
