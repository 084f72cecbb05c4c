"""The manifest of a prepared dataset, `datasets/<name>/manifest.json`: its only reader and writer.

It holds ``{"format": 1, "stage_version", "dataset", "layout", "class_names", "prompt_names",
"image_size": 32|null, "splits": {split: {"n", "images": "test/images.npy"|null, "index",
"sha256": {...}}}, "sources", "root": null|"/user/folder", "sha256"}``. Absent while empty:
`class_ids`, `label_map` (``{"reference", "members"}``), `border` (pixels cropped first), `limit`,
`borrowed`. `images.npy` is uint8 (n, H, W, 3). `index.parquet` has `sample_id` (unique), `base_id`,
`label` (int64), optional `group_<name>` and `other_labels` (further right labels), and `path` and
`bytes` of image files.

Keys that only some datasets have are written only where they have a value, so that a dataset
without them keeps its manifest, and its identity, byte for byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Any

from pydantic.dataclasses import dataclass

from wiseft.base.io import json_text, sha256_json, write_json
from wiseft.base.stages import VERSION
from wiseft.base.validation import validate
from wiseft.errors import DamagedFile, StaleArtifact, WiseftError
from wiseft.thetas.damage import damage_of, read_checked, with_sum

FORMAT = 1
NAME = "manifest.json"
_OPTIONAL = ("class_ids", "label_map", "border", "limit", "borrowed")


@dataclass(frozen=True)
class SplitFiles:
    """What the manifest says of one split; paths are relative to the manifest's folder."""

    n: int
    images: str | None
    index: str
    sha256: Mapping[str, str]


@dataclass(frozen=True)
class LabelMapping:
    """Which classes of a reference make up each class of the dataset.

    Attributes:
        reference: name of the reference dataset.
        members: for each class the labels of its classes in the reference, maybe none.
    """

    reference: str
    members: list[list[int]]


@dataclass(frozen=True)
class Manifest:
    """A prepared dataset's ``manifest.json``.

    Attributes:
        path: the manifest file.
        class_names: display names in label order.
        prompt_names: for each class every name that is prompted, the display name first.
        image_size: side in pixels of stored images; None for image folders.
        root: folder of an image folder's files; None for arrays.
        sha256: of the manifest file as it is without the sum in it: trained weights name it, and
            manifests of before have none.
        class_ids: ids of the classes, such as wnids; None for none.
        label_map: how a reference's classes make up the dataset's; None for the same classes.
        border: pixels to crop off every side of an image file before anything else.
        limit: samples a split of a preview; None for a whole dataset.
        borrowed: labels of the label map's reference that stand for classes without any there, by
            name: only images of the dataset itself are seen so.
    """

    path: Path
    dataset: str
    layout: str
    class_names: list[str]
    prompt_names: list[list[str]]
    image_size: int | None
    splits: dict[str, SplitFiles]
    sources: list[dict[str, Any]]
    root: Path | None
    sha256: str
    class_ids: list[str] | None = None
    label_map: LabelMapping | None = None
    border: int = 0
    limit: int | None = None
    borrowed: dict[str, int] = field(default_factory=dict)

    @property
    def members(self) -> list[list[int]]:
        """For each class its classes in the label map's reference, a borrowed one included."""
        own = self.label_map.members if self.label_map else []
        lent = ([self.borrowed[n]] if n in self.borrowed else [] for n in self.class_names)
        return [[*places, *more] for places, more in zip(own, lent, strict=False)]

    def identity(self, splits: Iterable[str]) -> str:
        """Return a hash of all that results on these splits depend on, save a model's own settings.

        Where the files lie and which other splits are there does not matter.

        Raises:
            WiseftError: if a split is not there.
        """
        content = {
            "stage_version": VERSION["data"],
            "dataset": self.dataset,
            "class_names": self.class_names,
            "label_map": asdict(self.label_map) if self.label_map else None,
            "border": self.border,
            **({"borrowed": self.borrowed} if self.borrowed else {}),
            "splits": {name: dict(self.split_files(name).sha256) for name in sorted(splits)},
        }
        return sha256_json(content)

    def split_files(self, split: str) -> SplitFiles:
        """Return the files of a split. Raises WiseftError if it is not there."""
        if split not in self.splits:
            raise WiseftError(
                f"dataset {self.dataset} has no split '{split}' in {self.path}; it has: "
                f"{', '.join(self.splits)}."
            )
        return self.splits[split]


def write_manifest(
    path: Path,
    *,
    dataset: str,
    layout: str,
    class_names: Sequence[str],
    prompt_names: Sequence[Sequence[str]] | None = None,
    splits: Mapping[str, Mapping[str, Any]],
    sources: Sequence[Mapping[str, Any]] = (),
    image_size: int | None = None,
    root: str | None = None,
    optional: Mapping[str, Any] | None = None,
) -> Path:
    """Write a manifest atomically and return its path.

    Args:
        prompt_names: None: the class names.
        optional: what `_OPTIONAL` lists; without empty values.
    """
    prompted = prompt_names if prompt_names is not None else [[name] for name in class_names]
    record = {
        "format": FORMAT,
        "stage_version": VERSION["data"],
        "class_names": list(class_names),
        "prompt_names": [list(names) for names in prompted],
        "sources": [dict(source) for source in sources],
        "dataset": dataset,
        "layout": layout,
        "image_size": image_size,
        "splits": {name: dict(files) for name, files in splits.items()},
        "root": root,
        **{key: value for key, value in (optional or {}).items() if value},
    }
    write_json(path, with_sum(record))
    return path


def write_changed(path: Path, like: Manifest, **changes: Any) -> Path:
    """Write a manifest as another one, but for changes, as `write_manifest` takes them."""
    record = asdict(like) | {"root": str(like.root) if like.root else None}
    optional = {key: record.pop(key) for key in _OPTIONAL} | changes.pop("optional", {})
    del record["path"], record["sha256"]
    return write_manifest(path, **record | changes, optional=optional)


def open_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        WiseftError: the file is missing.
        DamagedFile: it is not a manifest or has another format.
        StaleArtifact: it was written by another version of the data stage.
    """
    record = read_checked(path, "the dataset manifest")
    if record.get("format") != FORMAT:
        raise DamagedFile(f"{path}: expected a dataset manifest of format {FORMAT}", path)
    if record.get("stage_version") != VERSION["data"]:
        raise StaleArtifact(
            f"{path} was written by version {record.get('stage_version')} of the data stage, "
            f"this is version {VERSION['data']}. Delete it and prepare the dataset again."
        )
    about = {"path": path, "sha256": hashlib.sha256(json_text(record).encode()).hexdigest()}
    with damage_of(path):
        return validate(Manifest, record | about, f"{path}, the manifest")
