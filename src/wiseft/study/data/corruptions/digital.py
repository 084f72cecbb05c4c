"""Colour, geometry and encoding: brightness, contrast, elastic transform, pixelate, JPEG.

For the arguments see ``noise``.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

from wiseft.study.data.corruptions.filters import Floats, smooth_field


def brightness(image: Floats, scale: float, rng: np.random.Generator, added: float) -> Floats:
    """Add to the value of HSV; hue and saturation stay."""
    value = image.max(axis=2, keepdims=True)
    brighter = np.minimum(value + added, 1)
    # With hue and saturation fixed all channels keep their ratios; black becomes grey.
    ratio = np.divide(brighter, value, out=np.zeros_like(value), where=value > 0)
    return np.where(value > 0, image * ratio, brighter)


def contrast(image: Floats, scale: float, rng: np.random.Generator, share: float) -> Floats:
    """Draw every channel towards its mean over the image."""
    means = image.mean(axis=(0, 1), keepdims=True)
    return (image - means) * share + means


def elastic_transform(
    image: Floats, scale: float, rng: np.random.Generator, gain: float, sigma: float, shift: float
) -> Floats:
    """Warp by a random affine map and then by a smooth random displacement (Simard et al. 2003).

    The affine map moves three corners of a square in the centre by up to ``shift`` along each axis.
    """
    image = _affine(image, shift * scale, rng)
    if not gain:
        return image
    places = np.indices(image.shape[:2], dtype=np.float64)
    for axis in (1, 0):
        noise = rng.uniform(-1, 1, image.shape[:2])
        # Smoothing divides the noise by its length: times the square, displacements scale.
        places[axis] += smooth_field(noise, sigma * scale) * (gain * scale**2)
    return _per_channel(
        image, lambda channel: ndimage.map_coordinates(channel, places, order=1, mode="reflect")
    )


def _affine(image: Floats, shift: float, rng: np.random.Generator) -> Floats:
    height, width = image.shape[:2]
    third = min(height, width) // 3
    corners = np.array([[1, 1], [-1, 1], [-1, -1]]) * third + [height // 2, width // 2]
    moved = corners + rng.uniform(-shift, shift, corners.shape)[:, ::-1]  # drawn as (x, y)
    # Solved for the map from places in the result to places in the image, [y, x, 1] -> [y, x].
    solution = np.linalg.solve(np.column_stack([moved, np.ones(3)]), corners)
    return _per_channel(
        image,
        lambda channel: ndimage.affine_transform(
            channel, solution[:2].T, solution[2], order=1, mode="mirror"
        ),
    )


def _per_channel(image: Floats, change: Callable[[Floats], Floats]) -> Floats:
    return np.stack([change(image[..., channel]) for channel in range(3)], axis=2)


def pixelate(image: Floats, scale: float, rng: np.random.Generator, share: float) -> Floats:
    """Shrink both sides to a share, by means over boxes, and grow them again."""
    picture = _picture(image)
    small = (int(picture.width * share), int(picture.height * share))
    box = Image.Resampling.BOX
    return _floats(picture.resize(small, box).resize(picture.size, box))


def jpeg_compression(
    image: Floats, scale: float, rng: np.random.Generator, quality: float
) -> Floats:
    """Encode as JPEG of a quality (1..100) and decode."""
    stream = io.BytesIO()
    _picture(image).save(stream, "JPEG", quality=int(quality))
    return _floats(Image.open(stream))


def _picture(image: Floats) -> Image.Image:
    return Image.fromarray(np.rint(image * 255).astype(np.uint8))


def _floats(picture: Image.Image) -> Floats:
    return np.asarray(picture, np.float32) / 255
