"""Datasets of image files, generated small in their official layouts.

Each function writes below a root what the official archives unpack to, with the same names of
folders and files, and returns what it wrote. `pack` makes archives of it.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.io import savemat
from tools.rehearsal.pictures import SIZE, picture

from wiseft.base import library

TEXTURES = ("banded", "blotchy", "braided", "polka-dotted")
DISHES = ("apple_pie", "baby_back_ribs", "baklava", "beef_carpaccio")
SCENES = ("a/abbey", "a/apartment_building/outdoor", "b/bakery/shop", "z/zoo")


@dataclass
class Written:
    """What a generator wrote.

    Attributes:
        splits: label of every image by its path relative to the root, in the expected order.
        class_names: names in label order, where the files tell them.
    """

    root: Path
    splits: dict[str, dict[str, int]] = field(default_factory=dict)
    class_names: list[str] | None = None

    def show(self, path: str, label: int, of: str, look: str, size: tuple[int, int] = SIZE) -> None:
        """Draw an image of a class in the look of `<dataset>/<split>`, and note its label."""
        picture(self.root / path, of, look, size)
        self.splits[look.rpartition("/")[2]][path] = label


def wnids(count: int = 12, name: str = "imagenet") -> list[str]:
    """Return the first wnids of a class set."""
    return list(library.class_ids(name)[:count])


def _shows(label: int, name: str = "imagenet") -> str:
    """Return the name of a class of a class set, which its pictures show."""
    return library.class_names(name)[label]


def imagenet_train(root: Path, counts: Sequence[int] = (3,) * 12) -> Written:
    """ILSVRC2012_img_train.tar after both levels: train/<wnid>/<wnid>_<n>.JPEG, so many a class."""
    written = Written(root, {"train": {}})
    for label, wnid in enumerate(wnids(len(counts))):
        for number in range(counts[label]):
            path = f"train/{wnid}/{wnid}_{100 + 7 * number}.JPEG"
            written.show(path, label, _shows(label), "imagenet/train", (SIZE[0] + number, SIZE[1]))
    return written


def imagenet_val_flat(
    root: Path, classes: int = 12, per_class: int = 2, folder: str = "val"
) -> Written:
    """ILSVRC2012_img_val.tar: all images in one folder, classes mixed."""
    written = Written(root, {"test": {}})
    order = np.random.default_rng(5).permutation(np.repeat(np.arange(classes), per_class))
    for number, label in enumerate(order.tolist(), start=1):
        path = f"{folder}/ILSVRC2012_val_{number:08d}.JPEG"
        written.show(path, label, _shows(label), "imagenet/test")
    return written


def devkit(root: Path, written: Written, classes: int = 12, folder: str = ".") -> Path:
    """ILSVRC2012_devkit_t12 of flat validation images. ILSVRC's ids are not in the order of the
    wnids, and groups of classes have ids behind those of the classes.
    """
    ids = wnids(classes)
    ilsvrc = (np.random.default_rng(6).permutation(classes) + 1).tolist()  # id by sorted place
    rows = [(number, wnid, 0) for number, wnid in zip(ilsvrc, ids, strict=True)]
    rows = [*sorted(rows), (classes + 1, "n00001740", classes)]
    fields = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children"]
    synsets = np.zeros((len(rows), 1), dtype=[(name, object) for name in fields])
    for row, (number, wnid, children) in enumerate(rows):
        below = np.arange(1, children + 1, dtype=float)
        synsets[row, 0] = (float(number), wnid, f"words {wnid}", "gloss", float(children), below)
    kit = root / folder / "ILSVRC2012_devkit_t12"
    (kit / "data").mkdir(parents=True)
    (kit / "readme.txt").write_text("ILSVRC2012 development kit\n")
    savemat(kit / "data" / "meta.mat", {"synsets": synsets})
    truth = "".join(f"{ilsvrc[label]}\n" for label in written.splits["test"].values())
    (kit / "data" / "ILSVRC2012_validation_ground_truth.txt").write_text(truth)
    return kit


def imagenet_v2(root: Path, classes: int = 12, per_class: int = 3) -> Written:
    """imagenetv2-matched-frequency.tar.gz: folders called by the label, 0 to 999."""
    written = Written(root, {"test": {}})
    base = "imagenetv2-matched-frequency-format-val"
    for label in range(classes):
        names = sorted(
            hashlib.sha1(f"{label} {number}".encode()).hexdigest() for number in range(per_class)
        )
        for name in names:
            path = f"{base}/{label}/{name}.jpeg"
            written.show(path, label, _shows(label), "imagenet-v2/test")
    return written


def imagenet_r(root: Path, classes: int = 200) -> Written:
    """imagenet-r.tar: a README beside the folders, and as many images a class as there are."""
    written = Written(root, {"test": {}})
    for label, wnid in enumerate(wnids(classes, "imagenet-r")):
        for number in range(1 + label % 2):
            path = f"imagenet-r/{wnid}/{('art', 'tattoo')[number]}_{number}.jpg"
            written.show(path, label, _shows(label, "imagenet-r"), "imagenet-r/test")
    (root / "imagenet-r" / "README.txt").write_text("ImageNet-R\n")
    return written


def imagenet_a(root: Path, classes: int = 200) -> Written:
    """imagenet-a.tar: names with spaces."""
    written = Written(root, {"test": {}})
    for label, wnid in enumerate(wnids(classes, "imagenet-a")):
        path = f"imagenet-a/{wnid}/0.000116_digital clock _ digital clock_0.865{label:03d}.jpg"
        written.show(path, label, _shows(label, "imagenet-a"), "imagenet-a/test")
    (root / "imagenet-a" / "README.txt").write_text("ImageNet-A\n")
    return written


def imagenet_sketch(root: Path, classes: int = 12, per_class: int = 3) -> Written:
    """ImageNet-Sketch.zip: some classes have more images than the others."""
    written = Written(root, {"test": {}})
    for label, wnid in enumerate(wnids(classes)):
        for number in range(per_class + (label == 4)):
            path = f"sketch/{wnid}/sketch_{number}.JPEG"
            written.show(path, label, _shows(label), "imagenet-sketch/test")
    return written


def dtd(root: Path, per_class: int = 2, classes: Sequence[str] = TEXTURES) -> Written:
    """dtd-r1.0.1.tar.gz: ten partitions, of which two are written."""
    splits = {"train": "train1", "held-out": "val1", "test": "test1"}
    written = Written(root, {split: {} for split in splits}, list(classes))
    lists: dict[str, list[str]] = {name: [] for name in splits.values()}
    for label, texture in enumerate(classes):
        for number in range(len(splits) * per_class):
            split = list(splits)[number % len(splits)]
            name = f"{texture}/{texture}_{number + 1:04d}.jpg"
            written.show(f"dtd/images/{name}", label, texture, f"dtd/{split}")
            lists[splits[split]].append(name)
    labels = root / "dtd" / "labels"
    labels.mkdir()
    for name, lines in lists.items():
        (labels / f"{name}.txt").write_text("\n".join(lines) + "\n")
        (labels / f"{name[:-1]}2.txt").write_text("\n".join(reversed(lines)) + "\n")
    return written


def food101(root: Path, train: int = 3, test: int = 1, classes: Sequence[str] = DISHES) -> Written:
    """food-101.tar.gz: lists without the suffix of the images."""
    written = Written(root, {"train": {}, "test": {}}, [name.replace("_", " ") for name in classes])
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for label, dish in enumerate(classes):
        for number in range(train + test):
            split = "train" if number < train else "test"
            name = f"{dish}/{1005649 + 13 * number + label}"
            written.show(f"food-101/images/{name}.jpg", label, dish, f"food101/{split}")
            lists[split].append(name)
    meta = root / "food-101" / "meta"
    meta.mkdir()
    (meta / "classes.txt").write_text("\n".join(classes) + "\n")
    (meta / "labels.txt").write_text(
        "\n".join(name.replace("_", " ").capitalize() for name in classes) + "\n"
    )
    for split, lines in lists.items():
        (meta / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return written


def sun397(
    root: Path,
    train: int = 2,
    test: int = 2,
    unused: int = 1,
    images: str = "SUN397",
    classes: Sequence[str] = SCENES,
) -> Written:
    """SUN397.tar.gz and Partitions.zip: listed paths begin with a slash; some images are in no
    list.
    """
    names = [scene.partition("/")[2].replace("/", " ").replace("_", " ") for scene in classes]
    written = Written(root, {"train": {}, "test": {}}, names)
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for label, scene in enumerate(classes):
        for number in range(train + test + unused):
            name = f"{scene}/sun_{'abcdefgh'[number]}{label:04d}.jpg"
            split = "train" if number < train else "test"
            picture(root / images / name, names[label], f"sun397/{split}")
            if number < train + test:
                lists[split].append(f"/{name}")
                written.splits[split][f"{images}/{name}"] = label
    partitions = root / "Partitions"
    partitions.mkdir()
    (partitions / "ClassName.txt").write_text("\n".join(f"/{scene}" for scene in classes) + "\n")
    for split, name in (("train", "Training"), ("test", "Testing")):
        (partitions / f"{name}_01.txt").write_bytes("\r\n".join(lists[split]).encode() + b"\r\n")
        (partitions / f"{name}_02.txt").write_text("\n".join(reversed(lists[split])))
    return written


def pack(folder: Path, archive: Path, inside: str = "", remove: bool = False) -> Path:
    """Pack what is in a folder into a .tar, .tar.gz or .zip.

    Args:
        inside: folder in the archive; empty: none.
        remove: whether to remove the files afterwards.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [(Path(inside) / path.relative_to(folder)).as_posix() for path in files]
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            for path, name in zip(files, names, strict=True):
                zipped.write(path, name)
    else:
        with tarfile.open(archive, "w:gz" if archive.suffix == ".gz" else "w") as tar:
            for path, name in zip(files, names, strict=True):
                tar.add(path, name)
    if remove:
        for path in files:
            path.unlink()
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir()
        folder.rmdir()
    return archive


def imagenet_train_tar(root: Path, written: Written) -> Path:
    """ILSVRC2012_img_train.tar: a tar of a tar for each class."""
    path = root / "ILSVRC2012_img_train.tar"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as outer:
        for folder in sorted((written.root / "train").iterdir()):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w") as inner:
                for image in sorted(folder.iterdir()):
                    inner.add(image, image.name)
            member = tarfile.TarInfo(f"{folder.name}.tar")
            member.size = buffer.tell()
            buffer.seek(0)
            outer.addfile(member, buffer)
    return path
