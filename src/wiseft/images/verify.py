"""Verification of prepared datasets: every file against its manifest, every image if asked."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wiseft.errors import WiseftError
from wiseft.images.cache import check_cached, read_record
from wiseft.images.decode import undecodable
from wiseft.images.index import read_index
from wiseft.images.manifest import Manifest, open_manifest
from wiseft.images.seen import Seen
from wiseft.images.store import open_arrays

SHOWN = 10
"""Problems of a split that are listed; the rest is counted."""


def verify(path: Path, deep: bool = False, threads: int = 1) -> None:
    """Check every stored file of a prepared dataset; image files by presence and size.

    Args:
        path: the manifest.
        deep: decode every image file too, and compare its hash with that of the last reading.
        threads: images decoded side by side.

    Raises:
        WiseftError: lists the files that are missing, changed or undecodable, by split.
    """
    manifest = open_manifest(path)
    problems = []
    for name, files in manifest.splits.items():
        if manifest.layout == "arrays":
            read_index(manifest, name)
            open_arrays(manifest, files)
            continue
        faults = list(_problems(manifest, name, deep, threads))
        if len(faults) > SHOWN:
            faults[SHOWN:] = [f"and {len(faults) - SHOWN:,} more"]
        problems += [f"{manifest.dataset}, split {name}: {fault}" for fault in faults]
    if problems:
        raise WiseftError(
            "\n".join([*problems, "Restore the files, or prepare the dataset again."])
        )
    for folder in sorted(path.parent.glob("cache-*")):
        verify_cache(manifest, folder)


def _problems(manifest: Manifest, split: str, deep: bool, threads: int) -> Iterator[str]:
    index = read_index(manifest, split)
    if manifest.root is None or not manifest.root.is_dir():
        yield f"the images' folder {manifest.root} is not there"
        return
    whole = []
    for relative, expected in zip(index["path"], index["bytes"], strict=True):
        file = manifest.root / relative
        size = file.stat().st_size if file.is_file() else None
        if size == expected:
            whole.append(file)
        else:
            now = "missing" if size is None else f"{size} bytes"
            yield f"{file} was indexed with {expected} bytes and is now {now}"
    if deep:
        with ThreadPoolExecutor(threads) as pool:
            yield from (problem for problem in pool.map(undecodable, whole) if problem)
        seen = Seen(manifest, split, index["path"].tolist())
        before, _ = seen.stored()["sha256"], seen.finish(keep=False)
        changed = before.any(axis=1) & (before != seen.rows["sha256"]).any(axis=1)
        for name in index["path"][changed]:
            known = f"(noted in {seen.path}; remove that to take the files as they are)"
            yield f"{manifest.root / name} has other bytes than when it was last read {known}"


def verify_cache(manifest: Manifest, folder: Path) -> None:
    """Check a cache against its hashes and, of splits of the manifest, against the images'.

    Raises:
        DamagedFile: it is not what was written, or images have changed since.
    """
    for split, stored in read_record(folder).items():
        seen = None
        if split in manifest.splits:
            seen = Seen(manifest, split, read_index(manifest, split)["path"].tolist())
        check_cached(folder, split, stored, seen)
