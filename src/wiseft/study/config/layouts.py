"""Layouts: in which form a dataset's files lie, and the options that each layout takes.

`options` of a dataset entry is checked against the model of its layout. A layout is read by the
module of the same name in `wiseft.study.data.layouts`. Paths are relative to the dataset's root,
the folder its archives are unpacked to (or the user's own). Where several are listed, the first
that is there is taken, because one dataset lies in folders of different names on different disks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import ConfigDict

from wiseft.base.typed import Count, Entry, Name, Sha256
from wiseft.images.folder_options import ImageFolderOptions, Places


class BuilderOptions(Entry):
    """Options of a builder: each builder knows its own."""

    model_config = ConfigDict(extra="allow")


class ImagenetOptions(Entry):
    """ImageNet-1k as it is distributed, or as people keep it: splits `train` and `test`."""

    train: Places = ["train", "ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train"]
    """Places of the training class folders."""
    val: Places = ["val_in_folder", "val", "ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val"]
    """Places of the validation images: class folders, or flat, with the development kit or a list
    of wnids beside them."""


class PathListOptions(Entry):
    """Text files that list the images of a split, a path a line; the class is the folder."""

    lists: dict[Name, Places]
    """Lists of each split, all of them are read."""
    images: Places = ["."]
    """Folder that the listed paths are relative to."""
    suffix: str = ""
    """What is put behind each listed path, such as `.jpg`."""
    classes: str | None = None
    """List of the class folders in label order; null: sorted."""


class CsvOptions(Entry):
    """A table with a row an image."""

    file: str
    """The CSV file."""
    path: str
    """Column of the image's path."""
    label: str
    """Column of the label: a class name, class id or number."""
    split: str | None = None
    """Column of the split; null: one split only."""
    splits: dict[Name, list[str]] = {}
    """Values of that column for each split; default: the split's name."""
    images: Places = ["."]
    """Folder that the paths are relative to."""
    groups: dict[Name, str] = {}
    """Columns kept as group metadata, by name."""


class WildsOptions(Entry):
    """A dataset of WILDS with its metadata."""

    dataset: Literal["fmow", "iwildcam"]
    """Which of them."""


class VideoAnchorsOptions(Entry):
    """Anchor frames of videos with their neighbours (Shankar et al.)."""

    dataset: Literal["imagenet-vid-robust", "ytbb-robust"]
    """Which of them."""
    anchors: Count
    """Exact number of anchors: the denominator of pm-0."""
    images: Places
    """Folder that the frames' keys are relative to."""


class ArrayFilesOptions(Entry):
    """NumPy arrays: `.npy`, or `.npz` with a key. Pickled content is never loaded."""

    images: dict[Name, str]
    """Each split's images, uint8 (n, H, W, 3): `file.npy` or `file.npz:key`."""
    labels: dict[Name, str]
    """Each split's labels, integers (n,) from 0, in the same form."""
    classes: str | None = None
    """Array of the class names in label order, compared with the entry's; null: the files have
    none."""


class CifarOptions(Entry):
    """CIFAR's binary version: records of one or two label bytes and 3072 pixels."""

    folder: Places = ["."]
    """Folder of the binary files."""
    files: dict[Name, Places]
    """Binary files of each split, all are read."""
    label_bytes: Literal[1, 2] = 1
    """Label bytes of a record; the last one is the label."""
    sha256: dict[str, Sha256] = {}
    """SHA-256 of the binary files, by name; any other content is refused."""
    sheets: str | None = None
    """Package of PNG sheets that the binary files are rebuilt from where there are none: `file` of
    a `stand_in`."""

    def _conflicts(self) -> Iterator[str]:
        listed = {name for names in self.files.values() for name in names}
        if unknown := sorted(set(self.sha256) - listed):
            yield f"sha256 has {unknown[0]}, but `files` lists no such file"


class MatOptions(Entry):
    """Stanford Cars: MATLAB annotations with 1-based labels."""

    annotations: dict[Name, Places]
    """Annotation file of each split (struct array `annotations`)."""
    images: dict[Name, Places]
    """Image folder of each split."""
    classes: Places
    """MATLAB file with the class names (`class_names`)."""


class ObjectnetOptions(Entry):
    """ObjectNet: class folders, with mappings to ImageNet's classes."""

    images: Places = ["images"]
    """Folder of the class folders."""
    mappings: Places = ["mappings"]
    """Folder of the mapping files."""


class HuggingFaceOptions(Entry):
    """A Hugging Face dataset in image-folder form: `<split>/` with class folders or a
    metadata.csv, metadata.jsonl or metadata.parquet (columns `file_name` and a label)."""

    folders: dict[Name, Places] = {}
    """Folder of each split; default: its name (or another of Hugging Face's words for it), below
    `data` too, or the root itself where there is only one split."""
    label: str = "label"
    """Label column of the metadata: a class name, class id or number."""


class WebdatasetOptions(Entry):
    """Tar shards, each unpacked to a folder of its name: the files of one sample share a name up
    to the first dot. List `0.tar` under `files` with `into: test/0`."""

    shards: dict[Name, str]
    """Glob pattern of each split's shards, such as `test/*.tar`; the folders they are unpacked to
    are read."""
    label: str = "cls"
    """Extension of the file that holds the label: a class name, class id or number."""
    classes: str | None = None
    """Text file with a class name a line; null: those of the entry."""


LAYOUTS: dict[str, type[Entry]] = {
    "arrays": BuilderOptions,
    "image-folder": ImageFolderOptions,
    "imagenet": ImagenetOptions,
    "path-list": PathListOptions,
    "csv": CsvOptions,
    "wilds": WildsOptions,
    "video-anchors": VideoAnchorsOptions,
    "array-files": ArrayFilesOptions,
    "cifar": CifarOptions,
    "mat": MatOptions,
    "objectnet": ObjectnetOptions,
    "hugging-face": HuggingFaceOptions,
    "webdataset": WebdatasetOptions,
}
"""Options of each layout, by the layout's name."""


def check_options(layout: str, options: dict[str, Any]) -> Entry:
    """Return the typed options of a layout. Raises pydantic's ValidationError."""
    return LAYOUTS[layout].model_validate(options)
