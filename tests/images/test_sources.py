"""Images as they lie: every form gives the accuracy that is counted without this program."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tests.evaluate.conftest import CLASSES, blobs, tiny_header, tiny_tensors
from torchvision.datasets import ImageFolder

from wiseft.errors import WiseftError
from wiseft.evaluate.score import Score, score_folder
from wiseft.images.sources import find
from wiseft.models.classifier import build_classifier
from wiseft.thetas.theta import save_theta

N = 12
SHUFFLED = ["two", "zero", "three", "one"]
"""The order of the names in the sources: not that of the head."""


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """Class folders, 12 images of each of the head's classes."""
    root = tmp_path_factory.mktemp("images")
    for place, name in enumerate(CLASSES):
        (root / name).mkdir()
        for number, image in enumerate(blobs(N, place)):
            Image.fromarray(image).save(root / name / f"{number:02}.png")
    return root


@pytest.fixture(scope="session")
def expected(images) -> dict[str, tuple[int, int]]:
    """Images and right ones by class, counted with torch and torchvision's ImageFolder."""
    data = ImageFolder(str(images))
    model = build_classifier(tiny_header(), tiny_tensors(1))
    counts = {name: [0, 0] for name in CLASSES}
    for image, label in data:
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        with torch.no_grad():
            predicted = CLASSES[int(model(pixels).argmax())]
        name = data.classes[label]
        counts[name][0] += 1
        counts[name][1] += predicted == name
    assert 0 < sum(right for _, right in counts.values()) < 4 * N
    return {name: (n, right) for name, (n, right) in counts.items()}


@pytest.fixture
def theta(tmp_path: Path) -> Path:
    save_theta(tmp_path / "theta.safetensors", tiny_tensors(1), tiny_header())
    return tmp_path / "theta.safetensors"


def rows(images: Path) -> list[tuple[Path, str]]:
    """Return the images and their classes, in an order that is none of path or class."""
    every = sorted(images.rglob("*.png"), key=lambda path: (path.name, path.parent.name[::-1]))
    return [(path, path.parent.name) for path in every]


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


# ----------------------------------------------------------------------------------- every form


def csv_names(root: Path, images: Path) -> Path:
    shutil.copytree(images, root / "pictures")
    table = [(f"pictures/{p.relative_to(images)}", name.upper()) for p, name in rows(images)]
    pd.DataFrame(table, columns=["file_name", "class"]).to_csv(root / "t.csv", index=False)
    return root / "t.csv"


def csv_absolute_numbers(root: Path, images: Path) -> Path:
    table = [(str(path), CLASSES.index(name)) for path, name in rows(images)]
    pd.DataFrame(table, columns=["path", "label"]).to_csv(root / "t.csv", index=False)
    return root / "t.csv"


def tsv_up(root: Path, images: Path) -> Path:
    shutil.copytree(images, root / "pictures")
    (root / "lists").mkdir()
    table = [(f"../pictures/{p.relative_to(images)}", name) for p, name in rows(images)]
    frame = pd.DataFrame(table, columns=["image", "label"])
    frame.to_csv(root / "lists" / "t.tsv", index=False, sep="\t")
    return root / "lists" / "t.tsv"


def jsonl_numbers(root: Path, images: Path) -> Path:
    lines = [json.dumps({"image": str(p), "label": CLASSES.index(name)}) for p, name in rows(images)]
    (root / "t.jsonl").write_text("\n".join(lines))
    return root / "t.jsonl"


def parquet_paths(root: Path, images: Path) -> Path:
    table = [(str(path), float(CLASSES.index(name))) for path, name in rows(images)]
    pd.DataFrame(table, columns=["path", "target"]).to_parquet(root / "t.parquet")
    return root / "t.parquet"


def parquet_bytes(root: Path, images: Path) -> Path:
    table = [(path.read_bytes(), name) for path, name in rows(images)]
    pd.DataFrame(table, columns=["image", "label"]).to_parquet(root / "t.parquet")
    return root / "t.parquet"


def hub_table(some: list[tuple[Path, str]], names: list[str]) -> pa.Table:
    """Return a table as the Hub has it: a struct of bytes and path, and ClassLabel."""
    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": names},
    }
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = [{"bytes": path.read_bytes(), "path": path.name} for path, _ in some]
    labels = pa.array([names.index(name) for _, name in some], pa.int64())
    table = pa.table({"id": range(len(some)), "image": pa.array(images, struct), "label": labels})
    return table.replace_schema_metadata(about)


def hub_parquet(root: Path, images: Path) -> Path:
    """A repository of a dataset: shards of two splits, several row groups each."""
    (root / "repo" / "data").mkdir(parents=True)
    every = rows(images)
    for name, some in (("test", every), ("train", every[:7])):
        for shard, part in enumerate((some[:20], some[20:])):
            file = root / "repo" / "data" / f"{name}-{shard:05}-of-00002.parquet"
            pq.write_table(hub_table(part, SHUFFLED), file, row_group_size=3)
    return root / "repo"


def saved_dataset(root: Path, images: Path) -> Path:
    """`DatasetDict.save_to_disk`, written by pyarrow."""
    for split, some in (("validation", rows(images)), ("train", rows(images)[:9])):
        folder = root / "saved" / split
        folder.mkdir(parents=True)
        table = hub_table(some, SHUFFLED)
        names = [f"data-{k:05}-of-00002.arrow" for k in range(2)]
        for name, part in zip(names, (table.slice(0, 8), table.slice(8)), strict=True):
            with pa.OSFile(str(folder / name), "wb") as sink:
                with pa.ipc.new_stream(sink, table.schema) as writer:
                    writer.write_table(part, max_chunksize=5)
        state = {"_data_files": [{"filename": name} for name in names], "_split": split}
        (folder / "state.json").write_text(json.dumps(state))
        (folder / "dataset_info.json").write_text("{}")
    (root / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    return Path(f"{root / 'saved'}:validation")


def tars(root: Path, images: Path) -> str:
    """Shards as webdataset writes them; labels are numbers in the head's order."""
    every = rows(images)
    for shard in range(3):
        with tarfile.open(root / f"shard-{shard:03}.tar", "w") as tar:
            for k, (path, name) in enumerate(every[shard::3]):
                add(tar, f"a/{k:04}.PNG", path.read_bytes())
                add(tar, f"a/{k:04}.cls", str(CLASSES.index(name)).encode())
                add(tar, f"a/{k:04}.json", b'{"width": 32}')
    return str(root / "shard-{000..002}.tar")


def tars_of_clip_benchmark(root: Path, images: Path) -> Path:
    """Its folders: `<split>/<n>.tar` and the names beside them, in another order."""
    for split, every in (("test", rows(images)), ("train", rows(images)[:5])):
        (root / "wds" / split).mkdir(parents=True)
        with tarfile.open(root / "wds" / split / "0.tar", "w") as tar:
            for k, (path, name) in enumerate(every):
                add(tar, f"s{k:07}.cls", str(SHUFFLED.index(name)).encode())
                add(tar, f"s{k:07}.webp.png", path.read_bytes())
    (root / "wds" / "classnames.txt").write_text("\n".join(SHUFFLED))
    return root / "wds"


def tar_gz_json(root: Path, images: Path) -> Path:
    with tarfile.open(root / "one.tar.gz", "w:gz") as tar:
        for k, (path, name) in enumerate(rows(images)):
            add(tar, f"./{k}.txt", b"a photo")
            add(tar, f"./{k}.png", path.read_bytes())
            add(tar, f"./{k}.json", json.dumps({"key": k, "label": name}).encode())
    return root / "one.tar.gz"


def metadata_folder(root: Path, images: Path) -> Path:
    """An imagefolder of the Hub with metadata.csv in the folder of its split."""
    for split in ("test", "train"):
        shutil.copytree(images, root / "folder" / split)
        table = [(str(p.relative_to(images)), name) for p, name in rows(images)]
        frame = pd.DataFrame(table[: N if split == "train" else None])
        frame.to_csv(root / "folder" / split / "metadata.csv", index=False, header=["file_name", "label"])
    return root / "folder"


def split_column(root: Path, images: Path) -> Path:
    table = [(str(path), name, "test") for path, name in rows(images)]
    table[3:3] = [(path, "one", "train") for path, *_ in table]
    frame = pd.DataFrame(table, columns=["path", "label", "split"])
    frame.to_csv(root / "t.csv", index=False)
    return root / "t.csv"


def folder_of_splits(root: Path, images: Path) -> Path:
    shutil.copytree(images, root / "root" / "val")
    (root / "root" / "train" / "one").mkdir(parents=True)
    return Path(f"{root / 'root'}:val")


FORMS: list[Callable[[Path, Path], Any]] = [
    csv_names,
    csv_absolute_numbers,
    tsv_up,
    jsonl_numbers,
    parquet_paths,
    parquet_bytes,
    hub_parquet,
    saved_dataset,
    tars,
    tars_of_clip_benchmark,
    tar_gz_json,
    metadata_folder,
    split_column,
    folder_of_splits,
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_gives_the_accuracy(form, tmp_path, images, expected, theta):
    (tmp_path / "data").mkdir()
    found = score_folder(theta, form(tmp_path / "data", images))
    assert found.classes == expected
