"""Small datasets in the official formats of the CIFAR family and Stanford Cars.

They are written independently of the readers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.io import savemat
from tools.rehearsal.pictures import picture, pixels, word

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer"]
CIFAR10 += ["dog", "frog", "horse", "ship", "truck"]
FINE = [f"fine_{k}" for k in range(100)]

Arrays = tuple[np.ndarray, np.ndarray]
"""Images uint8 (n, 32, 32, 3) and labels (n,) from 0."""


TEN = 8.0
"""Times the usual that pictures of ten classes stray: they would all be told apart else."""


def random_arrays(n: int, names: Sequence[str], seed: int, look: str = "") -> Arrays:
    """Pictures of classes; the labels go through the names in a shuffled order."""
    times = TEN if len(names) == 10 else 1.0
    labels = np.random.default_rng(seed).permutation(np.arange(n) % len(names))
    images = [
        pixels(names[label], look, str(row), (32, 32), times) for row, label in enumerate(labels)
    ]
    return np.stack(images), labels


def record(image: np.ndarray, *labels: int) -> bytes:
    """A record as the format's description has it: labels, then the red, green and blue plane."""
    planes = b"".join(bytes(image[:, :, channel].ravel().tolist()) for channel in range(3))
    return bytes(labels) + planes


def cifar10_arrays(per_file: int = 10) -> dict[str, Arrays]:
    """What all forms of CIFAR-10 hold: five training files and a test file."""
    return {
        "train": random_arrays(5 * per_file, CIFAR10, 1, "cifar10/train"),
        "test": random_arrays(per_file, CIFAR10, 2, "cifar10/test"),
    }


def cifar10_binary(root: Path, per_file: int = 10) -> dict[str, Arrays]:
    """`cifar-10-batches-bin/`, as cifar-10-binary.tar.gz unpacks."""
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    arrays = cifar10_arrays(per_file)
    for name, images, labels in batches(arrays, per_file):
        records = [record(image, int(label)) for image, label in zip(images, labels, strict=True)]
        (folder / f"{name}.bin").write_bytes(b"".join(records))
    (folder / "batches.meta.txt").write_text("\n".join(CIFAR10) + "\n\n")
    (folder / "readme.html").write_text("<html></html>")
    return arrays


def batches(arrays: dict[str, Arrays], per_file: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return name, images and labels of each of CIFAR-10's files."""
    images, labels = arrays["train"]
    parts = [slice(start, start + per_file) for start in range(0, len(labels), per_file)]
    train = [(f"data_batch_{k}", images[part], labels[part]) for k, part in enumerate(parts, 1)]
    return [*train, ("test_batch", *arrays["test"])]


def cifar100_binary(root: Path, n: int = 100, names: Sequence[str] = FINE) -> dict[str, Arrays]:
    """`cifar-100-binary/`: the coarse label comes first, the fine one (here returned) second."""
    folder = root / "cifar-100-binary"
    folder.mkdir(parents=True)
    arrays = {
        "train": random_arrays(2 * n, names, 3, "cifar100/train"),
        "test": random_arrays(n, names, 4, "cifar100/test"),
    }
    for split, (images, labels) in arrays.items():
        records = [
            record(image, int(label) % 20, int(label))
            for image, label in zip(images, labels, strict=True)
        ]
        (folder / f"{split}.bin").write_bytes(b"".join(records))
    (folder / "fine_label_names.txt").write_text("\n".join(names))
    (folder / "coarse_label_names.txt").write_text("\n".join(f"coarse_{k}" for k in range(20)))
    return arrays


def cifar10_1(root: Path, version: str = "v6", n: int = 20) -> dict[str, Arrays]:
    """The two .npy of a version of CIFAR-10.1; labels are int32."""
    root.mkdir(parents=True, exist_ok=True)
    images, labels = random_arrays(n, CIFAR10, 5, f"cifar10.1-{version}/test")
    np.save(root / f"cifar10.1_{version}_data.npy", images)
    np.save(root / f"cifar10.1_{version}_labels.npy", labels.astype(np.int32))
    return {"test": (images, labels)}


def cifar10_2(root: Path, n: int = 20) -> dict[str, Arrays]:
    """The .npz of CIFAR-10.2 with its five arrays; labels are int64."""
    root.mkdir(parents=True, exist_ok=True)
    images, labels = random_arrays(n, CIFAR10, 6, "cifar10.2/test")
    np.savez(
        root / "cifar102_test.npz",
        images=images,
        labels=labels.astype(np.int64),
        label_names=np.array(CIFAR10),
        ti_indices=np.arange(n),
        keywords=np.array([f"keyword_{index}" for index in range(n)]),
    )
    return {"test": (images, labels)}


def cars(
    root: Path, train: int = 12, test: int = 8, classes: int = 196
) -> dict[str, tuple[list[str], np.ndarray]]:
    """Stanford Cars: the devkit, the test labels and the two image folders.

    Returns:
        File names and labels (from 0) of each split, in the order of the annotations.
    """
    for folder in ("devkit", "cars_train", "cars_test"):
        (root / folder).mkdir(parents=True)
    names = np.array([[f"{word(n).title()} {1900 + n}" for n in range(classes)]], object)
    savemat(root / "devkit/cars_meta.mat", {"class_names": names})
    written = {}
    for split, n in (("train", train), ("test", test)):
        files = [f"{index:05d}.jpg" for index in range(1, n + 1)]
        labels = np.random.default_rng(n).permutation(np.arange(n) % classes)
        for place, label in enumerate([classes - 1, 0][:n]):
            there = np.flatnonzero(labels == label)
            labels[there[:1]] = labels[place]
            labels[place] = label
        for index, file in enumerate(files):
            path = root / f"cars_{split}" / file
            picture(path, names[0, labels[index]], f"cars/{split}", (24, 16))
        written[split] = (files, labels)
        if split == "train":
            save_annotations(root / "devkit/cars_train_annos.mat", files, labels + 1)
        else:
            save_annotations(root / "devkit/cars_test_annos.mat", files, None)
            save_annotations(root / "cars_test_annos_withlabels.mat", files, labels + 1)
    return written


def save_annotations(path: Path, files: list[str], classes: np.ndarray | None) -> None:
    """A struct array `annotations` (1, n); `classes` count from 1."""
    fields = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"]
    fields += ["fname"] if classes is None else ["class", "fname"]
    table = np.empty((1, len(files)), [(field, object) for field in fields])
    for index, file in enumerate(files):
        box = [np.uint16(number) for number in (3, 4, 17, 15)]
        label = [] if classes is None else [np.int32(classes[index])]
        table[0, index] = (*box, *label, file)
    savemat(path, {"annotations": table})
