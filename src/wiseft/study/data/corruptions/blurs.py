"""Blurs: defocus, glass, motion, zoom. For the arguments see ``noise``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wiseft.study.data.corruptions.filters import Floats, blur, convolve, disk, magnify, streak


def defocus_blur(
    image: Floats, scale: float, rng: np.random.Generator, radius: float, softness: float
) -> Floats:
    """Spread every pixel over a disk: a lens out of focus."""
    return convolve(image, disk(radius * scale, softness * scale))


def glass_blur(
    image: Floats, scale: float, rng: np.random.Generator, sigma: float, reach: float, passes: float
) -> Floats:
    """Blur, give pixels the colour of random neighbours ``passes`` times, blur again: frosted
    glass."""
    image = blur(image, sigma * scale)
    pixels = image.reshape(-1, 3)
    for _ in range(int(passes)):
        pixels = pixels[shuffled(image.shape[:2], max(1, round(reach * scale)), rng)]
    return blur(pixels.reshape(image.shape), sigma * scale)


def shuffled(shape: tuple[int, ...], reach: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return for every pixel of an (H, W) shuffle the flat index (H * W,) its colour comes from.

    The published loop goes from the last pixel to the first and means to swap each with one that
    is -``reach`` to ``reach`` - 1 rows and columns away. As its assignment reads from views, it
    takes over that pixel's present colour and does not give its own; the published images show
    that, and so do ours. A pixel before it in reading order still has its first colour; one behind
    it has taken over another, which we follow to its end by doubling the jumps, not pixel by pixel.
    """
    height, width = shape
    index = np.arange(height * width).reshape(shape)
    moved = np.zeros(shape, bool)
    # The rows and columns of the published loop: one more is left out at the start than at the end.
    inner = (slice(reach + 1, height - reach + 1), slice(reach + 1, width - reach + 1))
    moved[inner] = True
    rows, columns = rng.integers(-reach, reach, (2, *index[inner].shape))
    source = index.copy()
    source[inner] += rows * width + columns
    own, taken = index.ravel(), source.ravel()
    link = np.where((taken > own) & moved.ravel()[taken], taken, own)
    while not np.array_equal(further := link[link], link):
        link = further
    return taken[link]


def motion_blur(
    image: Floats, scale: float, rng: np.random.Generator, radius: float, sigma: float
) -> Floats:
    """Blur along a direction within 45 degrees of the horizontal: a camera that moves."""
    return streak(image, radius * scale, sigma * scale, rng.uniform(-45, 45))


def zoom_blur(
    image: Floats, scale: float, rng: np.random.Generator, stop: float, step: float
) -> Floats:
    """Average the image and its magnifications 1, 1 + ``step``, ... below ``stop``: a camera that
    moves towards the scene."""
    # Rounding lets some of these ranges reach their end, in the published images as well.
    factors = np.arange(1, stop, step)
    total = 2 * image  # the image, and magnification 1
    for factor in factors[1:]:
        total += magnify(image, float(factor))
    return total / (len(factors) + 1)
