"""The rendered "web": glyph masks become varied RGB images, with captions that are true of them.

Everything is a tensor operation on the whole batch, and all randomness comes from one generator,
so a batch is a function of (glyphs, seed, step).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

COLOURS: dict[str, tuple[float, float, float]] = {
    "black": (0.0, 0.0, 0.0),
    "white": (1.0, 1.0, 1.0),
    "grey": (0.5, 0.5, 0.5),
    "red": (0.85, 0.1, 0.1),
    "green": (0.1, 0.65, 0.2),
    "blue": (0.15, 0.25, 0.85),
    "yellow": (0.95, 0.85, 0.1),
    "purple": (0.55, 0.15, 0.65),
    "orange": (0.95, 0.5, 0.1),
}
_COLOUR_NAMES, _PALETTE = tuple(COLOURS), torch.tensor(list(COLOURS.values()))
# What can be said of an image, in the order of the columns of `Styled.attributes`.
PHRASES: tuple[str, ...] = (
    *(f"on a {name} background" for name in _COLOUR_NAMES),
    *(f"in {name} ink" for name in _COLOUR_NAMES),
    "on a textured background",
    "in bold strokes",
    "in thin strokes",
    "blurry",
    "noisy",
    "tilted",
    "small",
    "large",
)
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NOUNS = ("number", "digit")
TEMPLATES = (
    "a photo of the {noun} {c}",
    "a picture of the {noun} {c}",
    "an image of the {noun} {c}",
    "a drawing of the {noun} {c}",
    "a scan of the {noun} {c}",
    "a sign with the {noun} {c}",
    "the {noun} {c}",
    "{noun} {c}",
)
_LIGHT_ON_DARK, _DARK_ON_LIGHT = 0.3, 0.2  # shares of the batch; the rest is coloured


@dataclass(frozen=True)
class Styled:
    """Images fp32 (n, 3, size, size) in [0, 1]; attributes bool (n, len(PHRASES))."""

    images: Tensor
    attributes: Tensor


def style(masks: Tensor, size: int, generator: torch.Generator) -> Styled:
    """Render glyph masks, uint8 (n, m, m), in random styles."""
    draw = _Draw(len(masks), generator)
    ink = (masks.float() / 255.0).unsqueeze(1)
    ink, bold, thin = _stroke_width(ink, draw)
    ink, tilted, scale = _warp(ink, size, draw)
    images, front, back, textured = _paint(ink, size, draw)
    images, blurry = _blur(images, draw)
    images, noisy = _noise(images, draw)
    small, large = scale < 0.62, scale > 0.9
    flags = [textured, bold, thin, blurry, noisy, tilted, small, large]
    named = [functional.one_hot(which, len(_COLOUR_NAMES)).bool() for which in (back, front)]
    named[0] &= ~textured[:, None]
    return Styled(images, torch.cat([*named, torch.stack(flags, 1)], 1))


@dataclass(frozen=True)
class _Draw:
    """Random numbers for a batch of n samples."""

    n: int
    generator: torch.Generator

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(self.n, *shape, generator=self.generator) * (high - low) + low

    def normal(self, sigma: float, *shape: int) -> Tensor:
        return torch.randn(self.n, *shape, generator=self.generator) * sigma

    def chance(self, probability: float) -> Tensor:
        return torch.rand(self.n, generator=self.generator) < probability

    def integers(self, high: int) -> Tensor:
        return torch.randint(high, (self.n,), generator=self.generator)


def _stroke_width(ink: Tensor, draw: _Draw) -> tuple[Tensor, Tensor, Tensor]:
    """Dilate or erode a share of the strokes."""
    wide = functional.max_pool2d(ink, 3, 1, 1)
    narrow = -functional.max_pool2d(-ink, 3, 1, 1)
    # Eroding a hairline would leave nothing: blend with the original.
    narrow = 0.7 * narrow + 0.3 * ink
    kind = draw.uniform(0, 1)
    choice = (kind > 0.6).long() + (kind > 0.8).long()
    stack = torch.stack([ink, wide, narrow])
    return stack[choice, torch.arange(draw.n)], choice == 1, choice == 2


def _warp(ink: Tensor, size: int, draw: _Draw) -> tuple[Tensor, Tensor, Tensor]:
    """Scale, turn, slant, shift and bend; returns the images, who is tilted, and the scale."""
    angle = draw.normal(0.17)
    slant = draw.normal(0.15)
    # Glyphs fill 0.72 of the mask; `scale` is the share of the image that they fill.
    scale = draw.uniform(0.5, 1.0)
    zoom = 0.72 / scale
    aspect = draw.uniform(-0.15, 0.15).exp()
    cos, sin = angle.cos(), angle.sin()
    rows = [cos * zoom / aspect, (slant - sin) * zoom, sin * zoom / aspect, cos * zoom]
    theta = torch.stack(rows, 1).view(-1, 2, 2)
    room = (1.0 - scale).clamp(min=0.04)
    shift = draw.uniform(-1, 1, 2) * room[:, None] * 0.7
    theta = torch.cat([theta, (shift * zoom[:, None])[:, :, None]], 2)
    grid = functional.affine_grid(theta, [draw.n, 1, size, size], align_corners=False)
    bend = functional.interpolate(
        draw.normal(1.0, 2, 5, 5), size=(size, size), mode="bicubic", align_corners=True
    )
    strength = draw.uniform(0, 0.07)[:, None, None, None]
    grid = grid + bend.permute(0, 2, 3, 1) * strength
    warped = functional.grid_sample(ink, grid, mode="bilinear", align_corners=False)
    return warped, (angle + slant).abs() > 0.25, scale


def _paint(ink: Tensor, size: int, draw: _Draw) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Colour ink and background; returns images, colour indices of both, who is textured."""
    kind = draw.uniform(0, 1)
    front, back = _colour_pair(draw)
    black, white = _COLOUR_NAMES.index("black"), _COLOUR_NAMES.index("white")
    light = kind < _LIGHT_ON_DARK
    dark = (kind >= _LIGHT_ON_DARK) & (kind < _LIGHT_ON_DARK + _DARK_ON_LIGHT)
    front = torch.where(light, white, torch.where(dark, black, front))
    back = torch.where(light, black, torch.where(dark, white, back))
    coloured = (~(light | dark))[:, None]
    jitter = draw.normal(0.07, 2, 3) * coloured[:, None]
    foreground = (_PALETTE[front] + jitter[:, 0]).clamp(0, 1)[:, :, None, None]
    background = (_PALETTE[back] + jitter[:, 1]).clamp(0, 1)[:, :, None, None]
    textured = draw.chance(0.5) & coloured[:, 0]
    amount = (draw.uniform(0.1, 0.35) * textured)[:, None, None, None]
    background = (background + amount * _texture(size, draw)).clamp(0, 1)
    strength = draw.uniform(0.75, 1.0)[:, None, None, None]
    alpha = ink.clamp(0, 1) * torch.where(coloured[:, :, None, None], strength, 1.0)
    return alpha * foreground + (1 - alpha) * background, front, back, textured


def _colour_pair(draw: _Draw) -> tuple[Tensor, Tensor]:
    """Draw two colours a sample that differ enough to be told apart, in fp32 luminance."""
    luminance = _PALETTE @ torch.tensor([0.3, 0.59, 0.11])
    pairs = (luminance[:, None] - luminance[None, :]).abs() > 0.35
    index = pairs.nonzero()
    chosen = index[draw.integers(len(index))]
    return chosen[:, 0], chosen[:, 1]


def _texture(size: int, draw: _Draw) -> Tensor:
    """Noise of several scales, fp32 (n, 3, size, size), of about unit variance."""
    total = torch.zeros(draw.n, 3, size, size)
    for cells, weight in ((4, 0.7), (8, 0.5), (16, 0.4)):
        coarse = draw.normal(weight, 3, cells, cells)
        total += functional.interpolate(
            coarse, size=(size, size), mode="bilinear", align_corners=False
        )
    return total


def _blur(images: Tensor, draw: _Draw) -> tuple[Tensor, Tensor]:
    kind = draw.uniform(0, 1)
    soft = functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    softer = functional.avg_pool2d(soft, 3, 1, 1, count_include_pad=False)
    images = torch.where((kind > 0.7)[:, None, None, None], soft, images)
    images = torch.where((kind > 0.88)[:, None, None, None], softer, images)
    return images, kind > 0.7


def _noise(images: Tensor, draw: _Draw) -> tuple[Tensor, Tensor]:
    noisy = draw.chance(0.3)
    sigma = (draw.uniform(0.03, 0.15) * noisy)[:, None, None, None]
    grain = torch.randn(images.shape, generator=draw.generator)
    return (images + sigma * grain).clamp(0, 1), noisy


class CaptionTable:
    """All captions, tokenised once: int64 (digits, variants, phrases + 1, context length)."""

    def __init__(self, tokenizer: Callable[[list[str]], Tensor]):
        texts = [
            f"{template.format(noun=noun, c=name)} {phrase}".rstrip()
            for digit in range(10)
            for template in TEMPLATES
            for noun in NOUNS
            for name in (str(digit), NAMES[digit])
            for phrase in ("", *PHRASES)
        ]
        tokens = tokenizer(texts)
        self.tokens = tokens.view(10, -1, len(PHRASES) + 1, tokens.shape[-1])

    def bare(self) -> Tensor:
        """Return one plain caption a digit: int64 (10, context length)."""
        return self.tokens[:, 0, 0]

    def draw(self, digits: Tensor, attributes: Tensor, generator: torch.Generator) -> Tensor:
        """Draw one caption an image: half of them bare, half with a true phrase.

        Args:
            digits: int64 (n,).
            attributes: bool (n, len(PHRASES)): what is true of each image.

        Returns:
            Tokens, int64 (n, context length).
        """
        n = len(digits)
        weights = attributes.float()
        bare = torch.rand(n, generator=generator) < 0.5
        bare |= ~attributes.any(1)
        weights[bare] = 1.0  # any draw will do, it is not used
        phrase = torch.multinomial(weights, 1, generator=generator).squeeze(1) + 1
        phrase[bare] = 0
        variant = torch.randint(self.tokens.shape[1], (n,), generator=generator)
        return self.tokens[digits, variant, phrase]
