"""Indexing of a user's own images, without an entry of the catalogue."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np

from wiseft.base import library
from wiseft.base.provenance import cores
from wiseft.errors import WiseftError
from wiseft.images.decode import undecodable
from wiseft.images.folder_options import ImageFolderOptions
from wiseft.images.image_folder import of_images, read
from wiseft.images.index import write_checked
from wiseft.images.manifest import write_manifest
from wiseft.images.scan import check_distinct, file_sizes, scan_folders
from wiseft.images.sources import Source
from wiseft.images.split import HELD_OUT, FolderSplit, LayoutInputs, take


def index_folder(
    folder: Path,
    manifest: Path,
    dataset: str,
    splits: Sequence[str] = ("test",),
    class_names: Sequence[Sequence[str]] | None = None,
    places: Mapping[str, str] | None = None,
    halve: int | None = None,
    *,
    broken: list[str] | None = None,
    limit: int | None = None,
) -> Path:
    """Index images of a folder without an entry: ``<class>/`` or ``<split>/<class>/``.

    Labels follow the sorted names of the class folders.

    Args:
        class_names: for each class the names to prompt; None: the names of the folders, of wnids
            OpenAI's.
        places: folder of a split where it is called otherwise.
        halve: seed by which the one split becomes two halves, `held-out` and itself, class by
            class; None: it stays whole.
        broken: takes a sentence for every file that can't be read as an image, which is then left
            out; to find them every image is decoded. None: nothing is decoded.
        limit: index so many images of each split, drawn at random by seed 0; None: all.

    Raises:
        WiseftError: the folder, a split or images are missing, class folders differ between
            splits, or there are more or fewer than class names.
    """
    if not folder.is_dir():
        raise WiseftError(f"expected a folder of class folders, found nothing at {folder}.")
    options = ImageFolderOptions(folders={k: [v] for k, v in (places or {}).items()})
    indexed = read(LayoutInputs(dataset, folder, {}, splits, options, broken=broken))
    found = cast(dict[str, FolderSplit], indexed.splits)
    folders = indexed.class_names or []
    wnids = library.names_by_id("imagenet")
    names = class_names or [[wnids.get(own[0], own[0])] for own in folders]
    if len(names) != len(folders):
        raise WiseftError(f"{folder}: expected {len(names)} class folders, found {len(folders)}.")
    return _write(folder, manifest, dataset, found, names, halve, broken, limit)


def _write(
    folder: Path,
    manifest: Path,
    dataset: str,
    splits: dict[str, FolderSplit],
    names: Sequence[Sequence[str]],
    halve: int | None,
    broken: list[str] | None,
    limit: int | None,
) -> Path:
    """Draw, leave out what is broken, halve and write; return the path of the manifest.

    The last three as in `index_folder`.
    """
    if limit is not None:
        splits = {name: _drawn(split, limit) for name, split in splits.items()}
    if broken is not None:
        splits = {name: _readable(split, folder, broken) for name, split in splits.items()}
    if halve is not None:
        ((name, whole),) = splits.items()
        splits = _halves(whole, name, halve)
    return write_manifest(
        manifest,
        dataset=dataset,
        layout="image-folder",
        class_names=[item[0] for item in names],
        prompt_names=names,
        splits={
            name: write_checked(manifest.parent, dataset, name, split, len(names))
            for name, split in splits.items()
        },
        root=str(folder.resolve()),
    )


def _drawn(split: FolderSplit, limit: int) -> FolderSplit:
    """Return so many images of a split in their order, or all where there are fewer."""
    rows = np.random.default_rng(0).permutation(len(split.labels))[:limit]
    return take(split, np.sort(rows))


def _halves(split: FolderSplit, name: str, seed: int) -> dict[str, FolderSplit]:
    """Return two halves of a split, class by class; of an odd number the larger is `name`."""
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(split.labels == k)) for k in np.unique(split.labels)]
    held_out = np.concatenate([rows[: len(rows) // 2] for rows in drawn])
    rest = np.concatenate([rows[len(rows) // 2 :] for rows in drawn])
    return {HELD_OUT: take(split, np.sort(held_out)), name: take(split, np.sort(rest))}


def index_source(
    sources: Mapping[str, Source],
    manifest: Path,
    dataset: str,
    names: Sequence[Sequence[str]],
    halve: int | None = None,
    *,
    broken: list[str] | None = None,
    limit: int | None = None,
) -> Path:
    """Index images as they lie, of one form; see `index_folder`. Those inside other files are
    written beside the manifest, into `images/`.

    Args:
        sources: of each split, of equal classes.
        names: the names of each class; of images without labels those of the head that sees them.
        halve: only of one split.

    Raises:
        WiseftError: an image is not there or is listed twice, a class or a split has none, or the
            splits have other classes.
    """
    first, *more = sources.values()
    if first.folder is not None and first.classes is None:
        (images,) = scan_folders(first.folder, ["."], broken)
        found = {next(iter(sources)): of_images([images], [0])}  # every label is 0 and means none
        return _write(first.folder, manifest, dataset, found, names, halve, broken, limit)
    if first.folder is not None:
        places = {split: each.folder.name for split, each in sources.items() if each.folder}
        at, where = (first.folder.parent, places) if more else (first.folder, {})
        given = at, manifest, dataset, [*sources], names, where, halve
        return index_folder(*given, broken=broken, limit=limit)
    if other := [each for each in more if each.classes != first.classes]:
        raise WiseftError(f"{other[0].where} has other classes than {first.where}")
    into = (manifest.parent / "images").resolve()
    paths = {name: source.files(into / name) for name, source in sources.items()}
    if sum(map(len, paths.values())) > len(set(chain(*paths.values()))):
        named = (source.row(k) for n, source in sources.items() for k in range(len(paths[n])))
        check_distinct(zip(chain(*paths.values()), named, strict=True))
    ends = [end(each) for each in paths.values() if each for end in (min, max)]
    folders = [folder for source in sources.values() for folder in source.folders or [str(into)]]
    root = os.path.commonpath([*folders, *ends])
    found = {}
    for name, source in sources.items():
        relative = [path[len(root) :].lstrip("/") for path in paths.pop(name)]
        rows = map(source.row, range(len(relative)))
        sizes = file_sizes(Path(root), relative, rows, broken)
        labels = np.zeros(len(sizes), np.int64) if source.labels is None else source.labels
        found[name] = take(FolderSplit(relative, labels, sizes), np.flatnonzero(sizes))
    return _write(Path(root), manifest, dataset, found, names, halve, broken, limit)


def _readable(split: FolderSplit, folder: Path, broken: list[str]) -> FolderSplit:
    """Return a split without the images that can't be read."""
    with ThreadPoolExecutor(cores()) as pool:
        faults = list(pool.map(undecodable, [folder / path for path in split.paths]))
    whole = np.flatnonzero([fault is None for fault in faults])
    broken += filter(None, faults)
    if lost := sorted(set(split.labels.tolist()) - set(split.labels[whole].tolist())):
        first = split.paths[int(np.flatnonzero(split.labels == lost[0])[0])]
        raise WiseftError(
            f"no image of the class of {folder / first} can be read; replace them, or move the "
            "class's folder away"
        )
    return take(split, whole)
