"""A decoded cache of image files: uint8 arrays as a model takes them, memory-mapped.

It holds exactly what decoding gives, so whatever is computed from it is the same. It lies beside
the manifest, in ``cache-<transform>/``, and is used wherever it is there and belongs to the
manifest.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wiseft.config import Transform
from wiseft.data.prepared.decode import decode
from wiseft.data.prepared.index import read_index
from wiseft.data.prepared.manifest import Manifest, open_manifest
from wiseft.errors import WiseftError
from wiseft.io import atomic_path, read_json, sha256_file, write_json
from wiseft.progress import Meter, Say
from wiseft.stages import VERSION

log = logging.getLogger(__name__)

FORMAT = 1
_CHUNK = 512  # images in memory at a time


def cache_folder(manifest: Path, transform: Transform) -> Path:
    """Return the folder of the cache of a dataset."""
    return manifest.parent / f"cache-{transform.name}"


def write_cache(
    manifest_path: Path,
    transform: Transform,
    splits: Sequence[str],
    threads: int = 1,
    say: Say = log.info,
) -> Path:
    """Decode splits of a dataset of image files once; return `cache.json`, which is written last.

    A split that is there already and belongs to the manifest is kept.

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
        kept = _valid(manifest, split, transform)
        if kept is None:
            paths = [manifest.root / path for path in read_index(manifest, split)["path"]]
            target = folder / f"{split}.npy"
            _decode_all(paths, target, transform, manifest.border, threads, say)
            kept = _belongs_to(manifest, split) | {"sha256": sha256_file(target)}
        record["splits"][split] = kept
    write_json(folder / "cache.json", record)
    return folder / "cache.json"


def open_cache(manifest: Manifest, split: str, transform: Transform) -> NDArray[np.uint8] | None:
    """Return the cached images of a split, memory-mapped uint8 (n, size, size, 3).

    None where there is no such cache, or one of other files: the images are then decoded.
    """
    if _valid(manifest, split, transform) is None:
        return None
    path = cache_folder(manifest.path, transform) / f"{split}.npy"
    images: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    return images


def verify_cache(manifest: Manifest, folder: Path) -> None:
    """Check every file of a cache against its hash. Raises WiseftError."""
    for split, stored in read_json(folder / "cache.json")["splits"].items():
        path = folder / f"{split}.npy"
        if not path.is_file() or sha256_file(path) != stored["sha256"]:
            raise WiseftError(
                f"{path} is not what was cached; delete {folder}, it is then decoded again."
            )


def _belongs_to(manifest: Manifest, split: str) -> dict[str, Any]:
    files = manifest.split_files(split)
    return {
        "stage_version": VERSION["data"],
        "index": files.sha256["index"],
        "n": files.n,
        "border": manifest.border,
    }


def _valid(manifest: Manifest, split: str, transform: Transform) -> dict[str, Any] | None:
    """Return what `cache.json` says of a split, if its file is whole and of these images."""
    folder = cache_folder(manifest.path, transform)
    path = folder / f"{split}.npy"
    if not (folder / "cache.json").is_file() or not path.is_file():
        return None
    record = read_json(folder / "cache.json", "cache")
    stored = record.get("splits", {}).get(split, {})
    expected = _belongs_to(manifest, split)
    bytes_expected = expected["n"] * transform.size**2 * 3
    if record.get("format") != FORMAT or any(
        stored.get(key) != value for key, value in expected.items()
    ):
        log.warning("%s is of other images than %s; it is not used", folder, manifest.path)
        return None
    # The header of an .npy file has 128 bytes for a shape like this one.
    if path.stat().st_size != bytes_expected + 128:
        log.warning("%s is not whole; it is not used", path)
        return None
    return dict(stored)


def _decode_all(
    paths: list[Path],
    target: Path,
    transform: Transform,
    border: int,
    threads: int,
    say: Say,
) -> None:
    shape = len(paths), transform.size, transform.size, 3
    what = f"{target.parent.parent.name}: decoding {len(paths):,} images"
    size = math.prod(shape)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with (
        atomic_path(target, size) as part,
        part.open("wb") as stream,  # not mapped: a full disk would kill the process
        Meter(what, size, say=say) as meter,
    ):
        np.lib.format.write_array_header_1_0(stream, header)
        for image in _decoded(paths, transform, border, threads):
            stream.write(np.ascontiguousarray(image).data)
            meter.add(image.nbytes)


def _decoded(
    paths: list[Path], transform: Transform, border: int, threads: int
) -> Iterator[NDArray[np.uint8]]:
    """Yield the images in order, a chunk at a time: JPEG decoding releases the interpreter."""
    with ThreadPoolExecutor(max(1, min(threads, os.cpu_count() or 1))) as pool:
        for start in range(0, len(paths), _CHUNK):
            yield from pool.map(
                lambda path: decode(path, transform, border), paths[start : start + _CHUNK]
            )
