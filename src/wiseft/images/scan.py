"""Scanning of folders for image files: names and sizes only, no image is opened."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wiseft.errors import WiseftError

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
UNREAD = {".avif", ".heic", ".heif", ".jxl", ".jp2"}
"""Of images that are not read: to leave them out unseen would be another set of images."""


log = logging.getLogger(__name__)

THREADS = 8
"""Folders that are scanned side by side where the file system is slow."""
PROBED = 8
"""Folders that are scanned first, one after the other, to find out whether it is."""
SLOW = 5e-5
"""Seconds a file from which on scanning waits for the file system, as it does over a network;
faster, threads would only contend for the interpreter."""
IGNORED_FOLDERS = {"__MACOSX", "@eaDir"}
"""What archivers and storage appliances put beside images."""

Images = list[tuple[str, int]]
"""Path relative to the root with forward slashes, and size in bytes, of each image."""

Refuse = Callable[[WiseftError], None]


def is_image(name: str) -> bool:
    """Return whether a file name ends in the suffix of an image format."""
    return f".{name.rpartition('.')[2].lower()}" in EXTENSIONS


def subfolders(folder: Path) -> list[str]:
    """Return the names of the visible folders in a folder, sorted; links to folders count."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if _visible(entry.name) and _is_folder(entry))


def image_names(folder: Path) -> list[str]:
    """Return the names of the images in a folder, without those in its folders, sorted."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    return sorted(name for name in names if is_image(name) and _visible(name))


def scan_folders(
    root: Path, folders: Sequence[str], broken: list[str] | None = None
) -> list[Images]:
    """Return the images below each of several folders of the root, sorted by path.

    Hidden files, and files that are no images, are left out; the latter are counted in the log.
    Links to folders are followed, except those that lead back to a folder around them.

    Args:
        folders: relative to the root, with forward slashes; `.` is the root itself.
        broken: takes a sentence for every image that is left out, in place of an error.

    Raises:
        WiseftError: an image is empty, a link to nothing or of a format that is not read, or a
            name is not valid text.
    """

    def refuse(error: WiseftError) -> None:
        if broken is None:
            raise error from None
        broken.append(str(error))

    start = time.perf_counter()
    results = [_scan(root, folder, refuse) for folder in folders[:PROBED]]
    files = sum(len(images) + skipped for images, skipped in results)
    slow = time.perf_counter() - start > SLOW * max(files, 1)
    with ThreadPoolExecutor(THREADS if slow else 1) as pool:
        results += pool.map(lambda folder: _scan(root, folder, refuse), folders[PROBED:])
    others = sum(skipped for _, skipped in results)
    if others:
        log.debug("%s: %d files that are no images are left out", root, others)
    return [images for images, _ in results]


def file_sizes(
    root: Path, paths: Iterable[str], sources: Iterable[str], broken: list[str] | None = None
) -> NDArray[np.int64]:
    """Return the sizes in bytes of image files, int64 (n,).

    Args:
        paths: relative to the root.
        sources: for each path what lists it, for messages.
        broken: takes a sentence for every file that is missing or empty, whose size is 0 then.

    Raises:
        WiseftError: names the first file that is missing or empty, and what lists it.
    """
    sizes = []
    for path, source in zip(paths, sources, strict=True):
        file = f"{root}{os.sep}{path}"
        try:
            size = os.stat(file).st_size  # noqa: PTH116 -- a Path for each of a million is slow
            fault = None if size else _empty(file)
        except (FileNotFoundError, NotADirectoryError):
            size = 0
            fault = WiseftError(
                f"{source} lists {file}, which is not there; the images are incomplete or of "
                "another version. Unpack them again."
            )
        if fault and broken is None:
            raise fault from None
        if fault and broken is not None:
            broken.append(str(fault))
        sizes.append(size)
    return np.asarray(sizes, dtype=np.int64)


def below(path: str, source: str) -> str:
    """Return a listed path, relative and with forward slashes, without a slash at its start.

    Raises:
        WiseftError: if it is empty or leads out of its folder.
    """
    clean = path.strip().replace("\\", "/").strip("/").removeprefix("./")
    if not clean or ".." in clean.split("/"):
        raise WiseftError(
            f"{source}: expected a path below the images' folder, found `{path}`. Correct it."
        )
    return clean


def check_distinct(listed: Iterable[tuple[str, str]]) -> None:
    """Raise WiseftError if a path is listed twice.

    Args:
        listed: each path, and what lists it, for messages.
    """
    seen: dict[str, str] = {}
    for path, source in listed:
        if path in seen:
            raise WiseftError(
                f"{source} lists {path} a second time (first {seen[path]}). Remove one."
            )
        seen[path] = source


def _visible(name: str) -> bool:
    return not name.startswith(".") and name not in IGNORED_FOLDERS


def _scan(root: Path, folder: str, refuse: Refuse) -> tuple[Images, int]:
    start = root / folder
    images: Images = []
    prefix = "" if folder == "." else f"{folder}/"
    skipped = _walk(str(start), prefix, frozenset({os.path.realpath(start)}), images, refuse)
    images.sort()
    for path, _ in images:
        try:
            path.encode()
        except UnicodeEncodeError:
            raise WiseftError(
                f"{os.fsencode(root / path)!r}: the name is not valid UTF-8, so that it cannot be "
                "indexed. Rename the file."
            ) from None
    return images, skipped


def _walk(folder: str, prefix: str, around: frozenset[str], images: Images, refuse: Refuse) -> int:
    """Append the images below a folder; return how many other files there are.

    Args:
        around: real paths of the linked folders around this one, and of the start.
    """
    others = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if not _visible(name):
                continue
            if not _is_folder(entry):
                if is_image(name):
                    try:
                        images.append((prefix + name, _size(entry)))
                    except WiseftError as error:
                        refuse(error)
                elif Path(name).suffix.lower() in UNREAD:
                    refuse(_unread(entry.path))
                else:
                    others += 1
            elif not entry.is_symlink():
                others += _walk(entry.path, f"{prefix}{name}/", around, images, refuse)
            elif not _leads_back(real := os.path.realpath(entry.path), folder, around):
                others += _walk(entry.path, f"{prefix}{name}/", around | {real}, images, refuse)
    return others


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _leads_back(real: str, folder: str, around: frozenset[str]) -> bool:
    return real in around or f"{os.path.realpath(folder)}{os.sep}".startswith(f"{real}{os.sep}")


def _size(entry: os.DirEntry[str]) -> int:
    try:
        size = entry.stat().st_size
    except OSError:
        raise WiseftError(
            f"{entry.path} is a link to nothing, expected an image. Restore what it points to."
        ) from None
    if size == 0:
        raise _empty(entry.path)
    return size


def _unread(path: str) -> WiseftError:
    return WiseftError(
        f"{path} is of a format that is not read; convert it to PNG or JPEG, or move it away."
    )


def _empty(path: str) -> WiseftError:
    return WiseftError(
        f"{path} is empty (0 bytes), expected an image; unpacking or copying was interrupted. "
        "Unpack it again."
    )
