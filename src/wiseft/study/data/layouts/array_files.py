"""Datasets published as NumPy arrays, such as CIFAR-10.1 and CIFAR-10.2.

Pickled content is never loaded, because unpickling can run code. CIFAR-10.2 was first published
as dictionaries pickled into ``.npy`` files and later as plain arrays in ``.npz`` files; the latter
are what its entry pins.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wiseft.errors import WiseftError
from wiseft.images.index import check_images, check_labels
from wiseft.images.split import Indexed, LayoutInputs, PreparedSplit
from wiseft.study.config.layouts import ArrayFilesOptions
from wiseft.study.data.layouts.metadata import check_names

NPY_MAGIC = b"\x93NUMPY"
ZIP_MAGIC = b"PK\x03\x04"

NO_ARRAY = (ValueError, OverflowError, SyntaxError, TokenError, RecursionError, MemoryError)
"""What numpy makes of a header that is no header, or of one that wants all of the memory."""


def read(inputs: LayoutInputs) -> Indexed:
    """Read the images and labels of the splits asked for.

    Returns:
        Arrays uint8 (n, H, W, 3), memory-mapped where they come from a ``.npy``, in stored order.
        Sample ids are ``<dataset>/<split>/<index>``.

    Raises:
        WiseftError: a file is missing, pickled or broken, images and labels do not fit together, or
            the class names in the files are not those of the entry.
    """
    options: ArrayFilesOptions = inputs.options
    if options.classes is not None:
        names = [str(name) for name in _load(inputs, options.classes).tolist()]
        check_names(inputs, names, options.classes)
    return Indexed({split: _read_split(inputs, split) for split in inputs.splits})


def _read_split(inputs: LayoutInputs, split: str) -> PreparedSplit:
    images_at, labels_at = inputs.of_split("images", split), inputs.of_split("labels", split)
    images, labels = _load(inputs, images_at), _load(inputs, labels_at)
    where = f"dataset {inputs.dataset}, split {split}"
    check_images(f"{where}, {images_at}", images)
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise WiseftError(
            f"{where}: expected integer labels ({len(images)},) in {labels_at}, found "
            f"{labels.dtype} {labels.shape}."
        )
    check_labels(f"{where}, {labels_at}", labels, len(inputs.class_names))
    return PreparedSplit(
        images=images,
        labels=np.asarray(labels, np.int64),
        sample_ids=[f"{inputs.dataset}/{split}/{index:05d}" for index in range(len(labels))],
    )


def _load(inputs: LayoutInputs, source: str) -> NDArray[Any]:
    """Return the array at ``file.npy`` or ``file.npz:key``, never unpickling anything."""
    name, _, key = source.partition(":")
    path = inputs.file(name)
    try:
        with path.open("rb") as stream:
            magic = stream.read(len(NPY_MAGIC))
        if not magic.startswith((NPY_MAGIC, ZIP_MAGIC)):
            raise _refused(path, "it is neither .npy nor .npz")
        if not key:
            loaded = np.load(path, mmap_mode="r", allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            loaded.close()
            raise WiseftError(
                f"{path} has several arrays: name one in the entry's options, as `{name}:key`."
            )
        with np.load(path, allow_pickle=False) as archive:
            if isinstance(archive, np.ndarray) or key not in archive.files:
                keys = getattr(archive, "files", [])
                raise WiseftError(f"{path}: expected an array `{key}`, found {keys or 'no keys'}.")
            return np.asarray(archive[key])
    except NO_ARRAY as error:
        objects = "allow_pickle" in str(error)
        raise _refused(path, "it holds Python objects" if objects else str(error)) from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise WiseftError(
            f"{path} is truncated or broken ({error}). Delete it and fetch it again."
        ) from error


def _refused(path: Path, reason: str) -> WiseftError:
    return WiseftError(
        f"{path} is not an array of numbers ({reason.rstrip('.')}). Pickled content is never "
        "loaded, because unpickling can run code; save the arrays with numpy.save or numpy.savez."
    )
