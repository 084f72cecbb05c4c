"""Weather: snow, frost (of ice crystals that are drawn), fog. For the arguments see ``noise``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wiseft.study.data.corruptions.filters import LUMA, Floats, blur, magnify, plasma, streak

OVERSAMPLING = 2
SPACING = 15.0
"""A nucleus for every square of this side, in pixels of ice at magnification 1."""

LENGTHS = (6.0, 42.0)
"""Range of an arm's length."""

TURN = np.exp(1j * np.pi / 3)
"""From an arm's direction to that of its barbs: ice grows along six directions."""

BRIGHTNESS = (0.45, 0.8)
CONTRAST = (0.09, 0.18)
"""Ranges of mean and standard deviation of an overlay; those of the benchmark's five photographs
lie within 0.5..0.8 and 0.07..0.17."""

TINT = (0.05, 0.25)
"""Range of the share of red that is missing, half as much of green: ice is bluish."""


def snow(
    image: Floats,
    scale: float,
    rng: np.random.Generator,
    mean: float,
    std: float,
    magnification: float,
    threshold: float,
    radius: float,
    sigma: float,
    kept: float,
) -> Floats:
    """Whiten the image and let flakes fall through it, in one direction and its opposite."""
    flakes = rng.normal(mean, std, image.shape[:2]).astype(np.float32)
    flakes = magnify(flakes, max(1, magnification * scale))
    flakes = np.clip(np.where(flakes < threshold, 0, flakes), 0, 1)
    flakes = streak(flakes, radius * scale, sigma * scale, rng.uniform(-135, -45))
    white = np.maximum(image, (image @ LUMA)[..., None] * 1.5 + 0.5)
    return kept * image + (1 - kept) * white + (flakes + flakes[::-1, ::-1])[..., None]


def frost(
    image: Floats,
    scale: float,
    rng: np.random.Generator,
    kept: float,
    weight: float,
    magnification: float,
) -> Floats:
    """Lay ice crystals over the image.

    The benchmark lays crops of photographs of frost over it, which this package does not have: the
    crystals are drawn instead, with about the brightness and contrast of those photographs. Numbers
    for frost are therefore not comparable with published ones.
    """
    return kept * image + weight * crystals(image.shape[:2], magnification * scale, rng)


def fog(
    image: Floats, scale: float, rng: np.random.Generator, weight: float, decay: float
) -> Floats:
    """Add a cloudy field and darken the sum to the image's maximum."""
    brightest = float(image.max())
    clouds = plasma(image.shape[:2], decay, rng)[..., None].astype(image.dtype)
    return (image + weight * clouds) * (brightest / (brightest + weight))


def crystals(shape: tuple[int, ...], magnification: float, rng: np.random.Generator) -> Floats:
    """Draw ice crystals as (H, W, 3), values 0..1.

    Arms grow from random nuclei, each with barbs on both sides that shorten towards its tip, over a
    cloudy ground.

    Args:
        magnification: pixels of the result for one of ice; below 1, more and smaller crystals.
    """
    height, width = shape
    rows, columns = (max(16, round(side / magnification)) for side in (height, width))
    picture = Image.new("L", (columns * OVERSAMPLING, rows * OVERSAMPLING))
    draw = ImageDraw.Draw(picture)
    nuclei = rng.uniform(0, (columns, rows), (round(rows * columns / SPACING**2), 2))
    for nucleus in nuclei.view(np.complex128)[:, 0]:
        _draw_crystal(draw, nucleus, rng)
    ice = np.asarray(picture.resize((columns, rows), Image.Resampling.BOX), np.float32) / 255
    ground = plasma((rows, columns), 1.6, rng)
    relief = ice + blur(ice, 4) + ground
    relief = (relief - relief.mean()) / max(float(relief.std()), 1e-6)
    grey = rng.uniform(*BRIGHTNESS) + rng.uniform(*CONTRAST) * relief
    scaled = Image.fromarray(np.clip(grey, 0, 1).astype(np.float32)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    tint = 1 - rng.uniform(*TINT) * np.array([1, 0.5, 0], np.float32)
    return np.asarray(scaled)[..., None] * tint


def _draw_crystal(draw: ImageDraw.ImageDraw, nucleus: complex, rng: np.random.Generator) -> None:
    """Draw one to four arms, the later ones over the earlier. Places are complex: x + i y."""
    arms = int(rng.integers(1, 5))
    angles = rng.uniform(0, 360) + 60 * rng.permutation(6)[:arms] + rng.normal(0, 6, arms)
    lengths = rng.uniform(*LENGTHS, arms) * rng.uniform(0.4, 1)
    shades = rng.uniform(0.35, 1) * rng.uniform(0.8, 1, arms)
    directions = np.exp(1j * np.deg2rad(angles))
    for direction, length, shade in zip(directions, lengths, shades, strict=True):
        _draw_arm(draw, nucleus, direction, length, shade, rng)


def _draw_arm(
    draw: ImageDraw.ImageDraw,
    nucleus: complex,
    direction: complex,
    length: float,
    shade: float,
    rng: np.random.Generator,
) -> None:
    along = np.arange(1.5, length, 2.2)
    roots = nucleus + along * direction
    reach = 0.45 * (length - along) * rng.uniform(0.5, 1, len(along))
    tip = nucleus + length * direction
    for side in (-1, 1):
        ends = roots + reach * direction * TURN**side
        # A leaf between the barbs, darker than they are and lit from one side.
        leaf = np.concatenate(([nucleus], ends, [tip]))
        draw.polygon(_points(leaf), fill=round(255 * shade * (0.5 + 0.1 * side)))
        # Out along every barb and back: one line is drawn much faster than many.
        comb = np.repeat(roots, 3)
        comb[1::3] = ends
        draw.line(_points(comb), fill=round(255 * shade), width=1)
    draw.line(_points(np.array([nucleus, tip])), fill=255, width=OVERSAMPLING)


def _points(places: NDArray[np.complex128]) -> list[float]:
    """Places on the oversampled picture, x and y in turn."""
    points: list[float] = (places * OVERSAMPLING).view(np.float64).tolist()
    return points
