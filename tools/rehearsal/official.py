"""Datasets' official archives, read a second time: images and classes by their authors' own rules.

Nothing here comes from wiseft, so that a mistake of its readers is not made twice.
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.io import loadmat

PASSWORD = b"objectnetisatestset"

Picture = bytes | np.ndarray
"""A file of an image, or its pixels (height, width), or (height, width, 3)."""
Members = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Labelled:
    """The images of a split in their official order.

    Attributes:
        labels: class of each.
        members: for each class the reference's classes that are right; empty: the same classes.
        border: pixels that are cut off on every side.
    """

    images: list[Picture]
    labels: list[int]
    members: Members = ()
    border: int = 0

    def taken(self, rows: Iterable[int]) -> Labelled:
        """Return some of the images."""
        rows = list(rows)
        images, labels = [self.images[row] for row in rows], [self.labels[row] for row in rows]
        return Labelled(images, labels, self.members, self.border)


Splits = dict[str, Labelled]


def files(archive: Path | bytes, password: bytes | None = None) -> dict[str, bytes]:
    """Return the files of a tar or zip archive by their names."""
    stream = io.BytesIO(archive if isinstance(archive, bytes) else archive.read_bytes())
    if zipfile.is_zipfile(stream):
        with zipfile.ZipFile(stream) as zipped:
            names = [name for name in zipped.namelist() if not name.endswith("/")]
            return {name: zipped.read(name, password) for name in names}
    stream.seek(0)
    with tarfile.open(fileobj=stream) as tar:
        members = [member for member in tar.getmembers() if member.isfile()]
        return {member.name: _content(tar, member) for member in members}


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    assert stream is not None
    return stream.read()


def _mat(content: bytes) -> dict[str, Any]:
    stream: Any = io.BytesIO(content)  # the stubs of scipy know paths alone
    found: dict[str, Any] = loadmat(stream, squeeze_me=True)
    return found


def _labelled(
    pairs: Iterable[tuple[Picture, int]], members: Members = (), border: int = 0
) -> Labelled:
    shown = list(pairs)
    return Labelled([image for image, _ in shown], [label for _, label in shown], members, border)


def _devkit(archives: Path) -> tuple[list[str], list[str]]:
    """Return the wnids of ImageNet's classes, sorted, and that of each validation image."""
    kit = files(archives / "imagenet" / "ILSVRC2012_devkit_t12.tar.gz")
    data = "ILSVRC2012_devkit_t12/data"
    synsets = _mat(kit[f"{data}/meta.mat"])["synsets"]
    wnids = {int(s["ILSVRC2012_ID"]): str(s["WNID"]) for s in synsets if not s["num_children"]}
    truth = kit[f"{data}/ILSVRC2012_validation_ground_truth.txt"].decode().split()
    return sorted(wnids.values()), [wnids[int(number)] for number in truth]


def imagenet(archives: Path) -> Splits:
    """Classes are the sorted wnids; those of validation images are told by the devkit's ids."""
    wnids, truth = _devkit(archives)
    label = {wnid: place for place, wnid in enumerate(wnids)}
    train = files(archives / "imagenet" / "ILSVRC2012_img_train.tar")
    val = files(archives / "imagenet" / "ILSVRC2012_img_val.tar")
    shown = [image for _, image in sorted(val.items())]
    return {
        "train": _labelled(
            (image, label[wnid])
            for wnid in wnids
            for _, image in sorted(files(train[f"{wnid}.tar"]).items())
        ),
        "test": _labelled(zip(shown, map(label.__getitem__, truth), strict=True)),
    }


def imagenet_v2(archives: Path) -> Splits:
    """Folders are called by the class."""
    images = files(archives / "imagenet-v2" / "imagenetv2-matched-frequency.tar.gz")
    return {"test": _labelled((image, int(name.split("/")[-2])) for name, image in images.items())}


def _by_wnid(name: str, archive: str) -> Callable[[Path], Splits]:
    """Return the reader of folders that are called by wnids: some of ImageNet's."""

    def read(archives: Path) -> Splits:
        wnids, _ = _devkit(archives)
        images = files(archives / name / archive)
        shown = [(path.split("/")[-2], image) for path, image in images.items()]
        shown = [(wnid, image) for wnid, image in shown if wnid in wnids]
        there = sorted({wnid for wnid, _ in shown})
        members = tuple((wnids.index(wnid),) for wnid in there)
        return {"test": _labelled(((i, there.index(w)) for w, i in shown), members=members)}

    return read


def objectnet(archives: Path) -> Splits:
    """Folders lead to names, names to lines of ImageNet's names, and these to its classes."""
    found = files(archives / "objectnet" / "objectnet-1.0.zip", PASSWORD)
    top = "objectnet-1.0/mappings"
    folders, overlap, lines = (
        json.loads(found[f"{top}/{name}.json"])
        for name in (
            "folder_to_objectnet_label",
            "objectnet_to_imagenet_1k",
            "pytorch_to_imagenet_2012_id",
        )
    )
    names = found[f"{top}/imagenet_to_label_2012_v2"].decode().split("\n")
    label = {names[line]: int(place) for place, line in lines.items()}
    known = {f: overlap[name].split("; ") for f, name in sorted(folders.items()) if name in overlap}
    members = tuple(tuple(label[name] for name in each) for each in known.values())
    shown = [
        (image, list(known).index(path.split("/")[-2]))
        for path, image in found.items()
        if "/images/" in path and path.split("/")[-2] in known
    ]
    return {"test": _labelled(shown, members=members, border=2)}


def dtd(archives: Path) -> Splits:
    """Partition 1: lists of `<class>/<file>`; classes are the sorted folders."""
    found = files(archives / "dtd" / "dtd-r1.0.1.tar.gz")
    classes = sorted({name.split("/")[-2] for name in found if "/images/" in name})
    lists = {"train": "train1", "held-out": "val1", "test": "test1"}
    return {
        split: _labelled(
            (found[f"dtd/images/{line}"], classes.index(line.split("/")[0]))
            for line in found[f"dtd/labels/{name}.txt"].decode().split()
        )
        for split, name in lists.items()
    }


def food101(archives: Path) -> Splits:
    """Lists of `<class>/<number>`; a file has the classes in their order."""
    found = files(archives / "food101" / "food-101.tar.gz")
    classes = found["food-101/meta/classes.txt"].decode().split()
    return {
        split: _labelled(
            (found[f"food-101/images/{line}.jpg"], classes.index(line.split("/")[0]))
            for line in found[f"food-101/meta/{split}.txt"].decode().split()
        )
        for split in ("train", "test")
    }


def sun397(archives: Path) -> Splits:
    """Partition 1: lists of `/<letter>/<class>/<file>`, where a class may have two parts."""
    images = files(archives / "sun397" / "SUN397.tar.gz")
    lists = files(archives / "sun397" / "Partitions.zip")
    classes = lists["ClassName.txt"].decode().split()
    return {
        split: _labelled(
            (images[f"SUN397{line}"], classes.index(line.rpartition("/")[0]))
            for line in lists[f"{name}_01.txt"].decode().split()
        )
        for split, name in (("train", "Training"), ("test", "Testing"))
    }


def cars(archives: Path) -> Splits:
    """Annotations count classes from 1; those of test images are a file of their own."""
    top = archives / "cars"
    kit = files(top / "car_devkit.tgz")
    tables = {
        "train": kit["devkit/cars_train_annos.mat"],
        "test": (top / "cars_test_annos_withlabels.mat").read_bytes(),
    }
    splits = {}
    for split, table in tables.items():
        images = files(top / f"cars_{split}.tgz")
        rows = _mat(table)["annotations"]
        splits[split] = _labelled(
            (images[f"cars_{split}/{row['fname']}"], int(row["class"]) - 1) for row in rows
        )
    return splits


def _records(content: bytes, labels: int) -> list[tuple[Picture, int]]:
    """Return images and labels of CIFAR's binary form: the last of so many labels counts."""
    rows = np.frombuffer(content, np.uint8).reshape(-1, labels + 3072)
    images = rows[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return list(zip(images, rows[:, labels - 1].tolist(), strict=True))


def cifar10(archives: Path) -> Splits:
    """Five files of training images, one of test images."""
    found = files(archives / "cifar10" / "cifar-10-binary.tar.gz")
    names = [f"data_batch_{number}" for number in range(1, 6)]
    train = b"".join(found[f"cifar-10-batches-bin/{name}.bin"] for name in names)
    test = found["cifar-10-batches-bin/test_batch.bin"]
    return {"train": _labelled(_records(train, 1)), "test": _labelled(_records(test, 1))}


def cifar100(archives: Path) -> Splits:
    """The coarse label comes first, the fine one second."""
    found = files(archives / "cifar100" / "cifar-100-binary.tar.gz")
    return {
        split: _labelled(_records(found[f"cifar-100-binary/{split}.bin"], 2))
        for split in ("train", "test")
    }


def cifar10_1(archives: Path) -> Splits:
    """Version 6."""
    images, labels = (
        np.load(archives / "cifar10.1" / f"cifar10.1_v6_{name}.npy") for name in ("data", "labels")
    )
    return {"test": _labelled(zip(images, labels.tolist(), strict=True))}


def cifar10_2(archives: Path) -> Splits:
    """One file of arrays."""
    with np.load(archives / "cifar10.2" / "cifar102_test.npz") as found:
        return {"test": _labelled(zip(found["images"], found["labels"].tolist(), strict=True))}


def fmow(archives: Path) -> Splits:
    """Splits go by the challenge's own and the year; classes are sorted."""
    found = files(archives / "fmow" / "fmow_v1.1.tar.gz")
    rows = pd.read_csv(io.BytesIO(found["fmow_v1.1/rgb_metadata.csv"]))
    label = rows["category"].astype("category").cat.codes
    split, year = rows["split"], rows["timestamp"].str[:4].astype(int)
    chosen = {
        "held-out": (split == "val") & (year < 2013),
        "id-test": (split == "test") & (year < 2013),
        "test": (split == "test") & (year > 2015),
    }
    images = [found[f"fmow_v1.1/images/rgb_img_{row}.png"] for row in rows.index]
    every = _labelled(zip(images, label.tolist(), strict=True))
    return {ours: every.taken(np.flatnonzero(rows_of)) for ours, rows_of in chosen.items()}


def iwildcam(archives: Path) -> Splits:
    """A table has splits and classes."""
    found = files(archives / "iwildcam" / "iwildcam_v2.0.tar.gz")
    rows = pd.read_csv(io.BytesIO(found["iwildcam_v2.0/metadata.csv"])).set_index("split")
    images = [found[f"iwildcam_v2.0/train/{name}"] for name in rows["filename"]]
    every = _labelled(zip(images, rows["y"].tolist(), strict=True))
    names = {"held-out": "id_val", "id-test": "id_test", "test": "test"}
    return {ours: every.taken(np.flatnonzero(rows.index == of)) for ours, of in names.items()}


def _frames(
    top: Path, prefix: str, folder: str, label: Mapping[str, int], borrowed: dict[int, int]
) -> Splits:
    """Return frames; of what places a class is made up a file tells, or it borrows one."""
    images = files(top / "imagenet_vid_ytbb_robust.tar.gz")
    told = json.loads((top / f"{prefix}_class_idx_map.json").read_text())
    owner = {int(place): of for place, of in told.items()} | borrowed
    each = range(max(label.values()) + 1)
    members = tuple(tuple(place for place in owner if owner[place] == of) for of in each)
    shown = [(images[f"imagenet_vid_ytbb_robust/{folder}/{a}"], n) for a, n in label.items()]
    return {"test": _labelled(shown, members)}


def vid_robust(archives: Path) -> Splits:
    """Anchors are the keys of the sets of frames; their first label counts."""
    top = archives / "vid-ytbb-robust"
    sets, labels = (json.loads((top / f"{n}.json").read_text()) for n in ("pmsets", "labels"))
    return _frames(top, "vid", "imagenet-vid-robust", {a: labels[a][0] for a in sets}, {})


def ytbb_robust(archives: Path) -> Splits:
    """Anchors that a reviewer calls good, of the class in YouTube-BoundingBoxes, whose `none` and
    `car` are exchanged. Four classes that ImageNet lacks borrow its first four places.
    """
    top = archives / "vid-ytbb-robust"
    rows = pd.read_csv(top / "ytbb_robustness_test_anchors_full.csv")
    videos = rows["ytid"] + "_" + rows["time_ms"].astype(str)
    label = dict(zip(videos, rows["label"].replace({22: 23, 23: 22}).tolist(), strict=True))
    marks = json.loads((top / "anchor_labels.json").read_text())
    good = marks["labels"].index("good")
    anchors = [row["key"] for row in marks["annotations"] if good in row["labels"]]
    of = {anchor: label[anchor.split("/")[0]] for anchor in anchors}
    return _frames(top, "ytbb", "ytbb-robust/ytbb_videos", of, {0: 6, 1: 8, 2: 14, 3: 18})


READERS: Mapping[str, Callable[[Path], Splits]] = {
    "imagenet": imagenet,
    "imagenet-v2": imagenet_v2,
    "imagenet-r": _by_wnid("imagenet-r", "imagenet-r.tar"),
    "imagenet-a": _by_wnid("imagenet-a", "imagenet-a.tar"),
    "imagenet-sketch": _by_wnid("imagenet-sketch", "ImageNet-Sketch.zip"),
    "objectnet": objectnet,
    "dtd": dtd,
    "food101": food101,
    "sun397": sun397,
    "cars": cars,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "cifar10.1": cifar10_1,
    "cifar10.2": cifar10_2,
    "fmow": fmow,
    "iwildcam": iwildcam,
    "imagenet-vid-robust": vid_robust,
    "ytbb-robust": ytbb_robust,
}
"""Who reads the archives of a dataset."""
