"""A decoded cache of image files: uint8 arrays as a model takes them, memory-mapped.

It holds exactly what decoding gives, so whatever is computed from it is the same. It lies beside
the manifest, in ``cache-<transform>/``, and is used wherever it is there, belongs to the manifest
and has its sum, which every job that opens a split computes once. A damaged cache is set aside, the
job decodes the images itself, and the next run of the workflow, which misses the cache, makes it
again.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wiseft.base.io import atomic_path, sha256_file, write_json
from wiseft.base.progress import Meter
from wiseft.base.stages import VERSION
from wiseft.errors import DamagedFile, WiseftError, some
from wiseft.images.decode import FolderImages
from wiseft.images.index import read_index
from wiseft.images.manifest import Manifest, open_manifest
from wiseft.images.node import near
from wiseft.images.seen import Seen
from wiseft.thetas.damage import read_checked, rename_damaged, require_sum, with_sum
from wiseft.thetas.preprocessing import Transform

log = logging.getLogger(__name__)

FORMAT = 1
_CHUNK = 512  # images in memory at a time


def cache_folder(manifest: Path, transform: Transform) -> Path:
    """Return the folder of the cache of a dataset."""
    return manifest.parent / f"cache-{transform.name}"


def write_cache(
    manifest_path: Path, transform: Transform, splits: Sequence[str], threads: int = 1
) -> Path:
    """Decode splits of a dataset of image files once; return `cache.json`, which is written last.

    A split that is there already, whole, of the manifest and of the same bytes, is kept.

    Args:
        transform: the model's.
        threads: images decoded side by side.

    Raises:
        WiseftError: the dataset stores arrays, a split is unknown, an image cannot be decoded.
    """
    manifest = open_manifest(manifest_path)
    if manifest.layout == "arrays" or manifest.root is None:
        raise WiseftError(
            f"dataset {manifest.dataset} stores its images as arrays already; only datasets of "
            "image files are cached. Remove it from `datasets.cache`."
        )
    folder = cache_folder(manifest_path, transform)
    record: dict[str, Any] = {"format": FORMAT, **transform.model_dump(), "splits": {}}
    for split in splits:
        seen = Seen(manifest, split, read_index(manifest, split)["path"].tolist())
        kept = _valid(manifest, split, transform, seen)
        if kept is None:
            target = folder / f"{split}.npy"
            images = FolderImages(manifest.root, seen.names, transform, manifest.border, seen)
            _decode_all(images, target, threads)
            kept = _belongs_to(manifest, split) | {"sha256": sha256_file(target)}
            kept["images"] = seen.finish()
        record["splits"][split] = kept
    write_json(folder / "cache.json", with_sum(record))
    return folder / "cache.json"


def open_cache(
    manifest: Manifest, split: str, transform: Transform, seen: Seen
) -> NDArray[np.uint8] | None:
    """Return the cached images of a split, memory-mapped uint8 (n, size, size, 3).

    None where there is no such cache, a damaged one, or one of other files or other bytes: the
    images are then decoded.

    Args:
        seen: is told the digest of the files that were cached.
    """
    if (stored := _valid(manifest, split, transform, seen)) is None:
        return None
    seen.cached = stored.get("images", "")
    path, _ = near(cache_folder(manifest.path, transform) / f"{split}.npy")
    images: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    return images


def verify_cache(manifest: Manifest, folder: Path) -> None:
    """Check a cache against its hashes and, of splits of the manifest, against the images'.

    Raises:
        DamagedFile: it is not what was written, or images have changed since.
    """
    for split, stored in _read_record(folder).items():
        seen = None
        if split in manifest.splits:
            seen = Seen(manifest, split, read_index(manifest, split)["path"].tolist())
        _check(folder, split, stored, seen)


def _read_record(folder: Path) -> dict[str, Any]:
    """Return what `cache.json` says of each split. Raises DamagedFile."""
    path = folder / "cache.json"
    try:
        record = read_checked(path, "cache")
        splits: dict[str, Any] = record["splits"] if record["format"] == FORMAT else {}
        return {name: dict(stored) for name, stored in splits.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedFile(f"{path} is no record of a cache ({error!r})", path) from None


def _check(folder: Path, split: str, stored: dict[str, Any], seen: Seen | None) -> None:
    path, record = folder / f"{split}.npy", folder / "cache.json"
    images = stored.get("images")  # caches of before have none
    if images and seen and seen.look() not in (None, images):
        raise DamagedFile(f"{path} is of images that have changed since", path, record)
    if near(path, stored.get("sha256", "none"))[1] is None:
        require_sum(path, stored.get("sha256"), "is not what was cached", record)


def _belongs_to(manifest: Manifest, split: str) -> dict[str, Any]:
    files = manifest.split_files(split)
    return {
        "stage_version": VERSION["data"],
        "index": files.sha256["index"],
        "n": files.n,
        "border": manifest.border,
    }


def _valid(
    manifest: Manifest, split: str, transform: Transform, seen: Seen
) -> dict[str, Any] | None:
    """Return what `cache.json` says of a split, if its file is whole and of these images.

    What is damaged is set aside, and it is said.
    """
    folder = cache_folder(manifest.path, transform)
    if not (folder / "cache.json").is_file():
        return None
    try:
        stored = _read_record(folder).get(split)
        if stored is None:
            return None
        if any(stored.get(key) != value for key, value in _belongs_to(manifest, split).items()):
            log.warning("%s is of other images than %s; it is not used", folder, manifest.path)
            return None
        _check(folder, split, stored, seen)
    except DamagedFile as error:
        aside = some(rename_damaged(error.files)) or "nothing"
        log.warning("%s. Set aside: %s; until then images are decoded", error.found, aside)
        return None
    return stored


def _decode_all(images: FolderImages, target: Path, threads: int) -> None:
    what = f"{target.parent.parent.name}: decoding {len(images):,} images"
    size = math.prod(images.shape)
    header = {"descr": "|u1", "fortran_order": False, "shape": images.shape}
    with (
        atomic_path(target, size) as part,
        part.open("wb") as stream,  # not mapped: a full disk would kill the process
        Meter(desc=what, total=size) as meter,
        ThreadPoolExecutor(max(1, min(threads, os.cpu_count() or 1))) as pool,
    ):
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, len(images), _CHUNK):
            chosen = range(start, min(start + _CHUNK, len(images)))
            # Side by side: JPEG decoding releases the interpreter.
            for image in pool.map(lambda index: images[index : index + 1], chosen):
                stream.write(np.ascontiguousarray(image).data)
                meter.update(image.nbytes)
