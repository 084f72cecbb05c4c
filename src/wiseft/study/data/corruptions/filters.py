"""Filters and fields that several corruptions share.

Images are floating (H, W) or (H, W, 3); all filters keep shape and take lengths in pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Floats = NDArray[np.floating]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601 weights of red, green and blue."""


def blur(image: Floats, sigma: float) -> Floats:
    """Gaussian blur of standard deviation ``sigma``; beyond the edge the image goes on as its
    outermost pixels."""
    sigmas = (sigma, sigma, 0) if image.ndim == 3 else sigma
    return ndimage.gaussian_filter(image, sigmas, mode="nearest")


def smooth_field(field: Floats, sigma: float) -> Floats:
    """Gaussian blur of a field (H, W) mirrored at its edges, cut off at 3 standard deviations.

    Exact and as quick for a ``sigma`` above the image's side: on mirrored signals a symmetric
    kernel is a factor on the coefficients of the cosine transform.
    """
    reach = round(3 * sigma)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    for axis, n in enumerate(field.shape):
        response = kernel @ np.cos(np.outer(offsets, np.pi / n * np.arange(n)))
        response = np.expand_dims(response, 1 - axis)
        field = fft.idct(fft.dct(field, axis=axis) * response, axis=axis)
    return field


def disk(radius: float, softness: float) -> Floats:
    """Kernel of a lens out of focus: a disk of sum 1 whose edge is then blurred a little.

    The published kernel ends where a disk of radius 8 or more does and is mirrored there by the
    blur, which gives it a sum of up to 1.013: the published images are that much brighter.

    Args:
        softness: standard deviation of that blur, which reaches one pixel, or two from a radius
            above 8 on.
    """
    half = max(8, int(radius))
    squares = np.arange(-half, half + 1) ** 2
    kernel = (squares[:, None] + squares <= radius**2).astype(np.float64)
    reach = 2 if radius > 8 else 1
    return ndimage.gaussian_filter(kernel / kernel.sum(), softness, mode="mirror", radius=reach)


def convolve(image: Floats, kernel: Floats) -> Floats:
    """Convolve an image (H, W, 3) with a kernel (k, k), k odd; the image is mirrored at its outer
    pixels."""
    half = len(kernel) // 2
    padded = np.pad(image, ((half, half), (half, half), (0, 0)), mode="reflect")
    # Circular convolution is enough: what wraps around falls into the padding.
    shape = [fft.next_fast_len(n, real=True) for n in padded.shape[:2]]
    spectrum = fft.rfft2(padded, shape, axes=(0, 1)) * fft.rfft2(kernel, shape)[..., None]
    full = fft.irfft2(spectrum, shape, axes=(0, 1))
    height, width = image.shape[:2]
    return full[2 * half : 2 * half + height, 2 * half : 2 * half + width]


def streak(image: Floats, radius: float, sigma: float, angle: float) -> Floats:
    """Motion blur: a one-sided Gaussian of 2 x ``radius`` + 1 whole-pixel steps.

    ImageMagick's rule, by which ImageNet-C was made: step i looks at the pixel nearest to i pixels
    away, beyond the edge at the outermost one.

    Args:
        angle: direction of the steps in degrees, clockwise from the right.
    """
    steps = np.arange(2 * int(np.ceil(radius)) + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    weights /= weights.sum()
    direction = np.deg2rad(angle)
    down = np.ceil(steps * np.sin(direction) - 0.5).astype(int)
    right = np.ceil(steps * np.cos(direction) - 0.5).astype(int)
    height, width = image.shape[:2]
    top, left = max(0, -down.min()), max(0, -right.min())
    margins = [(top, max(0, down.max())), (left, max(0, right.max()))]
    padded = np.pad(image, margins + [(0, 0)] * (image.ndim - 2), mode="edge")
    total = np.zeros_like(image)
    for weight, y, x in zip(weights.astype(image.dtype), down + top, right + left, strict=True):
        total += weight * padded[y : y + height, x : x + width]
    return total


def magnify(image: Floats, factor: float) -> Floats:
    """Magnify the centre ``factor`` times, bilinear, and cut the result to the image's shape."""
    for axis in (0, 1):
        side = image.shape[axis]
        crop = int(np.ceil(side / factor))
        grown = max(side, round(crop * factor))
        # First and last pixel of the crop map to first and last of the magnified crop.
        steps = np.arange(side) + (grown - side) // 2
        places = (side - crop) // 2 + steps * ((crop - 1) / max(grown - 1, 1))
        image = _interpolate(image, places, axis)
    return image


def _interpolate(image: Floats, places: Floats, axis: int) -> Floats:
    lower = np.minimum(places.astype(int), image.shape[axis] - 2)
    share = (places - lower).astype(image.dtype)
    share = share.reshape([-1 if k == axis else 1 for k in range(image.ndim)])
    first, second = image.take(lower, axis), image.take(lower + 1, axis)
    return first + share * (second - first)


def plasma(shape: tuple[int, ...], decay: float, rng: np.random.Generator) -> Floats:
    """Cloudy field (H, W) of values 0..1: diamond-square on a torus whose side is the next power of
    two.

    Args:
        decay: the random part shrinks by its square from one octave to the next.
    """
    height, width = shape
    side = 1 << (max(shape) - 1).bit_length()
    grid = np.zeros((side, side))
    amplitude, step = 1.0, side
    while step > 1:
        half = step // 2

        def noise(n: int = side // step, size: float = amplitude) -> Floats:
            return rng.uniform(-size, size, (n, n))

        corners = grid[::step, ::step]
        below = corners + np.roll(corners, -1, 0)
        beside = corners + np.roll(corners, -1, 1)
        centres = (below + np.roll(below, -1, 1)) / 4 + noise()
        grid[half::step, half::step] = centres
        grid[::step, half::step] = (beside + centres + np.roll(centres, 1, 0)) / 4 + noise()
        grid[half::step, ::step] = (below + centres + np.roll(centres, 1, 1)) / 4 + noise()
        amplitude /= decay**2
        step = half
    grid -= grid.min()
    return (grid / grid.max())[:height, :width]
