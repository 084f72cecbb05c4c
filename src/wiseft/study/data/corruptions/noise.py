"""Noise: gaussian, shot, impulse.

Every corruption takes an image float32 (H, W, 3) of values 0..1, the factor of its lengths, a
generator, and a row of ``parameters``; it returns values that need not lie within 0..1.
"""

from __future__ import annotations

import numpy as np

from wiseft.study.data.corruptions.filters import Floats


def gaussian_noise(image: Floats, scale: float, rng: np.random.Generator, std: float) -> Floats:
    """Add noise of one standard deviation to every value: low light."""
    return image + std * rng.standard_normal(image.shape, np.float32)


def shot_noise(image: Floats, scale: float, rng: np.random.Generator, photons: float) -> Floats:
    """Count photons, ``photons`` of them for a white value: the discrete nature of light."""
    return rng.poisson(image * photons) / photons


def impulse_noise(image: Floats, scale: float, rng: np.random.Generator, share: float) -> Floats:
    """Replace a share of the values (not pixels) by 0 or 1, equally likely: bit errors."""
    hit = rng.random(image.shape, np.float32) <= share
    salt = rng.random(image.shape, np.float32) <= 0.5
    return np.where(hit, salt.astype(image.dtype), image)
