"""A decoded cache of image files: uint8 arrays as a model takes them, memory-mapped.

It holds exactly what decoding gives, so whatever is computed from it is the same. It lies beside
the manifest, in ``cache-<transform>/``, and is used wherever it is there, belongs to the manifest
and has its sum, which every job that opens a split computes once. A damaged cache is set aside, the
job decodes the images itself, and the next run of the workflow, which misses the cache, makes it
again.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wiseft.base.stages import VERSION
from wiseft.errors import DamagedFile, some
from wiseft.images.manifest import Manifest
from wiseft.images.node import near
from wiseft.images.seen import Seen
from wiseft.thetas.damage import read_checked, rename_damaged, require_sum
from wiseft.thetas.preprocessing import Transform

log = logging.getLogger(__name__)

FORMAT = 1


def cache_folder(manifest: Path, transform: Transform) -> Path:
    """Return the folder of the cache of a dataset."""
    return manifest.parent / f"cache-{transform.name}"


def open_cache(
    manifest: Manifest, split: str, transform: Transform, seen: Seen
) -> NDArray[np.uint8] | None:
    """Return the cached images of a split, memory-mapped uint8 (n, size, size, 3).

    None where there is no such cache, a damaged one, or one of other files or other bytes: the
    images are then decoded.

    Args:
        seen: is told the digest of the files that were cached.
    """
    if (stored := valid(manifest, split, transform, seen)) is None:
        return None
    seen.cached = stored.get("images", "")
    path, _ = near(cache_folder(manifest.path, transform) / f"{split}.npy")
    images: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    return images


def read_record(folder: Path) -> dict[str, Any]:
    """Return what `cache.json` says of each split. Raises DamagedFile."""
    path = folder / "cache.json"
    try:
        record = read_checked(path, "cache")
        splits: dict[str, Any] = record["splits"] if record["format"] == FORMAT else {}
        return {name: dict(stored) for name, stored in splits.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedFile(f"{path} is no record of a cache ({error!r})", path) from None


def check_cached(folder: Path, split: str, stored: dict[str, Any], seen: Seen | None) -> None:
    """Check what is cached of a split. Raises DamagedFile if it or its images have changed."""
    path, record = folder / f"{split}.npy", folder / "cache.json"
    images = stored.get("images")  # caches of before have none
    if images and seen and seen.look() not in (None, images):
        raise DamagedFile(f"{path} is of images that have changed since", path, record)
    if near(path, stored.get("sha256", "none"))[1] is None:
        require_sum(path, stored.get("sha256"), "is not what was cached", record)


def belongs_to(manifest: Manifest, split: str) -> dict[str, Any]:
    """Return what a cache must have of the manifest to belong to it."""
    files = manifest.split_files(split)
    return {
        "stage_version": VERSION["data"],
        "index": files.sha256["index"],
        "n": files.n,
        "border": manifest.border,
    }


def valid(
    manifest: Manifest, split: str, transform: Transform, seen: Seen
) -> dict[str, Any] | None:
    """Return what `cache.json` says of a split, if its file is whole and of these images.

    What is damaged is set aside, and it is said.
    """
    folder = cache_folder(manifest.path, transform)
    if not (folder / "cache.json").is_file():
        return None
    try:
        stored = read_record(folder).get(split)
        if stored is None:
            return None
        if any(stored.get(key) != value for key, value in belongs_to(manifest, split).items()):
            log.warning("%s is of other images than %s; it is not used", folder, manifest.path)
            return None
        check_cached(folder, split, stored, seen)
    except DamagedFile as error:
        aside = some(rename_damaged(error.files)) or "nothing"
        log.warning("%s. Set aside: %s; until then images are decoded", error.found, aside)
        return None
    return stored
