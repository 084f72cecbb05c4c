"""MNIST (LeCun et al. 1998): the reference dataset."""

from __future__ import annotations

import numpy as np

from wiseft.images.split import PreparedSplit, draw_indices
from wiseft.study.data.builders.digit_images import (
    Inputs,
    all_or_drawn,
    grey_to_rgb,
    pad_to_side,
    sample_ids,
)
from wiseft.study.data.fetching.mnist_idx import PACKAGE, read_mnist


def build(inputs: Inputs) -> dict[str, PreparedSplit]:
    """Split the 60,000 training images into ``train`` and ``held-out`` by the option
    ``held_out_seed``.

    Pixels are untouched: 28x28 is padded with 2 black pixels on each side. Sample ids are
    ``mnist/train/<index>`` and ``mnist/test/<index>`` with the index in the official files;
    held-out images are training images and so named. Where the entry has fewer images than there
    are, they are drawn by that seed.
    """
    arrays = read_mnist(inputs.package(PACKAGE))
    images, labels = arrays["train-images-idx3-ubyte"], arrays["train-labels-idx1-ubyte"]
    seed = inputs.option("held_out_seed")
    held_out = draw_indices(len(labels), inputs.count("held-out"), seed)
    train = np.setdiff1d(np.arange(len(labels)), held_out)
    train = train[all_or_drawn(len(train), inputs.count("train"), seed)]
    test = all_or_drawn(len(arrays["t10k-labels-idx1-ubyte"]), inputs.count("test"), seed)
    return {
        "train": _split("mnist/train", images, labels, train),
        "held-out": _split("mnist/train", images, labels, held_out),
        "test": _split(
            "mnist/test", arrays["t10k-images-idx3-ubyte"], arrays["t10k-labels-idx1-ubyte"], test
        ),
    }


def _split(
    prefix: str,
    images: np.typing.NDArray[np.uint8],
    labels: np.typing.NDArray[np.uint8],
    indices: np.typing.NDArray[np.integer],
) -> PreparedSplit:
    return PreparedSplit(
        images=grey_to_rgb(pad_to_side(images[indices])),
        labels=labels[indices].astype(np.int64),
        sample_ids=sample_ids(prefix, indices),
    )
