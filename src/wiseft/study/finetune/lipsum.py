"""Lipsum-FT: random texts keep the connection of image and text (Nam, Heo and Lee, ICLR 2024).

Section 5.1 of arXiv 2404.00860, as the authors' code computes it (cs-giung/lipsum-ft at 1331873,
scripts/Lipsum-FT.py): the energies of an image with random texts stay near those of theta_0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from wiseft.errors import WiseftError
from wiseft.models.classifier import ImageClassifier
from wiseft.models.towers import ZeroShotModel
from wiseft.study.config.training_parts import Lipsum
from wiseft.study.finetune.batch import Batch, LossFunction
from wiseft.study.finetune.two_towers import zero_shot_model
from wiseft.thetas.theta import Theta

FIRST, LAST = 49406, 49407
"""CLIP's tokens around a text; those below them are drawn."""


def with_energy_gap(
    loss: LossFunction, settings: Lipsum, classifier: ImageClassifier, start: Theta
) -> LossFunction:
    """Return a loss with the gap of energies added: coefficient times (1/2M) |v - v_0|^2.

    v are the M energies of an image, exp(logit_scale) times the cosine with each random text, and
    v_0 those of theta_0, both towers of which stay as they are. Mean over the images of a batch.

    Raises:
        WiseftError: if theta_0 has no text tower, or not CLIP's tokens, or the texts are too long.
    """
    zero_shot = zero_shot_model(start, "lipsum needs a text tower")
    zero_shot.to(classifier.head.weight.device).module.requires_grad_(False)
    framed = _framed(zero_shot, settings)
    scale = zero_shot.logit_scale.exp()

    def regularised(model: nn.Module, batch: Batch) -> Tensor:
        seen: list[Tensor] = []
        hook = classifier.head.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs))
        try:
            of_batch = loss(model, batch)
        finally:
            hook.remove()
        with torch.no_grad():
            before = normalize(zero_shot.image(classifier.pixels(batch.inputs)).float(), dim=-1)
            tokens = random_texts(framed, settings.length, batch.seed).to(before.device)
            texts = normalize(zero_shot.encode_text(tokens).float(), dim=-1)
        with torch.autocast(before.device.type, enabled=False):
            gap = scale * (seen[0].float() - before) @ texts.t()
        return of_batch + settings.coefficient * gap.square().mean() / 2

    return regularised


def random_texts(framed: Tensor, length: int, seed: int) -> Tensor:
    """Return random tokens between the first and the last one, int64 of the shape of `framed`."""
    drawn = torch.Generator().manual_seed(seed)
    tokens = framed.clone()
    tokens[:, 1 : 1 + length] = torch.randint(FIRST, (len(framed), length), generator=drawn)
    return tokens


def _framed(model: ZeroShotModel, settings: Lipsum) -> Tensor:
    """Return the texts without what is drawn, int64 (texts, tokens)."""
    empty, length = model.tokenize([""]), settings.length
    if empty[0, :2].tolist() != [FIRST, LAST]:
        raise WiseftError("lipsum draws tokens of CLIP, but the text tower has other ones")
    if length + 2 > empty.shape[1]:
        raise WiseftError(
            f"lipsum.length is {length}, but the text tower reads {empty.shape[1]} tokens, two of "
            f"which are the first and the last; at most {empty.shape[1] - 2}"
        )
    framed = empty.repeat(settings.texts, 1)
    framed[:, 1 : 1 + length], framed[:, 1 + length] = 0, LAST
    lengths = model.lengths(framed)
    return framed if lengths is None else framed[:, : int(lengths.max())]
