"""Common corruptions, after ImageNet-C, of images of any prepared dataset."""

from __future__ import annotations

from itertools import product
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from wiseft.base.typed import Entry, distinct
from wiseft.base.validation import validate
from wiseft.errors import WiseftError
from wiseft.images.split import PreparedSplit
from wiseft.images.store import Split, open_split
from wiseft.images.subsets import draw_indices
from wiseft.study.data.builders.digit_images import Images, Inputs
from wiseft.study.data.corruptions import CORRUPTIONS, SEVERITIES, SMALLEST, corrupt, generator
from wiseft.thetas.preprocessing import Transform

SPLIT = "test"

Severity = Annotated[int, Field(strict=True, ge=SEVERITIES[0], le=SEVERITIES[-1])]

Cell = tuple[str, int]
"""A corruption and a severity."""


def _known(names: list[str]) -> list[str]:
    for name in names:
        if name not in CORRUPTIONS:
            raise ValueError(f"{name} is no corruption; there are {', '.join(CORRUPTIONS)}")
    return distinct(names)


class Options(Entry):
    """Options of the entry.

    Attributes:
        base: the dataset whose images are corrupted.
        split: the split of it.
        samples: how many images are drawn, once for every cell.
        seed: of the draw and of all that is random in a corruption.
        corruptions: by name.
        severities: 1 to 5.
        size: side of the images in pixels; None: as stored, where the base is no image folder.
    """

    base: str
    split: str
    samples: int = Field(strict=True, ge=1)
    seed: int = Field(strict=True, ge=0)
    corruptions: Annotated[list[str], AfterValidator(_known)] = Field(
        list(CORRUPTIONS), min_length=1
    )
    severities: Annotated[list[Severity], AfterValidator(distinct)] = Field(
        list(SEVERITIES), min_length=1
    )
    size: int | None = Field(None, strict=True, ge=SMALLEST)


def build(inputs: Inputs) -> dict[str, PreparedSplit]:
    """Corrupt the same images by every corruption at every severity, into the split ``test``.

    An image's corruption depends on the seed, its sample id, the corruption and the severity only,
    never on which others are made.

    Sample ids are ``<dataset>/<corruption>/<severity>/<base sample id>``; base ids are those of the
    base, so that an interval takes all renditions of one image together; ``group_corruption`` and
    ``group_severity`` name the cell. All images are held in memory at once: samples x cells x
    3 x size^2 bytes, 11 GB for 1,000 samples, 75 cells and 224 pixels.

    Raises:
        WiseftError: an option is missing, unknown or out of range, the entry's number of images is
            not samples x corruptions x severities, or they do not fit into memory.
    """
    options = validate(Options, dict(inputs.options), f"options of dataset {inputs.dataset}")
    cells = list(product(options.corruptions, options.severities))
    expected = inputs.count(SPLIT)
    if expected != options.samples * len(cells):
        raise WiseftError(
            f"dataset {inputs.dataset}: {options.samples} samples x {len(cells)} pairs of "
            f"corruption and severity are {options.samples * len(cells)} images, found {expected} "
            f"in its entry under splits: {SPLIT}."
        )
    transform = None if options.size is None else Transform(size=options.size)
    base = open_split(inputs.depend(options.base), options.split, transform)
    if base.other_labels is not None:
        raise WiseftError(
            f"dataset {inputs.dataset}: images of {options.base} may have several right labels, "
            "which a corrupted set cannot carry. Take another base."
        )
    chosen = draw_indices(len(base), options.samples, options.seed)
    keys = [(*cell, index) for cell in cells for index in chosen]
    return {
        SPLIT: PreparedSplit(
            images=_corrupt_all(inputs.dataset, base, chosen, cells, options.seed),
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
