"""Weather: snow, frost, fog. For the arguments see ``noise``."""

from __future__ import annotations

import numpy as np

from wiseft.study.data.corruptions.filters import LUMA, Floats, magnify, plasma, streak
from wiseft.study.data.corruptions.ice import crystals


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
