"""Twelve forms that people have images in, each with images of its own, written by its library."""

from __future__ import annotations

import importlib
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tests.random_models import blobs

CLASSES = ["bird", "number", "paper", "tail"]
HEAD = ["paper", "tail", "bird", "number"]
"""The classes in the order of heads, which is not that of folders."""
NUMBERS = dict(zip("0123", HEAD, strict=True))
"""What bare numbers mean, in the form that `--class-names` takes."""


@dataclass(frozen=True)
class Row:
    """An image as it lies in a file, and its class."""

    content: bytes
    suffix: str
    name: str

    @property
    def image(self) -> Image.Image:
        return Image.open(io.BytesIO(self.content)).convert("RGB")


SEEDS = (0, 2, 3, 4, 5, 7, 8, 9, 10, 11, 14, 16)
"""For the images of each form: no model takes one of them for two classes within rounding."""


def rows(seed: int) -> list[Row]:
    """Return 32 images that are not square: PNG and JPEG, in colour, of a palette, and grey."""
    made = []
    for place, pixels in enumerate(blobs(32, seed)):
        image = Image.fromarray(pixels).resize((40, 36), Image.Resampling.BILINEAR)
        image = image.convert(["RGB", "RGB", "L", "P"][place % 4])
        suffix = "jpeg" if place % 4 == 1 else "png"
        buffer = io.BytesIO()
        image.save(buffer, suffix, quality=92)
        made.append(Row(buffer.getvalue(), suffix, CLASSES[place // 8]))
    return [made[k] for k in np.random.default_rng(seed).permutation(32)]


def folders(root: Path, listed: list[Row]) -> Path:
    for number, row in enumerate(listed):
        (root / row.name).mkdir(parents=True, exist_ok=True)
        (root / row.name / f"{number:02}.{row.suffix}").write_bytes(row.content)
    return root


def splits(root: Path, listed: list[Row], meant: str, given: str) -> str:
    for place, split in enumerate(("train", "val", "test")):
        folders(root / split, listed if split == meant else rows(900 + place))
    return f"{root}{given}"


def table(root: Path, listed: list[Row], write: Callable[[pd.DataFrame], Any]) -> None:
    (root / "pictures").mkdir(parents=True)
    paths = [f"pictures/{number:02}.{row.suffix}" for number, row in enumerate(listed)]
    for path, row in zip(paths, listed, strict=True):
        (root / path).write_bytes(row.content)
    write(pd.DataFrame({"file_name": paths, "label": [row.name for row in listed]}))


def csv(root: Path, listed: list[Row]) -> Path:
    table(root, listed, lambda frame: frame.to_csv(root / "t.csv", index=False))
    return root / "t.csv"


def tsv(root: Path, listed: list[Row]) -> Path:
    table(root, listed, lambda frame: frame.to_csv(root / "t.tsv", index=False, sep="\t"))
    return root / "t.tsv"


def jsonl(root: Path, listed: list[Row]) -> Path:
    table(root, listed, lambda f: f.to_json(root / "t.jsonl", orient="records", lines=True))
    return root / "t.jsonl"


def parquet(root: Path, listed: list[Row]) -> Path:
    table(root, listed, lambda frame: frame.to_parquet(root / "t.parquet", index=False))
    return root / "t.parquet"


def parquet_bytes(root: Path, listed: list[Row]) -> Path:
    root.mkdir()
    content = {"image": [row.content for row in listed], "label": [row.name for row in listed]}
    pd.DataFrame(content).to_parquet(root / "t.parquet", index=False)
    return root / "t.parquet"


def metadata(root: Path, listed: list[Row]) -> Path:
    table(root, listed, lambda frame: frame.to_csv(root / "metadata.csv", index=False))
    return root


def saved(root: Path, listed: list[Row]) -> Path:
    """Write as `datasets` does, of shards, with labels that are numbers of named classes."""
    datasets = importlib.import_module("datasets")
    features = {"img": datasets.Image(), "fine": datasets.ClassLabel(names=HEAD[::-1])}
    images = [{"bytes": row.content, "path": None} for row in listed]
    content = {"img": images, "fine": [HEAD[::-1].index(row.name) for row in listed]}
    data = datasets.Dataset.from_dict(content, features=datasets.Features(features))
    data.save_to_disk(root, num_shards=2)
    return root


def shards(root: Path, listed: list[Row]) -> str:
    """Write as `webdataset` does, with labels as numbers that nothing names."""
    webdataset = importlib.import_module("webdataset")
    root.mkdir()
    pattern = str(root / "shard-%06d.tar")
    with webdataset.ShardWriter(pattern, maxcount=17, verbose=0) as sink:
        for number, row in enumerate(listed):
            sink.write(
                {"__key__": f"{number:05}", row.suffix: row.content, "cls": HEAD.index(row.name)}
            )
    return f"{root}/shard-{{000000..000001}}.tar"


def named_shards(root: Path, listed: list[Row]) -> str:
    pattern = shards(root, listed)
    (root / "classnames.txt").write_text("\n".join(HEAD))
    return pattern


BY_URL = "tar shards by URL, numbers as labels"
SOURCES: dict[str, Callable[[Path, list[Row]], Path | str]] = {
    "class folders": folders,
    "`train`, `val`, `test` folders": partial(splits, meant="test", given=""),
    "one of them, `FOLDER:val`": partial(splits, meant="val", given=":val"),
    "CSV": csv,
    "TSV": tsv,
    "JSON lines": jsonl,
    "Parquet with paths": parquet,
    "Parquet with images": parquet_bytes,
    "folder with `metadata.csv`": metadata,
    "`save_to_disk` of datasets": saved,
    "tar shards with `classnames.txt`": named_shards,
    BY_URL: shards,
}
NEED = {
    "`save_to_disk` of datasets": "datasets",
    "tar shards with `classnames.txt`": "webdataset",
    BY_URL: "webdataset",
}
"""Libraries that only `make test-peers` has."""


@contextmanager
def served(root: Path) -> Iterator[str]:
    """Serve a folder; yield its address."""
    handler = partial(_Quiet, directory=root)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass
