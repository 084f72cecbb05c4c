"""Common corruptions of images after ImageNet-C: an own implementation on NumPy, SciPy and Pillow.

Hendrycks and Dietterich (2019), "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations": the 15 corruptions of the benchmark, each at severities 1 to 5, made for any image
from 16 pixels on.

Parameters are the published ones: those of CIFAR-10-C for a shorter side below 48 pixels, of
Tiny-ImageNet-C below 128, of ImageNet-C from there on; lengths are scaled with the side, so that at
32, 64 and 224 pixels they are exactly those published (see ``parameters``).

Given the same random numbers, results are those of the published code up to rounding, but for
this: frost is drawn, not photographed, so its numbers are not comparable; values are rounded, not
cut off, to whole numbers; results are not stored as JPEG of quality 85, as ImageNet-C is. At other
sides than 32, 64 and 224 pixels there is no published counterpart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from wiseft.errors import WiseftError
from wiseft.study.data.corruptions import blurs, digital, noise, weather
from wiseft.study.data.corruptions.filters import Floats
from wiseft.study.data.corruptions.parameters import SEVERITIES, select

__all__ = ["CORRUPTIONS", "SEVERITIES", "SMALLEST", "corrupt", "generator"]

SMALLEST = 16
"""Shortest side in pixels of an image that can be corrupted."""

_FUNCTIONS: dict[str, Callable[..., Floats]] = {
    "gaussian-noise": noise.gaussian_noise,
    "shot-noise": noise.shot_noise,
    "impulse-noise": noise.impulse_noise,
    "defocus-blur": blurs.defocus_blur,
    "glass-blur": blurs.glass_blur,
    "motion-blur": blurs.motion_blur,
    "zoom-blur": blurs.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "elastic-transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg-compression": digital.jpeg_compression,
}

CORRUPTIONS = tuple(_FUNCTIONS)
"""The corruptions of the benchmark, in its order."""


def corrupt(
    image: NDArray[np.uint8], name: str, severity: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Corrupt one image, uint8 RGB (H, W, 3), square or not.

    Args:
        name: one of ``CORRUPTIONS``.
        severity: 1 (mild) to 5.
        rng: the source of all that is random in the result.

    Returns:
        A new array of the same shape and type.

    Raises:
        WiseftError: unknown corruption or severity, or no RGB image of at least ``SMALLEST`` pixels
            a side.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise WiseftError(
            f"an image to corrupt is uint8 (H, W, 3), found {image.dtype} {image.shape}."
        )
    side = min(image.shape[:2])
    if side < SMALLEST:
        raise WiseftError(
            f"an image to corrupt has sides of at least {SMALLEST} pixels, found {image.shape[:2]}."
        )
    row, scale = select(name, severity, side)
    changed = _FUNCTIONS[name](image.astype(np.float32) / 255, scale, rng, *row)
    return np.clip(np.rint(255 * changed), 0, 255).astype(np.uint8)


def generator(seed: int, sample_id: str, name: str, severity: int) -> np.random.Generator:
    """Return the generator that belongs to one image, corruption and severity, whatever was
    corrupted before."""
    key = "\0".join([str(seed), sample_id, name, str(severity)])
    return np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()))
