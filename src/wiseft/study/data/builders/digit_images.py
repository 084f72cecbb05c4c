"""What builders share: their inputs, and small operations on stacks of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wiseft.errors import WiseftError
from wiseft.images.split import PreparedSplit
from wiseft.images.store import Split
from wiseft.images.subsets import draw_indices

SIDE = 32
"""Side of all images in pixels: that of the embedded model's image tower."""

INK_HEIGHT = 20
"""Height in pixels of the box that MNIST's digits fill; the other collections are scaled to it."""

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]
V = TypeVar("V")


@dataclass(frozen=True)
class Inputs:
    """What a builder may read.

    Attributes:
        dataset: name of the dataset, the first part of its sample ids.
        packages: fetched files by the keys of config/packages.yaml.
        depends: manifests of prepared datasets by name.
        splits: expected number of images of every split.
        options: the entry's ``options``.
        folder: that the entry lies in, beside files that its options name.
    """

    dataset: str
    packages: Mapping[str, Path]
    depends: Mapping[str, Path]
    splits: Mapping[str, int]
    options: Mapping[str, Any]
    folder: Path = Path("config/datasets")

    def package(self, key: str) -> Path:
        """Return a fetched package. Raises WiseftError if it was not given."""
        return self._given(self.packages, key, f"is built from the package {key}: name its file")

    def depend(self, name: str) -> Path:
        """Return a manifest. Raises WiseftError if it was not given."""
        return self._given(self.depends, name, f"is rendered from {name}: name its manifest")

    def option(self, name: str) -> Any:
        """Return an option. Raises WiseftError if the entry does not have it."""
        return self._given(self.options, name, f"needs the option '{name}' in its entry")

    def count(self, split: str) -> int:
        """Return the expected size of a split. Raises WiseftError if the entry does not have it."""
        return self._given(self.splits, split, f"needs the split '{split}' in its entry")

    def _given(self, values: Mapping[str, V], key: str, need: str) -> V:
        if key not in values:
            raise WiseftError(f"dataset {self.dataset} {need}.")
        return values[key]


def made_of(
    base: Split,
    chosen: NDArray[np.int64],
    inputs: Inputs,
    images: Images,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> PreparedSplit:
    """Return a split of images that were made of some images of another dataset."""
    base_ids = [base.base_ids[index] for index in chosen]
    ids = [f"{inputs.dataset}/{base_id}" for base_id in base_ids]
    return PreparedSplit(images, base.labels[chosen], ids, base_ids, groups or {})


def sample_ids(prefix: str, indices: NDArray[np.integer]) -> list[str]:
    """Return ``<prefix>/<index>``, zero-padded so that they sort by index."""
    return [f"{prefix}/{index:05d}" for index in indices]


def pad_to_side(ink: Images) -> Images:
    """Centre uint8 (n, H, W) on a zero canvas (n, SIDE, SIDE); odd remainders go below and
    right."""
    top, left = (SIDE - ink.shape[1]) // 2, (SIDE - ink.shape[2]) // 2
    bottom, right = SIDE - ink.shape[1] - top, SIDE - ink.shape[2] - left
    return np.pad(ink, ((0, 0), (top, bottom), (left, right)))


def grey_to_rgb(grey: Images) -> Images:
    """Repeat uint8 (n, H, W) to (n, H, W, 3)."""
    return np.repeat(grey[..., None], 3, axis=3)


def to_uint8(values: NDArray[np.floating]) -> Images:
    """Round and clips pixel values on the scale 0..255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def all_or_drawn(total: int, n: int, seed: int) -> NDArray[np.int64]:
    """Return all indices or, where an entry has fewer images than there are, a draw of ``n``."""
    return draw_indices(total, min(n, total), seed)
