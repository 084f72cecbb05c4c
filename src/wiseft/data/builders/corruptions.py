"""Common corruptions, after ImageNet-C, of images of any prepared dataset."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from wiseft.config import Transform
from wiseft.data.builders.common import Images, Inputs, draw_indices
from wiseft.data.corruptions import (
    BENCHMARK,
    CORRUPTIONS,
    SEVERITIES,
    SMALLEST,
    corrupt,
    generator,
)
from wiseft.data.prepared.split import PreparedSplit
from wiseft.data.prepared.store import Split, open_split
from wiseft.errors import WiseftError

SPLIT = "test"
REQUIRED = ("base", "split", "samples", "seed")
OPTIONS = (*REQUIRED, "corruptions", "severities", "size")

Cell = tuple[str, int]
"""A corruption and a severity."""


def build(inputs: Inputs) -> dict[str, PreparedSplit]:
    """Corrupt the same images by every corruption at every severity, into the split ``test``.

    Options of the entry: ``base`` and ``split`` name the images; ``samples`` of them are drawn once
    by ``seed`` and used for every cell; ``corruptions`` (default: the 15 of the benchmark) and
    ``severities`` (default: 1 to 5) span the cells; ``size`` is the side in pixels (null: as
    stored; needed where the base is an image folder). An image's corruption depends on the seed,
    its sample id, the corruption and the severity only, never on which others are made.

    Sample ids are ``<dataset>/<corruption>/<severity>/<base sample id>``; base ids are those of the
    base, so that an interval takes all renditions of one image together; ``group_corruption`` and
    ``group_severity`` name the cell. All images are held in memory at once: samples x cells x
    3 x size^2 bytes, 11 GB for 1,000 samples, 75 cells and 224 pixels.

    Raises:
        WiseftError: an option is missing, unknown or out of range, the entry's number of images is
            not samples x corruptions x severities, or they do not fit into memory.
    """
    cells = _cells(inputs)
    samples, seed = _count(inputs, "samples", 1), _count(inputs, "seed", 0)
    expected = inputs.count(SPLIT)
    if expected != samples * len(cells):
        raise WiseftError(
            f"dataset {inputs.dataset}: {samples} samples x {len(cells)} pairs of corruption and "
            f"severity are {samples * len(cells)} images, found {expected} in its entry under "
            f"splits: {SPLIT}."
        )
    sized = inputs.options.get("size") is not None
    transform = Transform(size=_count(inputs, "size", SMALLEST)) if sized else None
    name = str(inputs.option("base"))
    base = open_split(inputs.depend(name), str(inputs.option("split")), transform)
    if base.other_labels is not None:
        raise WiseftError(
            f"dataset {inputs.dataset}: images of {name} may have several right labels, which a "
            "corrupted set cannot carry. Take another base."
        )
    chosen = draw_indices(len(base), samples, seed)
    keys = [(*cell, index) for cell in cells for index in chosen]
    return {
        SPLIT: PreparedSplit(
            images=_corrupt_all(inputs.dataset, base, chosen, cells, seed),
            labels=np.tile(base.labels[chosen], len(cells)),
            sample_ids=[
                f"{inputs.dataset}/{corruption}/{severity}/{base.sample_ids[index]}"
                for corruption, severity, index in keys
            ],
            base_ids=[base.base_ids[index] for _, _, index in keys],
            groups={
                "corruption": [corruption for corruption, _, _ in keys],
                "severity": [severity for _, severity, _ in keys],
            },
        )
    }


def _corrupt_all(
    dataset: str, base: Split, chosen: np.typing.NDArray[np.int64], cells: list[Cell], seed: int
) -> Images:
    """Return uint8 (cells x samples, H, W, 3), cell by cell; every image is decoded once."""
    shape = (len(cells), len(chosen), *base.images.shape[1:])
    try:
        images = np.empty(shape, np.uint8)
    except MemoryError as error:
        raise WiseftError(
            f"dataset {dataset}: {shape[0]} x {shape[1]} images of {shape[2]} x {shape[3]} pixels "
            f"need {np.prod(shape, dtype=float) / 1e9:.1f} GB of memory at once. Take fewer "
            "samples, corruptions or severities, or a smaller size."
        ) from error
    for column, index in enumerate(chosen):
        image, sample_id = base.read([index])[0], base.sample_ids[index]
        for row, (name, severity) in enumerate(cells):
            rng = generator(seed, sample_id, name, severity)
            images[row, column] = corrupt(image, name, severity, rng)
    return images.reshape(-1, *shape[2:])


def _cells(inputs: Inputs) -> list[Cell]:
    unknown = sorted(set(inputs.options) - set(OPTIONS))
    if unknown:
        raise WiseftError(
            f"dataset {inputs.dataset}: unknown option '{unknown[0]}'; the builder corruptions "
            f"takes {', '.join(OPTIONS)}."
        )
    for name in REQUIRED:
        inputs.option(name)
    names = _choice(inputs, "corruptions", BENCHMARK, CORRUPTIONS)
    return list(product(names, _choice(inputs, "severities", SEVERITIES, SEVERITIES)))


def _choice(inputs: Inputs, key: str, default: Sequence[Any], known: Sequence[Any]) -> list[Any]:
    """Return a list option whose items are distinct and all known."""
    values = inputs.options.get(key)
    values = list(default) if values is None else values
    if not isinstance(values, list) or not values:
        raise WiseftError(
            f"dataset {inputs.dataset}: its option '{key}' is a list of at least one of "
            f"{', '.join(map(str, known))}; found {values!r}."
        )
    for value in values:
        if value not in known or isinstance(value, bool | float):
            raise WiseftError(
                f"dataset {inputs.dataset}: its option '{key}' has {value!r}; there are "
                f"{', '.join(map(str, known))}."
            )
        if values.count(value) > 1:
            raise WiseftError(f"dataset {inputs.dataset}: its option '{key}' has {value!r} twice.")
    return values


def _count(inputs: Inputs, key: str, least: int) -> int:
    value = inputs.option(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise WiseftError(
            f"dataset {inputs.dataset}: its option '{key}' is a whole number from {least} on, "
            f"found {value!r}."
        )
    return value
