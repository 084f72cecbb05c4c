"""Decoding a dataset of image files once, into the cache that `wiseft.images.cache` describes."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from wiseft.base.io import atomic_path, sha256_file, write_json
from wiseft.base.progress import Meter
from wiseft.errors import WiseftError
from wiseft.images.cache import FORMAT, belongs_to, cache_folder, valid
from wiseft.images.decode import FolderImages
from wiseft.images.index import read_index
from wiseft.images.manifest import open_manifest
from wiseft.images.seen import Seen
from wiseft.thetas.damage import with_sum
from wiseft.thetas.preprocessing import Transform

_CHUNK = 512  # images in memory at a time


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
        kept = valid(manifest, split, transform, seen)
        if kept is None:
            target = folder / f"{split}.npy"
            images = FolderImages(manifest.root, seen.names, transform, manifest.border, seen)
            _decode_all(images, target, threads)
            kept = belongs_to(manifest, split) | {"sha256": sha256_file(target)}
            kept["images"] = seen.finish()
        record["splits"][split] = kept
    write_json(folder / "cache.json", with_sum(record))
    return folder / "cache.json"


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
