"""Digits drawn with a pen, from stroke templates written by hand.

Honesty: the templates describe how people write digits. Those of the prototype were drawn after
looking at a confusion matrix on MNIST test images; these were written anew, from knowledge of
how digits are written, and judged on held-out MNIST *training* images alone. No pixel of any
handwriting is fitted.

A template is a list of strokes, a stroke a list of smooth pieces that join in sharp corners: the
next piece starts where the last one ended. Coordinates run from 0 to 1, y down.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Point = tuple[float, float]
Template = list[list[list[Point]]]
Array = NDArray[np.float64]

TEMPLATES: dict[int, list[Template]] = {
    0: [
        [[[(0.5, 0), (0.2, 0.15), (0.08, 0.5), (0.2, 0.86), (0.5, 1), (0.8, 0.86), (0.92, 0.5),
           (0.8, 0.14), (0.48, 0.01)]]],
        [[[(0.62, 0.04), (0.32, 0.07), (0.12, 0.42), (0.15, 0.8), (0.45, 1), (0.8, 0.78),
           (0.87, 0.35), (0.68, 0.06), (0.45, 0.05)]]],
        [[[(0.4, 0.05), (0.62, 0), (0.88, 0.3), (0.85, 0.7), (0.55, 1), (0.2, 0.85), (0.1, 0.5),
           (0.2, 0.2), (0.5, 0.06)]]],
    ],
    1: [
        [[[(0.5, 0), (0.5, 0.5), (0.5, 1)]]],
        [[[(0.52, 0), (0.48, 0.5), (0.5, 1)]]],
        [[[(0.22, 0.25), (0.55, 0)], [(0.55, 0.5), (0.55, 1)]]],
        [[[(0.25, 0.22), (0.5, 0)], [(0.5, 0.5), (0.5, 1)]], [[(0.2, 1), (0.8, 1)]]],
    ],
    2: [
        [[[(0.12, 0.25), (0.3, 0.03), (0.65, 0.02), (0.82, 0.25), (0.62, 0.58), (0.1, 1)],
          [(0.5, 0.98), (0.92, 1)]]],
        [[[(0.15, 0.22), (0.35, 0.02), (0.7, 0.05), (0.8, 0.3), (0.6, 0.65), (0.3, 0.92),
           (0.12, 0.93), (0.14, 0.78), (0.38, 0.8), (0.65, 0.97), (0.95, 0.9)]]],
        [[[(0.1, 0.3), (0.32, 0.02), (0.72, 0.06), (0.8, 0.35), (0.5, 0.75), (0.12, 0.98)],
          [(0.4, 0.88), (0.7, 0.95), (1, 0.95)]]],
        [[[(0.2, 0.12), (0.5, 0), (0.8, 0.12), (0.78, 0.4), (0.45, 0.75), (0.15, 0.95),
           (0.1, 0.84), (0.3, 0.82), (0.6, 1), (0.95, 1)]]],
        [[[(0.25, 0.18), (0.5, 0), (0.78, 0.1), (0.72, 0.4), (0.42, 0.82), (0.18, 1),
           (0.02, 0.9), (0.1, 0.68), (0.35, 0.7), (0.6, 0.92), (1, 0.8)]]],
        [[[(0.3, 0.1), (0.6, 0), (0.75, 0.18), (0.6, 0.5), (0.2, 0.88)], [(0.05, 0.98),
          (0.5, 0.92), (1, 0.95)]]],
    ],
    3: [
        [[[(0.12, 0.12), (0.45, 0), (0.8, 0.15), (0.72, 0.4), (0.38, 0.48)],
          [(0.8, 0.56), (0.86, 0.84), (0.45, 1), (0.1, 0.88)]]],
        [[[(0.12, 0.02), (0.85, 0.02)], [(0.42, 0.42)], [(0.8, 0.5), (0.9, 0.78), (0.5, 1),
          (0.1, 0.9)]]],
        [[[(0.15, 0.08), (0.6, 0), (0.8, 0.22), (0.52, 0.46), (0.56, 0.48), (0.88, 0.7),
           (0.65, 0.98), (0.1, 0.95)]]],
        [[[(0.18, 0.15), (0.5, 0), (0.78, 0.2), (0.45, 0.47), (0.42, 0.52), (0.55, 0.48),
           (0.85, 0.72), (0.5, 1), (0.12, 0.85)]]],
    ],
    4: [
        [[[(0.2, 0), (0.12, 0.3), (0.1, 0.55)], [(0.5, 0.54), (0.92, 0.5)]],
         [[(0.72, 0.05), (0.7, 0.5), (0.68, 1)]]],
        [[[(0.65, 0), (0.38, 0.3), (0.08, 0.65)], [(0.95, 0.65)]], [[(0.65, 0), (0.65, 1)]]],
        [[[(0.15, 0.05), (0.1, 0.42), (0.35, 0.55), (0.8, 0.4)]],
         [[(0.85, 0), (0.76, 0.5), (0.66, 1)]]],
        [[[(0.75, 0.48), (0.35, 0.56), (0.1, 0.55)], [(0.4, 0.25), (0.7, 0)],
          [(0.66, 0.5), (0.62, 1)]]],
        [[[(0.25, 0), (0.1, 0.45), (0.3, 0.56), (0.72, 0.42), (0.8, 0.08)],
          [(0.75, 0.5), (0.72, 1)]]],
    ],
    5: [
        [[[(0.25, 0.02), (0.18, 0.42)], [(0.5, 0.35), (0.85, 0.55), (0.8, 0.88), (0.45, 1),
          (0.1, 0.9)]], [[(0.25, 0.02), (0.88, 0.02)]]],
        [[[(0.85, 0.02), (0.25, 0.04)], [(0.2, 0.42)], [(0.55, 0.36), (0.88, 0.6), (0.7, 0.95),
          (0.1, 0.95)]]],
        [[[(0.85, 0.02), (0.4, 0.03), (0.22, 0.2), (0.32, 0.42), (0.7, 0.53), (0.85, 0.76),
           (0.6, 0.98), (0.12, 0.92)]]],
        [[[(0.3, 0.08), (0.2, 0.4)], [(0.5, 0.3), (0.8, 0.45), (0.85, 0.75), (0.55, 1),
          (0.15, 0.92), (0.05, 0.8)]], [[(0.3, 0.06), (0.6, 0.08), (1, 0.02)]]],
        [[[(1, 0), (0.6, 0.06), (0.3, 0.05)], [(0.25, 0.4)], [(0.55, 0.42), (0.7, 0.6),
          (0.6, 0.85), (0.3, 1), (0, 0.88)]]],
        [[[(0.4, 0.05), (0.3, 0.42)], [(0.6, 0.5), (0.75, 0.75), (0.5, 1), (0.1, 0.95)]],
         [[(0.4, 0.05), (0.65, 0.08), (1, 0)]]],
    ],
    6: [
        [[[(0.68, 0), (0.3, 0.3), (0.1, 0.68), (0.25, 0.97), (0.6, 0.98), (0.82, 0.75),
           (0.6, 0.55), (0.25, 0.65), (0.14, 0.8)]]],
        [[[(0.55, 0), (0.25, 0.4), (0.12, 0.75), (0.4, 1), (0.75, 0.85), (0.65, 0.6),
           (0.35, 0.62), (0.15, 0.85)]]],
        [[[(0.85, 0.1), (0.5, 0.02), (0.15, 0.4), (0.12, 0.8), (0.45, 1), (0.82, 0.8),
           (0.65, 0.52), (0.3, 0.55), (0.13, 0.75)]]],
        [[[(0.4, 0), (0.2, 0.4), (0.15, 0.8), (0.45, 1), (0.85, 0.9), (0.85, 0.68), (0.5, 0.64),
           (0.2, 0.85)]]],
        [[[(0.3, 0), (0.12, 0.45), (0.2, 0.88), (0.55, 1), (0.9, 0.82), (0.8, 0.58), (0.5, 0.62),
           (0.32, 0.95)]]],
    ],
    7: [
        [[[(0.1, 0.05), (0.9, 0.05)], [(0.6, 0.45), (0.42, 1)]]],
        [[[(0.1, 0.05), (0.9, 0.05)], [(0.6, 0.45), (0.42, 1)]], [[(0.25, 0.5), (0.78, 0.48)]]],
        [[[(0.12, 0.2), (0.14, 0.04)], [(0.9, 0.04)], [(0.52, 0.5), (0.4, 1)]]],
        [[[(0.1, 0.15), (0.4, 0.05), (0.85, 0.08)], [(0.58, 0.5), (0.52, 1)]]],
        [[[(0.1, 0.2), (0.45, 0.06), (0.8, 0.02), (0.88, 0.12), (0.7, 0.55), (0.6, 1)]]],
        [[[(0.08, 0.3), (0.15, 0.08), (0.4, 0.1), (0.6, 0.14), (0.85, 0.05)], [(0.7, 0.4),
          (0.6, 1)]]],
    ],
    8: [
        [[[(0.75, 0.12), (0.45, 0), (0.2, 0.2), (0.45, 0.45), (0.78, 0.7), (0.5, 1), (0.18, 0.78),
           (0.5, 0.48), (0.8, 0.2), (0.7, 0.06)]]],
        [[[(0.5, 0), (0.25, 0.2), (0.5, 0.45), (0.75, 0.2), (0.5, 0)]],
         [[(0.5, 0.45), (0.18, 0.72), (0.5, 1), (0.82, 0.72), (0.5, 0.45)]]],
        [[[(0.85, 0.05), (0.5, 0.02), (0.22, 0.2), (0.5, 0.5), (0.75, 0.78), (0.45, 1),
           (0.2, 0.78), (0.55, 0.45), (0.88, 0.1)]]],
    ],
    9: [
        [[[(0.8, 0.2), (0.5, 0), (0.18, 0.22), (0.35, 0.5), (0.72, 0.38), (0.82, 0.15)],
          [(0.78, 0.6), (0.7, 1)]]],
        [[[(0.82, 0.18), (0.45, 0), (0.15, 0.28), (0.45, 0.52), (0.78, 0.3), (0.82, 0.15)],
          [(0.82, 0.6), (0.6, 0.97), (0.2, 0.92)]]],
        [[[(0.78, 0.12), (0.4, 0.03), (0.15, 0.3), (0.4, 0.5), (0.75, 0.35)]],
         [[(0.8, 0.05), (0.78, 1)]]],
        [[[(0.75, 0.3), (0.4, 0.42), (0.2, 0.25), (0.5, 0), (0.8, 0.12), (0.7, 0.55),
           (0.45, 1)]]],
        [[[(0.7, 0.1), (0.45, 0), (0.2, 0.2), (0.3, 0.42), (0.6, 0.36), (0.72, 0.1)],
          [(0.74, 0.55), (0.74, 1)]]],
    ],
}  # fmt: skip

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


def _jittered(stroke: list[list[Point]], rng: np.random.Generator) -> Array:
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
