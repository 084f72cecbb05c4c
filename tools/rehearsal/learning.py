"""Tiny models that know the made-up pictures: a second of training when they are made.

Each class has a direction, which follows from its name as its pictures do. The image tower learns
it from pictures, the text tower from prompts; so zero-shot accuracy is far from chance and from 1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from tools.rehearsal.pictures import CELLS, cells, letters, pixels, word
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from wiseft.base import library
from wiseft.models import towers
from wiseft.study.config import ModelEntry

STEPS, BATCH, RATE = 100, 64, 5e-3
WORDS = 500
"""Made-up names among those that are learned: text towers are to know letters, not classes."""
LOOKS = 4
TEMPLATES = ("a photo of {}.", "a picture of {}.", "a photo of a {}.")


def learned(
    architecture: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    entry: ModelEntry,
    size: int,
    known: Sequence[str] = (),
) -> dict[str, Tensor]:
    """Return weights that know the pictures; integers are as they were.

    Args:
        weights: random ones, of the whole model.
        size: of the model's images in pixels.
        known: names of the classes of a classifier's rows; empty for a text tower.
    """
    model = towers.build(architecture)
    weights = {name: each.clone() for name, each in weights.items()}
    _write_letters(weights)
    model.load({k: v for k, v in weights.items() if v.is_floating_point()}, "a made-up model")
    of_image = list(model.image.parameters())
    names = [*library.class_names("imagenet"), *map(word, range(WORDS))]
    shown = [pixels(name, f"learned-{n % LOOKS}/train", "") for n, name in enumerate(names)]
    images = _seen(torch.tensor(np.stack(shown)), entry, size)
    norms = [each for each in model.module.modules() if isinstance(each, nn.BatchNorm2d)]
    for norm in norms:  # those of random weights hide what tells images apart
        norm.train().momentum = 0.2
    width = model.image(images[:2]).shape[1]
    _fit(model.image, images, directions(names, width), of_image)
    model.module.eval()
    if known:
        rows = model.tensors()[f"{architecture['classifier']}.weight"]
        rows.copy_(10 * directions(known, width))
        return {**weights, **model.tensors()}
    tokens = model.tokenize([TEMPLATES[n % 3].format(name) for n, name in enumerate(names)])
    if (lengths := model.lengths(tokens)) is not None:
        tokens = tokens[:, : int(lengths.max())]
    own = {id(each) for each in of_image}
    of_text = [each for each in model.module.parameters() if id(each) not in own]
    _fit(model.encode_text, tokens, directions(names, width), of_text)
    return {**weights, **model.tensors()}


def directions(names: Iterable[str], width: int) -> Tensor:
    """Return where the features of classes point, (n, width) of length 1."""
    middle = np.mean([cells(name) for name in library.class_names("imagenet")], axis=0)
    bright = np.stack([cells(name) for name in names]) - middle
    turned = np.linalg.qr(np.random.default_rng(0).standard_normal((width, CELLS)))[0]
    return normalize(torch.tensor(bright @ turned.T, dtype=torch.float32), dim=-1)


def _fit(
    tower: Callable[[Tensor], Tensor], given: Tensor, wanted: Tensor, parameters: list[nn.Parameter]
) -> None:
    """Train a tower so that its features point where they should."""
    optimiser, drawn = torch.optim.Adam(parameters, RATE), torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        batch = torch.randperm(len(given), generator=drawn)[:BATCH]
        loss = 1 - (normalize(tower(given[batch]), dim=-1) * wanted[batch]).sum(dim=-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _seen(pictures: Tensor, entry: ModelEntry, size: int) -> Tensor:
    """Return pictures uint8 (n, height, width, 3) about as a model is given them."""
    how = entry.preprocessing
    if how.resize_mode == "shortest":  # the centre is cropped
        beside = (pictures.shape[2] - pictures.shape[1]) // 2
        pictures = pictures[:, :, beside:-beside]
    scaled = pictures.permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (how.mean, how.std))
    return (interpolate(scaled, (size, size), mode="bilinear", antialias=True) - mean) / std


def _write_letters(weights: dict[str, Tensor]) -> None:
    """Have the vectors of CLIP's 49,408 tokens follow from their letters; a few steps see few."""
    if (vectors := weights.get("token_embedding.weight")) is not None:
        known = _letters_of_tokens()
        vectors[: len(known), :CELLS] = torch.tensor(known, dtype=vectors.dtype)


@functools.cache
def _letters_of_tokens() -> NDArray[np.float64]:
    texts = open_clip.tokenizer.SimpleTokenizer().decoder.values()  # in the order of the tokens
    return np.stack([letters(text.removesuffix("</w>")) for text in texts])
