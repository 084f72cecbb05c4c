"""A few made-up images of every dataset, packed as its entry says that they come.

Each function writes the files of an entry into a folder and returns the label of every image of
each split, in the order of the official files; of a split that held-out images are drawn from, all.
Where the class names are published with the images (`class_names: files`), they are made up too.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tools.rehearsal import arrays, folders, maps
from tools.rehearsal.encrypted_zip import write_encrypted_zip
from tools.rehearsal.pictures import word

from wiseft.base.io import sha256_file
from wiseft.study.config import DatasetEntry
from wiseft.study.data.builders.digit_images import draw_indices
from wiseft.study.finetune.schedule import draw_half

TRAIN_IMAGES = 3
"""Images a class of a train split, held-out ones included."""
SHOTS = 2
"""Images of every class that a train split has at least, when held-out images are drawn from it."""
HELD_OUT = 64
"""Images that are held out at most."""

Labels = dict[str, Sequence[int]]


@dataclass(frozen=True)
class Made:
    """The labels of a dataset's images, and the options that its entry has then."""

    labels: Labels
    options: dict[str, Any] = field(default_factory=dict)


Write = Callable[[DatasetEntry, Path], Made]


def write_files(entry: DatasetEntry, folder: Path) -> Made:
    """Write all files of an entry into a folder.

    Raises:
        KeyError: if nobody has written a generator for the entry yet.
    """
    folder.mkdir(parents=True, exist_ok=True)
    work = folder / ".unpacked"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        return FORMS[entry.name](entry, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _made(*written: folders.Written) -> Made:
    return Made({split: list(of.values()) for each in written for split, of in each.splits.items()})


def _mapped(written: maps.Written, **options: Any) -> Made:
    labels: Labels = {split: list(of.values()) for split, of in written.labels.items()}
    return Made(labels, options)


def _names(count: int, form: str) -> list[str]:
    """Return made-up class names, sorted."""
    return sorted(form.format(word(label)) for label in range(count))


def halved(classes: int) -> list[int]:
    """Return how many images each class of a train split has, so that, when held-out images are
    drawn (seed 0), either half of the rest that runs of seed 0 train on has some of each class.
    """
    for total in itertools.count(classes * TRAIN_IMAGES):
        kept = np.setdiff1d(np.arange(total), draw_indices(total, HELD_OUT, 0))
        half = np.full(total, 0)  # of each image in the order of the files; 0: held out
        half[kept] = 2
        half[draw_half(kept, 1, 0)] = 1
        ends = [0]
        while len(ends) <= classes and ends[-1] < total:
            end = ends[-1] + SHOTS
            while end < total and not {1, 2} <= {*half[ends[-1] : end].tolist()}:
                end += 1
            ends.append(end)
        if len(ends) > classes and {1, 2} <= {*half[ends[-2] : total].tolist()}:
            return np.diff([*ends[:-1], total]).tolist()
    raise AssertionError


def _imagenet(entry: DatasetEntry, work: Path) -> Made:
    classes = entry.class_count
    train = folders.imagenet_train(work, halved(classes))
    folders.imagenet_train_tar(work.parent, train)
    test = folders.imagenet_val_flat(work, classes, 1)
    folders.pack(work / "val", work.parent / "ILSVRC2012_img_val.tar")
    kit = folders.devkit(work, test, classes)
    folders.pack(kit, work.parent / f"{kit.name}.tar.gz", kit.name)
    return _made(train, test)


def _packed(generate: Callable[[Path], folders.Written]) -> Write:
    """Return what packs all that a generator writes into the entry's only archive."""

    def write(entry: DatasetEntry, work: Path) -> Made:
        written = generate(work)
        folders.pack(work, work.parent / entry.files[0].file)
        return _made(written)

    return write


def _objectnet(entry: DatasetEntry, work: Path) -> Made:
    written = maps.objectnet_of(work, entry.display_names)
    members = {p.relative_to(work).as_posix(): p for p in sorted(work.rglob("*")) if p.is_file()}
    file = entry.files[0]
    assert file.password is not None
    content = {name: path.read_bytes() for name, path in members.items()}
    write_encrypted_zip(work.parent / file.file, content, file.password.encode())
    return _mapped(written)


def _sun397(entry: DatasetEntry, work: Path) -> Made:
    names = _names(entry.class_count, "s/scene_{}")
    names[1::3] = [f"{name}/outdoor" for name in names[1::3]]
    written = folders.sun397(work, TRAIN_IMAGES, 1, classes=names)
    folders.pack(work / "SUN397", work.parent / "SUN397.tar.gz", "SUN397")
    folders.pack(work / "Partitions", work.parent / "Partitions.zip")
    return _made(written)


def _cars(entry: DatasetEntry, work: Path) -> Made:
    classes = entry.class_count
    written = arrays.cars(work, TRAIN_IMAGES * classes, classes, classes)
    for folder, archive in (("cars_train",) * 2, ("cars_test",) * 2, ("devkit", "car_devkit")):
        folders.pack(work / folder, (work.parent / f"{archive}.tgz"), folder)
    (work / "cars_test_annos_withlabels.mat").rename(work.parent / "cars_test_annos_withlabels.mat")
    return Made({split: labels.tolist() for split, (_, labels) in written.items()})


def _cifar(generate: Callable[[Path, Sequence[str]], dict[str, arrays.Arrays]], top: str) -> Write:
    def write(entry: DatasetEntry, work: Path) -> Made:
        written = generate(work, entry.display_names)
        folders.pack(work / top, work.parent / entry.files[0].file, top)
        sums = {path.name: sha256_file(path) for path in sorted((work / top).glob("*.bin"))}
        known = {name: sums[name] for name in entry.options["sha256"]}
        return Made(_of_arrays(written), {"sha256": known})

    return write


def _plain(generate: Callable[[Path], dict[str, arrays.Arrays]]) -> Write:
    """Return what writes arrays as they are published, in no archive."""

    def write(entry: DatasetEntry, work: Path) -> Made:
        return Made(_of_arrays(generate(work.parent)))

    return write


def _of_arrays(written: Mapping[str, arrays.Arrays]) -> Labels:
    return {split: labels.tolist() for split, (_, labels) in written.items()}


def _fmow(entry: DatasetEntry, work: Path) -> Made:
    names = entry.display_names
    written = maps.fmow(work, names, maps.fmow_rows(names, TRAIN_IMAGES))
    folders.pack(work, work.parent / entry.files[0].file)
    return _mapped(written)


def _iwildcam(entry: DatasetEntry, work: Path) -> Made:
    written = maps.iwildcam_of(work, entry.class_count, TRAIN_IMAGES)
    (work / "labels.csv").rename(work.parent / "labels.csv")
    folders.pack(work, work.parent / entry.files[0].file)
    return _mapped(written)


def _videos(entry: DatasetEntry, work: Path) -> Made:
    """Write the metadata of one of the two datasets of videos, and the archive of both."""
    generators = {"imagenet-vid-robust": maps.vid_robust_of, "ytbb-robust": maps.ytbb_robust_of}
    written = {name: generate(work / name) for name, generate in generators.items()}
    for file in entry.files[1:]:
        (work / entry.name / file.file).rename(work.parent / file.file)
    archive = work.parent / entry.files[0].file
    if not archive.exists():  # the entry of the other one pins it
        for name in generators:
            shutil.copytree(work / name / str(entry.top), work / "both", dirs_exist_ok=True)
        folders.pack(work / "both", archive, str(entry.top))
    made = written[entry.name]
    return _mapped(made, anchors=len(made.labels["test"]) // maps.FRAMES)


FORMS: dict[str, Write] = {
    "imagenet": _imagenet,
    "imagenet-v2": _packed(lambda root: folders.imagenet_v2(root, 1000, 1)),
    "imagenet-r": _packed(folders.imagenet_r),
    "imagenet-sketch": _packed(lambda root: folders.imagenet_sketch(root, 1000, 1)),
    "imagenet-a": _packed(folders.imagenet_a),
    "objectnet": _objectnet,
    "imagenet-vid-robust": _videos,
    "ytbb-robust": _videos,
    "cifar10": _cifar(lambda root, _: arrays.cifar10_binary(root, 100), "cifar-10-batches-bin"),
    "cifar100": _cifar(lambda *to: arrays.cifar100_binary(to[0], 200, to[1]), "cifar-100-binary"),
    "cifar10.1": _plain(lambda root: arrays.cifar10_1(root, n=200)),
    "cifar10.1-v4": _plain(lambda root: arrays.cifar10_1(root, "v4", 200)),
    "cifar10.2": _plain(lambda root: arrays.cifar10_2(root, 200)),
    "cars": _cars,
    "dtd": _packed(lambda root: folders.dtd(root, TRAIN_IMAGES, _names(47, "texture-{}"))),
    "food101": _packed(lambda root: folders.food101(root, TRAIN_IMAGES, 1, _names(101, "dish_{}"))),
    "sun397": _sun397,
    "fmow": _fmow,
    "iwildcam": _iwildcam,
}
"""Who writes the files of a dataset, by its name."""
