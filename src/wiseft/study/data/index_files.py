"""Preparing of a dataset of files: unpack, index, check, and write the manifest.

An index is kept with a record of all that it was made from, so that a dataset is scanned once:
adding a split, or naming another experiment, reads what is there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from wiseft.base.io import sha256_file, sha256_json, write_json
from wiseft.base.stages import VERSION
from wiseft.errors import DamagedFile, WiseftError
from wiseft.images.index import write_checked
from wiseft.images.manifest import write_manifest
from wiseft.images.split import HELD_OUT, PreparedSplit, take
from wiseft.images.subsets import draw_indices
from wiseft.study.config import DatasetEntry
from wiseft.study.config.layouts import check_options
from wiseft.study.data.fetching.entry_files import Fetched
from wiseft.study.data.layouts import Indexed, LayoutInputs, reader
from wiseft.study.data.prepared import check_counts, write_prepared
from wiseft.study.data.unpacking.unpack import unpack, unpack_nested_tars
from wiseft.thetas.damage import read_checked, with_sum

log = logging.getLogger(__name__)

PREVIEW_SEED = 0
"""Seed of the draw of a preview; the same samples for everybody."""


def prepare_files(
    entry: DatasetEntry,
    fetched: Fetched,
    manifest: Path,
    splits: Sequence[str],
    reference_ids: Sequence[str] | None = None,
) -> Path:
    """Unpack and index splits of a dataset and write its manifest.

    Splits that are indexed already, from the same files, are kept in the manifest. A preview is
    drawn from the images that are there; those of a whole dataset are counted.

    Args:
        entry: a dataset of files, or a preview of one.
        fetched: the dataset's files.
        splits: splits that are wanted.
        reference_ids: class ids of the label map's reference, where it goes by class ids.

    Raises:
        WiseftError: an archive is broken, files are missing or too many, or a class is unknown.
    """
    inputs = LayoutInputs(
        dataset=entry.name,
        root=_root(entry, fetched, manifest.parent / "files"),
        files={name: Path(path) for name, path in fetched.files.items()},
        splits=splits,
        options=check_options(entry.layout, entry.options),
        class_names=entry.display_names,
        class_ids=entry.ids,
        reference_ids=reference_ids,
    )
    log.info(f"{entry.name}: reading {inputs.root}")
    return _index(entry, inputs, manifest, dict(sorted(fetched.sha256.items())))


def _index(
    entry: DatasetEntry, inputs: LayoutInputs, manifest: Path, ids: Mapping[str, str]
) -> Path:
    """Index splits of a dataset and write its manifest.

    Args:
        ids: SHA-256 of each of its files.
    """
    folder = manifest.parent
    records = _Records(folder, _recipe(entry, inputs, ids))
    indexed = {split: record for split in entry.splits if (record := records.read(split))}
    missing = [split for split in inputs.splits if split not in indexed]
    if missing:
        content = _read(entry, replace(inputs, splits=missing))
        classes = _classes(entry, content, inputs)
        if isinstance(next(iter(content.splits.values())), PreparedSplit):
            return _write_arrays(entry, content, classes, manifest, ids)
        for name, split in content.splits.items():
            _count(entry, name, len(split.labels), entry.splits[name])
            files = write_checked(folder, entry.name, name, split, len(classes["class_names"]))
            indexed[name] = records.write(name, files, classes)
    first = next(iter(indexed))
    classes = indexed[first]["about"]
    for name, record in indexed.items():
        if record["about"] != classes:
            raise WiseftError(
                f"{entry.name}: split {name} has other classes than {first}; the files of the two "
                f"do not belong together. Delete {folder / name}, then prepare it again."
            )
    manifest.unlink(missing_ok=True)
    return write_manifest(
        manifest,
        dataset=entry.name,
        layout="image-folder",
        class_names=classes["class_names"],
        prompt_names=classes["prompt_names"],
        splits={name: indexed[name]["files"] for name in entry.splits if name in indexed},
        sources=[{"file": name, "sha256": digest} for name, digest in ids.items()],
        root=str(inputs.root.resolve()),
        optional=_optional(entry, classes["label_map"]),
    )


def _root(entry: DatasetEntry, fetched: Fetched, target: Path) -> Path:
    """Return the folder that the layout's paths are relative to, after unpacking."""
    base = Path(fetched.root) if fetched.root else target
    if fetched.root is None:
        for file in entry.files:
            if file.unpack and file.file in fetched.files:
                archive, sha256 = Path(fetched.files[file.file]), fetched.sha256[file.file]
                into = target / file.into if file.into else target
                if file.nested:
                    unpack_nested_tars(archive, into, sha256=sha256)
                else:
                    unpack(archive, into, sha256=sha256, password=file.password)
    inner = base / entry.top if entry.top else base
    return inner if inner.is_dir() else base


def _read(entry: DatasetEntry, inputs: LayoutInputs) -> Indexed:
    """Read splits of the layout, and draw the held-out samples."""
    draw = entry.held_out
    asked = list(dict.fromkeys(draw.of if draw and s == HELD_OUT else s for s in inputs.splits))
    indexed = reader(entry.layout)(replace(inputs, splits=asked))
    by_name: dict[str, Any] = dict(indexed.splits)
    if draw and draw.of in by_name:
        whole = by_name[draw.of]
        count = entry.splits[HELD_OUT]
        _count(entry, draw.of, len(whole.labels), entry.splits[draw.of] + count)
        chosen = draw_indices(len(whole.labels), count, draw.seed)
        by_name[draw.of] = take(whole, np.setdiff1d(np.arange(len(whole.labels)), chosen))
        by_name[HELD_OUT] = take(whole, chosen)
    ordered = {name: by_name[name] for name in entry.splits if name in by_name}
    if entry.limit is not None:
        ordered = {name: _preview(entry, name, split) for name, split in ordered.items()}
    return Indexed(ordered, indexed.class_names, indexed.label_map)


def _preview(entry: DatasetEntry, name: str, split: Any) -> Any:
    """Return the drawn samples of a split that is there whole or in part."""
    n = len(split.labels)
    _count(entry, name, n, entry.splits[name])
    return take(split, draw_indices(n, entry.splits[name], PREVIEW_SEED))


def _count(entry: DatasetEntry, split: str, n: int, expected: int) -> None:
    """Raise WiseftError unless a split has all its images or, for a preview, enough of them."""
    if entry.limit is None:
        try:
            check_counts(entry.name, {split: n}, {split: expected})
        except WiseftError as error:
            raise WiseftError(
                f"{error} If your folder holds a part on purpose, list {entry.name} under "
                f"`datasets.part` in config/config.yaml, and use a preview, {entry.name}-limit<N>."
            ) from None
    elif n < expected:
        raise WiseftError(
            f"{entry.name}: expected at least {expected} images in the folder of split {split}, "
            f"found {n}. Add images, or use a smaller preview, {entry.bare_name}-limit<N>."
        )


def _classes(entry: DatasetEntry, indexed: Indexed, inputs: LayoutInputs) -> dict[str, Any]:
    """Return class names and label map of the dataset, as they stand in its manifest."""
    names = [list(names) for names in indexed.class_names or entry.prompt_names]
    if len(names) != entry.class_count:
        raise WiseftError(
            f"dataset {entry.name}: expected {entry.class_count} classes, found {len(names)} in "
            f"{inputs.root}."
        )
    members = None
    if entry.label_map and entry.label_map.by == "class-ids":
        place = {name: label for label, name in enumerate(inputs.reference_ids or [])}
        if unknown := [name for name in entry.ids or [] if name not in place]:
            raise WiseftError(
                f"dataset {entry.name}: its class {unknown[0]} is none of "
                f"{entry.label_map.reference}'s, so that label_map cannot go by class-ids."
            )
        members = [[place[name]] for name in entry.ids or []]
    elif entry.label_map:
        members = [list(map(int, labels)) for labels in indexed.label_map or []]
        if len(members) != len(names):
            raise WiseftError(
                f"dataset {entry.name}: its mapping files cover {len(members)} classes, expected "
                f"{len(names)}."
            )
    return {"class_names": [item[0] for item in names], "prompt_names": names, "label_map": members}


def _optional(entry: DatasetEntry, members: list[list[int]] | None) -> dict[str, Any]:
    mapping = entry.label_map
    return {
        "class_ids": entry.ids,
        "label_map": mapping and {"reference": mapping.reference, "members": members},
        "border": entry.border,
        "limit": entry.limit,
        "borrowed": mapping.borrowed if mapping else {},
    }


def _write_arrays(
    entry: DatasetEntry,
    indexed: Indexed,
    classes: Mapping[str, Any],
    manifest: Path,
    ids: Mapping[str, str],
) -> Path:
    """Write a dataset whose layout gives arrays: all its splits, which are small."""
    splits = {n: s for n, s in indexed.splits.items() if isinstance(s, PreparedSplit)}
    return write_prepared(
        manifest.parent,
        entry.name,
        splits,
        classes["class_names"],
        prompt_names=classes["prompt_names"],
        sources=[{"file": name, "sha256": digest} for name, digest in ids.items()],
        expected={name: entry.splits[name] for name in splits},
        optional=_optional(entry, classes["label_map"]),
    )


def _recipe(entry: DatasetEntry, inputs: LayoutInputs, ids: Mapping[str, str]) -> dict[str, Any]:
    """Return what an index depends on; a split depends on its own files only."""
    keys = {"layout", "options", "class_names", "classes", "class_ids", "held_out", "label_map"}
    return {
        "stage_version": VERSION["data"],
        "dataset": entry.name,
        "entry": entry.model_dump(mode="json", include=keys),
        "root": str(inputs.root.resolve()),
        "reference_ids": sha256_json(list(inputs.reference_ids or [])),
        "files": {
            split: {f.file: ids.get(f.file) for f in entry.files_of(split)}
            for split in entry.splits
        },
    }


class _Records:
    """Records beside the indices: `<split>/index.json`."""

    def __init__(self, folder: Path, recipe: dict[str, Any]) -> None:
        self._folder, self._recipe = folder, recipe

    def read(self, split: str) -> dict[str, Any] | None:
        """Return the record of a split, if it was indexed from the same files: `files`, what the
        manifest says of it, and `about`, class names and label map."""
        path, index = self._folder / split / "index.json", self._folder / split / "index.parquet"
        if not path.is_file() or not index.is_file():
            return None
        try:
            record = read_checked(path, "record of an index")
        except DamagedFile:
            return None
        if record.get("recipe") != self._hash(split):
            return None
        return record if sha256_file(index) == record["files"]["sha256"]["index"] else None

    def write(
        self, split: str, files: Mapping[str, Any], classes: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Record a split that was indexed; return the record."""
        record = {"recipe": self._hash(split), "files": files, "about": classes}
        write_json(self._folder / split / "index.json", with_sum(record))
        return record

    def _hash(self, split: str) -> str:
        return sha256_json({**self._recipe, "files": self._recipe["files"][split]})
