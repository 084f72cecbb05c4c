"""The published parameters of every corruption at every severity.

Source: the scripts of Hendrycks and Dietterich (2019) that made ImageNet-C (224 pixels),
Tiny-ImageNet-C (64) and CIFAR-10-C (32). Each table has one row a severity, 1 to 5. Intensities are
on the scale 0..1, lengths in pixels of an image of the table's side.
"""

from __future__ import annotations

from collections.abc import Mapping

from wiseft.errors import WiseftError

Row = tuple[float, ...]
Table = tuple[Row, ...]

SEVERITIES = (1, 2, 3, 4, 5)

LIMITS = {32: 48, 64: 128}
"""A table serves images whose shorter side is below its limit; 224 serves all larger ones. The
limits are about the geometric means of neighbouring sides."""


def select(name: str, severity: int, side: int) -> tuple[Row, float]:
    """Return the parameters for an image whose shorter side is ``side`` pixels, and the factor by
    which lengths in them are to be multiplied.

    The factor is ``side`` / side of the table, so that a photograph at 336 pixels looks like the
    same photograph at 224; it is 1 at the published sides, and never below 1 for the table of 32
    pixels, whose lengths are too short to shrink.

    Raises:
        WiseftError: unknown corruption or severity.
    """
    if name not in PARAMETERS:
        raise WiseftError(f"unknown corruption '{name}'; there are: {', '.join(PARAMETERS)}.")
    if severity not in SEVERITIES or isinstance(severity, bool):
        raise WiseftError(f"the severity of a corruption is 1, 2, 3, 4 or 5, found {severity!r}.")
    reference = next((table for table, limit in LIMITS.items() if side < limit), 224)
    scale = side / reference
    return PARAMETERS[name][reference][severity - 1], max(scale, 1.0) if reference == 32 else scale


def _single(*values: float) -> Table:
    return tuple((value,) for value in values)


def _sides(unit: float, *rows: Row) -> Table:
    """Rows of lengths in units of ``unit`` pixels, as pixels."""
    return tuple(tuple(unit * length for length in row) for row in rows)


PARAMETERS: Mapping[str, Mapping[int, Table]] = {
    # standard deviation
    "gaussian-noise": {
        32: _single(0.04, 0.06, 0.08, 0.09, 0.10),
        64: _single(0.04, 0.08, 0.12, 0.15, 0.18),
        224: _single(0.08, 0.12, 0.18, 0.26, 0.38),
    },
    # photons of a white pixel
    "shot-noise": {
        32: _single(500, 250, 100, 75, 50),
        64: _single(250, 100, 50, 30, 15),
        224: _single(60, 25, 12, 5, 3),
    },
    # share of values replaced
    "impulse-noise": {
        32: _single(0.01, 0.02, 0.03, 0.05, 0.07),
        64: _single(0.01, 0.02, 0.05, 0.08, 0.14),
        224: _single(0.03, 0.06, 0.09, 0.17, 0.27),
    },
    # radius of the disk, standard deviation of its soft edge
    "defocus-blur": {
        32: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        64: ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        224: ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    },
    # standard deviation of the blur, reach of the shuffle, number of shuffles
    "glass-blur": {
        32: ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        64: ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        224: ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    },
    # radius and standard deviation of the streak
    "motion-blur": {
        32: ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        64: ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        224: ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    },
    # end of the magnifications (which start at 1) and the step from one to the next
    "zoom-blur": {
        32: ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        64: ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        224: ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    },
    # mean and standard deviation of the noise that flakes grow from, their magnification, the
    # threshold below which there is no flake, radius and standard deviation of the streak, share of
    # the image that is not whitened
    "snow": {
        32: (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        64: (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
        ),
        224: (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    },
    # weight of the image, weight of the ice, magnification of the ice
    "frost": {
        32: ((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
        64: ((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
        224: ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
    },
    # weight of the fog, decay of its detail from one octave to the next
    "fog": {
        32: ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        64: ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        224: ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    },
    # added to the value of HSV
    "brightness": {
        32: _single(0.05, 0.1, 0.15, 0.2, 0.3),
        64: _single(0.1, 0.2, 0.3, 0.4, 0.5),
        224: _single(0.1, 0.2, 0.3, 0.4, 0.5),
    },
    # share of the contrast that is left
    "contrast": {
        32: _single(0.75, 0.5, 0.4, 0.3, 0.15),
        64: _single(0.4, 0.3, 0.2, 0.1, 0.05),
        224: _single(0.4, 0.3, 0.2, 0.1, 0.05),
    },
    # gain and standard deviation of the smoothed displacement, largest shift of a corner of the
    # affine map. The published unit of the largest table is 244, not 224.
    "elastic-transform": {
        32: _sides(
            32,
            (0, 0, 0.08),
            (0.05, 0.2, 0.07),
            (0.08, 0.06, 0.06),
            (0.1, 0.04, 0.05),
            (0.1, 0.03, 0.03),
        ),
        64: _sides(
            64,
            (0, 0, 0.08),
            (0.05, 0.3, 0.06),
            (0.1, 0.08, 0.06),
            (0.1, 0.03, 0.03),
            (0.16, 0.03, 0.02),
        ),
        224: _sides(
            244,
            (2, 0.7, 0.1),
            (2, 0.08, 0.2),
            (0.05, 0.01, 0.02),
            (0.07, 0.01, 0.02),
            (0.12, 0.01, 0.02),
        ),
    },
    # share of the side that is left
    "pixelate": {
        32: _single(0.95, 0.9, 0.85, 0.75, 0.65),
        64: _single(0.9, 0.8, 0.7, 0.6, 0.5),
        224: _single(0.6, 0.5, 0.4, 0.3, 0.25),
    },
    # quality
    "jpeg-compression": {
        32: _single(80, 65, 58, 50, 40),
        64: _single(65, 58, 50, 40, 25),
        224: _single(25, 18, 15, 10, 7),
    },
    # standard deviation for a white value
    "speckle-noise": {
        32: _single(0.06, 0.1, 0.12, 0.16, 0.2),
        64: _single(0.15, 0.2, 0.25, 0.3, 0.35),
        224: _single(0.15, 0.2, 0.35, 0.45, 0.6),
    },
    # standard deviation
    "gaussian-blur": {
        32: _single(0.4, 0.6, 0.7, 0.8, 1),
        64: _single(0.5, 0.75, 1, 1.25, 1.5),
        224: _single(1, 2, 3, 4, 6),
    },
    # mean and standard deviation of the noise that drops grow from, standard deviation of their
    # smoothing, threshold, strength of water or smoothing of mud, and 1 for mud, 0 for water
    "spatter": {
        32: (
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
        64: (
            (0.62, 0.1, 0.7, 0.7, 0.6, 0),
            (0.65, 0.1, 0.8, 0.7, 0.6, 0),
            (0.65, 0.3, 1, 0.69, 0.6, 0),
            (0.65, 0.1, 0.7, 0.68, 0.6, 1),
            (0.65, 0.1, 0.5, 0.67, 0.6, 1),
        ),
        224: (
            (0.65, 0.3, 4, 0.69, 0.6, 0),
            (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0),
            (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ),
    },
    # factor and offset of the saturation of HSV
    "saturate": {
        32: ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        64: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
        224: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    },
}
