"""Digits drawn with a pen, from the stroke templates of `pens.json`, written by hand.

Honesty: the templates describe how people write digits. Those of the prototype were drawn after
looking at a confusion matrix on MNIST test images; these were written anew, from knowledge of
how digits are written, and judged on held-out MNIST *training* images alone. No pixel of any
handwriting is fitted.

Every digit has several templates. A template is a list of strokes, a stroke a list of smooth pieces
that join in sharp corners: the next piece starts where the last one ended. A piece is a list of
points (x, y) from 0 to 1, y down.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wiseft.base.io import read_object

Array = NDArray[np.float64]
Stroke = list[list[list[float]]]

TEMPLATES: dict[int, list[list[Stroke]]] = {
    int(digit): templates
    for digit, templates in read_object(Path(__file__).with_name("pens.json")).items()
}
_OVERSAMPLING = 4
_POINTS_A_PIECE = 9


def draw_pen_glyph(digit: int, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one digit with a random allograph, shape and pen width.

    Returns a mask, uint8 (size, size): 255 is ink.
    """
    templates = TEMPLATES[digit]
    template = templates[int(rng.integers(len(templates)))]
    strokes = [_jittered(stroke, rng) for stroke in template]
    strokes = _reshaped(strokes, rng)
    width = rng.uniform(0.045, 0.14)
    return _rasterise(strokes, width, size)


def _jittered(stroke: Stroke, rng: np.random.Generator) -> Array:
    """Turn the pieces of a stroke into one polyline with moved control points."""
    sigma = rng.uniform(0.01, 0.05)
    start: Array | None = None
    pieces = []
    for piece in stroke:
        points = np.array(piece, dtype=np.float64)
        points += rng.normal(0, sigma, points.shape)
        if start is not None:
            points = np.vstack([start, points])
        pieces.append(_spline(points))
        start = points[-1:]
    return np.vstack(pieces)


def _spline(points: Array) -> Array:
    """Sample a Catmull-Rom spline through the points."""
    if len(points) == 1:
        return points
    before, after = 2 * points[0] - points[1], 2 * points[-1] - points[-2]
    p = np.vstack([before, points, after])
    t = np.linspace(0, 1, _POINTS_A_PIECE)[:, None]
    parts = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2
               + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)
    ]  # fmt: skip
    return np.vstack(parts)


def _reshaped(strokes: list[Array], rng: np.random.Generator) -> list[Array]:
    """Apply one random aspect, slant and rotation to all strokes; fit them into a box of 1."""
    angle = rng.normal(0, 0.08)
    aspect = rng.uniform(0.5, 1.25)
    slant = rng.normal(-0.12, 0.25)  # most writers lean to the right
    rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = rotate @ np.array([[aspect, slant], [0.0, 1.0]])
    moved = [(stroke - 0.5) @ matrix.T for stroke in strokes]
    everything = np.vstack(moved)
    low, high = everything.min(axis=0), everything.max(axis=0)
    scale = 1.0 / max(float((high - low).max()), 1e-6)
    return [(stroke - (low + high) / 2) * scale for stroke in moved]


def _rasterise(strokes: list[Array], width: float, size: int) -> NDArray[np.uint8]:
    """Draw strokes (within a box of 1 around 0) with a round pen of the given width."""
    canvas = size * _OVERSAMPLING
    # The box takes 36/48 of the canvas, so that style may dilate, turn and shift it.
    scale = canvas * 0.72 * (1 - width)
    radius = canvas * 0.72 * width / 2
    image = Image.new("L", (canvas, canvas))
    draw = ImageDraw.Draw(image)
    for stroke in strokes:
        points = [(float(x), float(y)) for x, y in stroke * scale + canvas / 2]
        draw.line(points, fill=255, width=max(1, round(2 * radius)), joint="curve")
        for x, y in (points[0], points[-1]):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(image.resize((size, size), Image.Resampling.BOX), dtype=np.uint8)
