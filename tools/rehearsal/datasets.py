"""A few made-up images of every dataset, packed as its entry says that they come.

Each function writes the files of an entry into a folder and returns the label of every image of
each split, in the order of the official files; of a split that held-out images are drawn from, all.
Where the class names are published with the images (`class_names: files`), they are made up too.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.rehearsal import folders, maps
from tools.rehearsal.encrypted_zip import write_encrypted_zip

from wiseft.config import DatasetEntry

TRAIN_IMAGES = 3
"""Images a class of a train split, held-out ones included."""

Labels = dict[str, Sequence[int]]
Write = Callable[[DatasetEntry, Path], Labels]


def write_files(entry: DatasetEntry, folder: Path) -> Labels:
    """Write all files of an entry into a folder.

    Raises:
        KeyError: if nobody has written a generator for the entry yet.
    """
    folder.mkdir(parents=True, exist_ok=True)
    work = folder / ".unpacked"
    shutil.rmtree(work, ignore_errors=True)
    try:
        return FORMS[entry.name](entry, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _labels(*written: folders.Written) -> Labels:
    return {split: list(of.values()) for each in written for split, of in each.splits.items()}


def _imagenet(entry: DatasetEntry, work: Path) -> Labels:
    classes = entry.class_count
    train = folders.imagenet_train(work, classes, TRAIN_IMAGES)
    folders.imagenet_train_tar(work.parent, train)
    test = folders.imagenet_val_flat(work, classes, 1)
    folders.pack(work / "val", work.parent / "ILSVRC2012_img_val.tar")
    kit = folders.devkit(work, test, classes)
    folders.pack(kit, work.parent / f"{kit.name}.tar.gz", kit.name)
    return _labels(train, test)


def _packed(generate: Callable[[Path], folders.Written]) -> Write:
    """Return what packs all that a generator writes into the entry's only archive."""

    def write(entry: DatasetEntry, work: Path) -> Labels:
        written = generate(work)
        folders.pack(work, work.parent / entry.files[0].file)
        return _labels(written)

    return write


def _objectnet(entry: DatasetEntry, work: Path) -> Labels:
    written = maps.objectnet_of(work, entry.display_names)
    members = {p.relative_to(work).as_posix(): p for p in sorted(work.rglob("*")) if p.is_file()}
    file = entry.files[0]
    assert file.password is not None
    content = {name: path.read_bytes() for name, path in members.items()}
    write_encrypted_zip(work.parent / file.file, content, file.password.encode())
    return {split: list(labels.values()) for split, labels in written.labels.items()}


FORMS: dict[str, Write] = {
    "imagenet": _imagenet,
    "imagenet-v2": _packed(lambda root: folders.imagenet_v2(root, 1000, 1)),
    "imagenet-r": _packed(folders.imagenet_r),
    "imagenet-sketch": _packed(lambda root: folders.imagenet_sketch(root, 1000, 1)),
    "imagenet-a": _packed(folders.imagenet_a),
    "objectnet": _objectnet,
}
"""Who writes the files of a dataset, by its name."""
