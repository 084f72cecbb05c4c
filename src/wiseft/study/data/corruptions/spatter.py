"""Spatter: drops of water or of mud on the lens. For the arguments see ``noise``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wiseft.study.data.corruptions.filters import Floats, blur

WATER = np.array([175, 238, 238], np.float32) / 255
MUD = np.array([63, 42, 20], np.float32) / 255

FARTHEST = 20.0
"""Distance in pixels from an edge beyond which the light of water no longer changes."""

WEAK, STRONG = 50, 150
"""Thresholds of the edge detector, for Sobel gradients of levels 0..255."""

EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])


def spatter(
    image: Floats,
    scale: float,
    rng: np.random.Generator,
    mean: float,
    std: float,
    sigma: float,
    threshold: float,
    strength: float,
    mud: float,
) -> Floats:
    """Lay drops of water (severities 1 to 3) or of mud (4 and 5) over the image."""
    # Smoothing divides the noise by its length: with the factor, drops cover the same share.
    liquid = blur(rng.normal(mean, std * scale, image.shape[:2]), sigma * scale)
    if mud:
        cover = blur((liquid > threshold).astype(np.float32), strength * scale)
        cover = np.where(cover < 0.8, 0, cover)[..., None]
        return image * (1 - cover) + MUD * cover
    levels = np.clip(255 * np.where(liquid < threshold, 0, liquid), 0, 255).astype(np.uint8)
    return image + (strength * _light(levels, FARTHEST * scale)[..., None] * WATER)


def _light(liquid: NDArray[np.uint8], farthest: float) -> Floats:
    """Return the light (H, W), 0..1, that drops of water scatter: an embossed map of the distance
    from edges, inside the drops.

    Args:
        liquid: thickness of the drops, 0..255, 0 where there is none.
    """
    beyond = ~edges(liquid)
    # Without an edge there is no distance either.
    distance = ndimage.distance_transform_edt(beyond) if not beyond.all() else farthest * beyond
    distance = ndimage.uniform_filter(np.minimum(distance, farthest), 3, mode="mirror")
    relief = ndimage.correlate(_equalise(distance.astype(np.uint8)), EMBOSS, mode="mirror")
    relief = np.rint(ndimage.uniform_filter(np.clip(relief, 0, 255), 3, mode="mirror"))
    light = (liquid * relief).astype(np.float32)
    return light / max(float(light.max()), 1.0)


def edges(levels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Find edges in uint8 (H, W) by the method of Canny (1986) without its smoothing.

    Those are pixels whose gradient |x| + |y| is largest along its direction (in steps of 45
    degrees) and above ``STRONG``, or above ``WEAK`` and connected to one above ``STRONG``.
    """
    x = ndimage.sobel(levels.astype(np.int32), 1, mode="nearest")
    y = ndimage.sobel(levels.astype(np.int32), 0, mode="nearest")
    size = np.pad(np.abs(x) + np.abs(y), 1)
    flat = np.abs(y) < np.tan(np.pi / 8) * np.abs(x)
    steep = np.abs(y) > np.tan(3 * np.pi / 8) * np.abs(x)
    falling = np.signbit(x) == np.signbit(y)  # down to the right, in rows that grow downwards
    here, height, width = size[1:-1, 1:-1], *levels.shape
    largest = np.zeros(levels.shape, bool)
    directions = [
        (flat, 0, 1, True),
        (steep & ~flat, 1, 0, True),
        (~flat & ~steep & falling, 1, 1, False),
        (~flat & ~steep & ~falling, 1, -1, False),
    ]
    for chosen, down, right, tie in directions:
        before = size[1 - down : 1 - down + height, 1 - right : 1 - right + width]
        after = size[1 + down : 1 + down + height, 1 + right : 1 + right + width]
        largest |= chosen & (here > before) & ((here >= after) if tie else (here > after))
    candidates = largest & (here > WEAK)
    groups, n = ndimage.label(candidates, np.ones((3, 3), bool))
    strong = np.zeros(n + 1, bool)
    strong[groups[candidates & (here > STRONG)]] = True
    return strong[groups] & candidates


def _equalise(levels: NDArray[np.uint8]) -> Floats:
    """Equalise the histogram of uint8 (H, W) to 0..255, the darkest level to 0."""
    counts = np.bincount(levels.ravel(), minlength=256)
    darkest = int(counts[levels.min()])
    above = np.cumsum(counts) - darkest
    return np.rint(255 * above / max(levels.size - darkest, 1))[levels]
