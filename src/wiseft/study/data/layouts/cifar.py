"""CIFAR-10 and CIFAR-100 in their binary version (Krizhevsky 2009).

A binary file is a sequence of records: one label byte (CIFAR-10) or two (CIFAR-100: coarse, then
fine), then 1024 bytes of red, 1024 of green and 1024 of blue, each plane in row-major order. The
official archives also come pickled, for Python; those are not read.

Where the official files cannot be had, the same files are rebuilt from the package of PNG sheets
that the entry names (``sheets``): a sheet is 1024 pixels wide and has one image a row, its pixels
in row-major order. Either way a file is used only if it has the SHA-256 of the entry.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wiseft.errors import WiseftError
from wiseft.images.index import check_labels
from wiseft.images.split import Indexed, LayoutInputs, PreparedSplit
from wiseft.study.config.layouts import CifarOptions
from wiseft.study.data.unpacking.unpack import read_members

SIDE = 32
"""Height and width of an image in pixels."""

PIXELS = SIDE * SIDE
CHANNELS = 3

Binary = Mapping[str, tuple[bytes, str]]
"""A binary file's content by its name, and what it was read from, for messages."""


def read(inputs: LayoutInputs) -> Indexed:
    """Read the binary files of the splits asked for.

    Returns:
        Arrays uint8 (n, 32, 32, 3) in the official order. Sample ids are
        ``<dataset>/<split>/<index in the split>``.

    Raises:
        WiseftError: a file is missing, is not the official one or has a label of no class.
    """
    options: CifarOptions = inputs.options
    names = [name for split in inputs.splits for name in inputs.of_split("files", split)]
    binary = _binary_files(inputs, options, names)
    return Indexed({split: _read_split(inputs, options, split, binary) for split in inputs.splits})


def decode_records(
    data: bytes, label_bytes: int, where: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images uint8 (n, 32, 32, 3) and labels int64 (n,) of a binary file.

    Args:
        label_bytes: how many label bytes a record has; the last one counts.
        where: names the file in messages.

    Raises:
        WiseftError: the file does not consist of whole records.
    """
    size = label_bytes + CHANNELS * PIXELS
    if not data or len(data) % size:
        raise WiseftError(
            f"{where} has {len(data)} bytes, expected whole records of {size} bytes: it is "
            "truncated, or not a binary file of this dataset. Fetch it again."
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, size)
    planes = records[:, label_bytes:].reshape(-1, CHANNELS, SIDE, SIDE)
    return planes.transpose(0, 2, 3, 1), records[:, label_bytes - 1].astype(np.int64)


def encode_records(pixels: NDArray[np.uint8], labels: NDArray[np.uint8]) -> bytes:
    """Return the binary file of images (n, 1024, 3), pixels in row-major order, and labels (n,),
    one byte each."""
    planes = pixels.transpose(0, 2, 1).reshape(len(pixels), CHANNELS * PIXELS)
    return np.concatenate([labels[:, None], planes], axis=1).tobytes()


def _read_split(
    inputs: LayoutInputs, options: CifarOptions, split: str, binary: Binary
) -> PreparedSplit:
    parts = []
    for name in options.files[split]:
        data, where = binary[name]
        images, labels = decode_records(data, options.label_bytes, where)
        actual, expected = hashlib.sha256(data).hexdigest(), options.sha256.get(name)
        if expected is not None and actual != expected:
            raise WiseftError(
                f"{where} is not the official file: expected sha256 {expected}, found {actual}. "
                "Delete it and fetch it again."
            )
        check_labels(where, labels, len(inputs.class_names))
        parts.append((images, labels))
    labels = np.concatenate([labels for _, labels in parts])
    return PreparedSplit(
        images=np.concatenate([images for images, _ in parts]),
        labels=labels,
        sample_ids=[f"{inputs.dataset}/{split}/{index:05d}" for index in range(len(labels))],
    )


def _binary_files(inputs: LayoutInputs, options: CifarOptions, names: list[str]) -> Binary:
    """Find the binary files: in a folder below the root, else in the package of sheets."""
    for place in options.folder:
        folder = inputs.root / place
        if any((folder / name).is_file() for name in names):
            return {name: _from_folder(inputs.dataset, folder / name) for name in names}
    package = inputs.files.get(options.sheets) if options.sheets else None
    if package is not None and package.is_file():
        sheets = {f"{name.removesuffix('.bin')}.png" for name in names}
        wanted = sheets | {_label_file(name) for name in names}
        members = read_members(package, {f"package/{name}" for name in wanted})
        return {
            name: (_from_sheet(members, name, package), f"{name} made from {package}")
            for name in names
        }
    places = " or ".join(str(inputs.root / place) for place in options.folder)
    raise WiseftError(
        f"dataset {inputs.dataset}: expected {', '.join(names)} in {places}, found none. Get the "
        "binary version: the pickled one for Python is never loaded, because that can run code."
    )


def _from_folder(dataset: str, path: Path) -> tuple[bytes, str]:
    try:
        return path.read_bytes(), str(path)
    except OSError as error:
        raise WiseftError(
            f"dataset {dataset}: {path} cannot be read ({error.strerror}), but others of its "
            "files are there. Unpack the whole archive again."
        ) from error


def _from_sheet(members: Mapping[str, bytes], name: str, package: Path) -> bytes:
    """Rebuild a binary file from its sheet; training sheets share one list of labels."""
    stem = name.removesuffix(".bin")
    pixels = _decode_sheet(members[f"package/{stem}.png"], f"{package}: {stem}.png")
    number = re.search(r"_(\d+)$", stem)
    start = (int(number[1]) - 1) * len(pixels) if number else 0
    file = _label_file(name)
    try:
        labels = json.loads(members[f"package/{file}"])[start : start + len(pixels)]
        if len(labels) != len(pixels):
            raise ValueError(f"labels {start}..{start + len(pixels) - 1} are not there")
        return encode_records(pixels, np.array(labels, np.uint8))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise WiseftError(
            f"{package}: {file} is not the expected list of labels ({error}). Delete {package} and "
            "fetch it again."
        ) from error


def _decode_sheet(data: bytes, where: str) -> NDArray[np.uint8]:
    """Return the images (n, 1024, 3) of a sheet, pixels in row-major order."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as sheet:
            form = f"{sheet.mode}, {sheet.width} pixels wide"
            if sheet.mode == "RGB" and sheet.width == PIXELS:
                return np.asarray(sheet, np.uint8)
    except (OSError, SyntaxError, ValueError, zlib.error, Image.DecompressionBombError) as error:
        raise WiseftError(f"{where} is not a readable PNG ({error}). Fetch it again.") from error
    raise WiseftError(
        f"{where}: expected a sheet of mode RGB, {PIXELS} pixels wide, with an image a row; found "
        f"{form}."
    )


def _label_file(name: str) -> str:
    """Return the list of labels of a sheet in the package, which spells it so."""
    return "test_lables.json" if name.startswith("test") else "train_lables.json"
