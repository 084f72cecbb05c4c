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
    """Options of a builder. Each builder has its own."""

    model_config = ConfigDict(extra="allow")


class ImagenetOptions(Entry):
    """ImageNet-1k as distributed, or in a common arrangement: splits `train` and `test`."""

    train: Places = ["train", "ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train"]
    """Possible places of the training class folders."""
    val: Places = ["val_in_folder", "val", "ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val"]
    """Possible places of the validation images: class folders, or one flat folder with the
    development kit or a list of wnids beside the images."""


class PathListOptions(Entry):
    """Text files that list the images of a split, one path per line. The folder is the class."""

    lists: dict[Name, Places]
    """Lists of each split; all are read."""
    images: Places = ["."]
    """Folder to which the listed paths are relative."""
    suffix: str = ""
    """Suffix to append to each listed path, such as `.jpg`."""
    classes: str | None = None
    """File that lists the class folders in label order. null: sorted by name."""


class CsvOptions(Entry):
    """A table with one row per image."""

    file: str
    """The CSV file."""
    path: str
    """Column with the image's path."""
    label: str
    """Column with the label: a class name, class id or number."""
    split: str | None = None
    """Column with the split. null: there is only one split."""
    splits: dict[Name, list[str]] = {}
    """Values of that column for each split. Default: the split's name."""
    images: Places = ["."]
    """Folder to which the paths are relative."""
    groups: dict[Name, str] = {}
    """Columns to keep as group metadata, by name."""


class WildsOptions(Entry):
    """A dataset of WILDS with its metadata."""

    dataset: Literal["fmow", "iwildcam"]
    """Name of the dataset."""


class VideoAnchorsOptions(Entry):
    """Anchor frames of videos with their neighbours (Shankar et al.)."""

    dataset: Literal["imagenet-vid-robust", "ytbb-robust"]
    """Name of the dataset."""
    anchors: Count
    """Exact number of anchors: the denominator of pm-0."""
    images: Places
    """Folder to which the frames' keys are relative."""


class ArrayFilesOptions(Entry):
    """NumPy arrays: `.npy`, or `.npz` with a key. Pickled content is never loaded."""

    images: dict[Name, str]
    """Each split's images, uint8 (n, H, W, 3): `file.npy` or `file.npz:key`."""
    labels: dict[Name, str]
    """Each split's labels, integers (n,) from 0, in the same form."""
    classes: str | None = None
    """Array of the class names in label order, which is compared with the entry's. null: the files
    have none."""


class CifarOptions(Entry):
    """CIFAR's binary version: records of one or two label bytes and 3072 pixels."""

    folder: Places = ["."]
    """Folder of the binary files."""
    files: dict[Name, Places]
    """Binary files of each split; all are read."""
    label_bytes: Literal[1, 2] = 1
    """Number of label bytes in a record. The last one is the label."""
    sha256: dict[str, Sha256] = {}
    """SHA-256 of the binary files, by name. Other content is refused."""
    sheets: str | None = None
    """Package of PNG sheets (`file` of a `stand_in`) from which missing binary files are
    rebuilt."""

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
    """Folder that holds the class folders."""
    mappings: Places = ["mappings"]
    """Folder that holds the mapping files."""


class HuggingFaceOptions(Entry):
    """A Hugging Face dataset in image-folder form: `<split>/` with class folders or a
    metadata.csv, metadata.jsonl or metadata.parquet (columns `file_name` and a label)."""

    folders: dict[Name, Places] = {}
    """Folder of each split. Default: its name (or another of Hugging Face's names for it), also
    below `data`, or the root if there is only one split."""
    label: str = "label"
    """Column of the metadata with the label: a class name, class id or number."""


class WebdatasetOptions(Entry):
    """Tar shards, each unpacked to a folder of its own. Files of one sample have the same name up
    to the first dot. List `0.tar` under `files` with `into: test/0`."""

    shards: dict[Name, str]
    """Glob pattern of each split's shards, such as `test/*.tar`. The unpacked folders are read."""
    label: str = "cls"
    """Extension of the file that holds the label: a class name, class id or number."""
    classes: str | None = None
    """Text file with one class name per line. null: the class names of the entry."""


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
