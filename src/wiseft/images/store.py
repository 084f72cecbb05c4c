"""The only reader of prepared datasets.

A prepared dataset is a folder with ``manifest.json`` (written last) and, for each split,
``<split>/index.parquet`` and (layout ``arrays``) ``<split>/images.npy``. See docs/design.md,
"Prepared dataset".
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wiseft.errors import WiseftError
from wiseft.images.cache import open_cache
from wiseft.images.decode import FittedImages, FolderImages
from wiseft.images.index import GROUP_PREFIX, OTHER_LABELS, check_hash, read_index
from wiseft.images.manifest import Manifest, SplitFiles, open_manifest
from wiseft.images.node import near
from wiseft.images.seen import Seen
from wiseft.thetas.preprocessing import Transform

if TYPE_CHECKING:
    import pandas as pd
    import torch


Images = NDArray[np.uint8] | FolderImages | FittedImages


@dataclass(frozen=True)
class Split:
    """One split of a prepared dataset, images on demand.

    Attributes:
        images: array-like of uint8 (n, H, W, 3): a memory map, or images that are resized or
            decoded when indexed.
        labels: int64 (n,).
        groups: the ``group_*`` columns, n rows; no columns for a dataset without groups.
        other_labels: further labels that count as right, a list a sample; None for none anywhere.
        seen: what was read of image files; None for stored arrays, which the manifest has sums of.
    """

    dataset: str
    name: str
    images: Images
    labels: NDArray[np.int64]
    sample_ids: list[str]
    base_ids: list[str]
    groups: pd.DataFrame
    other_labels: list[list[int]] | None = None
    seen: Seen | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: Sequence[int] | NDArray[np.integer] | slice) -> NDArray[np.uint8]:
        """Return a writable copy uint8 (n, H, W, 3) of the images at ``indices``."""
        if not isinstance(indices, slice):
            indices = np.asarray(indices, dtype=np.int64)
        return np.array(self.images[indices], dtype=np.uint8)


def open_split(manifest_path: Path, split: str, transform: Transform | None = None) -> Split:
    """Open one split; stored files are checked against the manifest's hashes.

    Args:
        transform: what is done to every image. None: as stored (an error for image folders). Arrays
            that are stored at its size are read as they are; others go through it.

    Raises:
        WiseftError: unknown split, a file that is missing, changed or of the wrong length.
    """
    manifest = open_manifest(manifest_path)
    index = read_index(manifest, split)
    seen = None
    if manifest.layout != "arrays":
        seen = Seen(manifest, split, index["path"].tolist())
    sample_ids = index["sample_id"].tolist()
    own = index["base_id"].equals(index["sample_id"])  # then the text is held once
    others = index[OTHER_LABELS] if OTHER_LABELS in index.columns else None
    return Split(
        dataset=manifest.dataset,
        name=split,
        images=_images(manifest, split, transform, seen),
        labels=index["label"].to_numpy(dtype=np.int64),
        sample_ids=sample_ids,
        base_ids=sample_ids if own else index["base_id"].tolist(),
        groups=index[[name for name in index.columns if name.startswith(GROUP_PREFIX)]],
        other_labels=None if others is None else [list(map(int, labels)) for labels in others],
        seen=seen,
    )


def _images(
    manifest: Manifest, split: str, transform: Transform | None, seen: Seen | None
) -> Images:
    """Return the images of a split as a transform makes them; None: as they are stored."""
    if seen is None:
        stored = open_arrays(manifest, manifest.split_files(split))
        if transform is None or transform.size == transform.edge == stored.shape[1]:
            return stored
        return FittedImages(stored, transform)
    if transform is None:
        raise WiseftError(
            f"dataset {manifest.dataset} is an image folder: say at which size to read it."
        )
    if (cached := open_cache(manifest, split, transform, seen)) is not None:
        return cached
    if manifest.root is None or not manifest.root.is_dir():
        raise WiseftError(
            f"the images of {manifest.dataset} were indexed in {manifest.root}, which is not "
            "there. Mount that folder, or index the images again."
        )
    return FolderImages(manifest.root, seen.names, transform, manifest.border, seen)


def batches(
    split: Split,
    batch_size: int,
    indices: Sequence[int] | NDArray[np.integer] | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield uint8 images (n, 3, H, W), channels_last, and int64 labels (n,), in the order of
    ``indices``.

    They are read by the threads that the job has: beside a GPU, in between on a CPU.

    Args:
        indices: which samples; None: all, in stored order.
        device: that images are put on; labels stay on the CPU.

    Raises:
        WiseftError: an image can't be read.
    """
    import torch

    from wiseft.images import feed

    device = torch.device(device)
    shape = split.images.shape[1:]
    reading = feed.usual_reading(device, max(1, batch_size * math.prod(shape)))
    if isinstance(split.images, np.ndarray) and not reading.ahead:
        reading = feed.Reading(0, 0)  # a mere copy: threads only cost
    order = np.arange(len(split)) if indices is None else np.asarray(indices, dtype=np.int64)
    chosen = (order[start : start + batch_size] for start in range(0, len(order), batch_size))

    def read(_: object, part: NDArray[np.int64]) -> torch.Tensor:
        # (n, H, W, 3) in memory is (n, 3, H, W) in channels_last: a view, no copy.
        return torch.from_numpy(split.read(part)).permute(0, 3, 1, 2)

    for batch, images in feed.in_order(((c, c) for c in chosen), read, shape, device, reading):
        _release(split.images)
        yield images, torch.from_numpy(split.labels[batch])


def _release(images: object) -> None:
    """Give back the pages of a memory map that were read: they would count as this process's
    memory, 3 kB an image of 32 pixels, until all of the file were in it.
    """
    mapped = getattr(getattr(images, "stored", images), "base", None)
    if isinstance(mapped, mmap.mmap):
        mapped.madvise(mmap.MADV_DONTNEED)


def open_arrays(manifest: Manifest, files: SplitFiles) -> NDArray[np.uint8]:
    """Return the stored images of a split, checked against their hash.

    Raises:
        WiseftError: the file is missing, changed or of the wrong length.
    """
    if files.images is None:
        raise WiseftError(f"{manifest.path}: layout arrays without images. Prepare it again.")
    path, of = near(manifest.path.parent / files.images, files.sha256["images"])
    if of is None:
        check_hash(manifest, files, "images", path)
    images: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    if len(images) != files.n:
        raise WiseftError(f"{path}: expected {files.n} images, found {len(images)}.")
    return images
