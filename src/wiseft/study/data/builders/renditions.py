"""Renditions of MNIST images: the same base digits in four other looks.

All four draw the same base images, so their errors are not independent; base ids say which belong
together.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy import ndimage

from wiseft.errors import WiseftError
from wiseft.images.split import PreparedSplit
from wiseft.images.store import open_split
from wiseft.images.subsets import draw_indices
from wiseft.study.data.builders.digit_images import (
    SIDE,
    Floats,
    Images,
    Inputs,
    grey_to_rgb,
    made_of,
    to_uint8,
)
from wiseft.study.data.corruptions.filters import LUMA

Render = Callable[[Images, np.random.Generator], tuple[Images, dict[str, list[str]]]]

MINIMAL_CONTRAST = 80.0
"""Least distance in luminance (0..255) between ink and paper of ``colour``."""

LARGEST_ANGLE = 45.0
NOISE = 90.0
BLUR = 7


def build_inverted(inputs: Inputs) -> dict[str, PreparedSplit]:
    """Dark digits on white: 255 minus the image."""
    return _build(inputs, lambda ink, rng: (grey_to_rgb(255 - ink), {}))


def build_mnist_m(inputs: Inputs) -> dict[str, PreparedSplit]:
    """MNIST-M (Ganin et al. 2016): |photo - digit|, with random patches of scikit-learn's two
    sample photos."""
    from sklearn.datasets import load_sample_images

    photos = [np.asarray(photo, np.uint8) for photo in load_sample_images().images]
    return _build(inputs, partial(_over_photos, photos))


def build_colour(inputs: Inputs) -> dict[str, PreparedSplit]:
    """One colour for the ink and one for the paper, drawn uniformly among pairs of enough
    contrast."""
    return _build(inputs, _colours)


def build_corrupt(inputs: Inputs) -> dict[str, PreparedSplit]:
    """Five corruptions, equally often, after MNIST-C (Mu and Gilmer 2019); column
    ``group_corruption``.

    rotation: by -45 to 45 degrees; noise: Gaussian, standard deviation 90 of 255; blur: 7x7 mean;
    fog: a smooth light veil over 60 to 85 % of the range; stripes: light bars in a random
        direction, 3 of every 8 pixels.
    """
    return _build(inputs, _corruptions)


def _build(inputs: Inputs, render: Render) -> dict[str, PreparedSplit]:
    mnist, splits = inputs.depend("mnist"), {}
    for name, n in inputs.splits.items():
        base = open_split(mnist, name)
        chosen = draw_indices(len(base), n, inputs.option("base_seed"))
        # Each split has a stream of its own, so that adding a split changes no other.
        rng = np.random.default_rng([inputs.option("style_seed"), *name.encode()])
        images, groups = render(base.read(chosen)[..., 0], rng)
        splits[name] = made_of(base, chosen, inputs, images, groups)
    return splits


def _over_photos(
    photos: list[Images], ink: Images, rng: np.random.Generator
) -> tuple[Images, dict[str, list[str]]]:
    images = np.empty((len(ink), SIDE, SIDE, 3), np.uint8)
    for k, digit in enumerate(ink):
        photo = photos[rng.integers(len(photos))]
        top, left = (rng.integers(side - SIDE + 1) for side in photo.shape[:2])
        patch = photo[top : top + SIDE, left : left + SIDE].astype(np.int16)
        images[k] = np.abs(patch - digit[..., None])
    return images, {}


def _colours(ink: Images, rng: np.random.Generator) -> tuple[Images, dict[str, list[str]]]:
    images = np.empty((len(ink), SIDE, SIDE, 3), np.uint8)
    for k, digit in enumerate(ink):
        pair = rng.uniform(0, 255, (2, 3)).astype(np.float32)
        while abs(float((pair[0] - pair[1]) @ LUMA)) < MINIMAL_CONTRAST:
            pair = rng.uniform(0, 255, (2, 3)).astype(np.float32)
        share = digit[..., None].astype(np.float32) / 255
        images[k] = to_uint8(pair[0] + share * (pair[1] - pair[0]))
    return images, {}


def _corruptions(ink: Images, rng: np.random.Generator) -> tuple[Images, dict[str, list[str]]]:
    each, rest = divmod(len(ink), len(_CORRUPT))
    if rest:
        raise WiseftError(
            f"the number of corrupt images must be a multiple of {len(_CORRUPT)}, found {len(ink)}."
        )
    names = rng.permutation(np.repeat(list(_CORRUPT), each)).tolist()
    images = [
        to_uint8(_CORRUPT[name](digit.astype(np.float32), rng))
        for name, digit in zip(names, ink, strict=True)
    ]
    return grey_to_rgb(np.stack(images)), {"corruption": names}


def _rotate(digit: Floats, rng: np.random.Generator) -> Floats:
    angle = rng.uniform(-LARGEST_ANGLE, LARGEST_ANGLE)
    return ndimage.rotate(digit, angle, reshape=False, order=1)


def _add_fog(digit: Floats, rng: np.random.Generator) -> Floats:
    density = ndimage.gaussian_filter(rng.standard_normal(digit.shape), 5, mode="wrap")
    density = (density - density.min()) / np.ptp(density)
    veil = 0.6 + 0.25 * density
    return digit * (1 - veil) + 255 * veil * (0.5 + 0.5 * density)


def _add_stripes(digit: Floats, rng: np.random.Generator) -> Floats:
    angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 8)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    position = (rows * np.sin(angle) + columns * np.cos(angle) + phase) % 8
    # Bars of 3 pixels with edges of one pixel.
    bar = np.clip(2 - np.abs(position - 4), 0, 1)
    return np.maximum(digit, 160 * bar)


_CORRUPT: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {
    "rotation": _rotate,
    "noise": lambda digit, rng: digit + NOISE * rng.standard_normal(digit.shape, np.float32),
    "blur": lambda digit, rng: ndimage.uniform_filter(digit, BLUR),
    "fog": _add_fog,
    "stripes": _add_stripes,
}
