"""The only writer of prepared datasets that hold their images: arrays, an index and a manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wiseft.base.io import atomic_path, sha256_file
from wiseft.errors import WiseftError
from wiseft.images.index import checked_columns, write_index
from wiseft.images.manifest import NAME, write_manifest
from wiseft.images.split import PreparedSplit


def check_counts(
    dataset: str, counts: Mapping[str, int], expected: Mapping[str, int] | None
) -> None:
    """Raise WiseftError unless the splits and their sizes are exactly the expected ones (None:
    anything goes)."""
    if expected is None:
        return
    for name in sorted({*counts, *expected}):
        if name not in counts:
            raise WiseftError(f"{dataset}: split '{name}' is missing.")
        if name not in expected:
            raise WiseftError(f"{dataset}: split '{name}' is not in the dataset's entry.")
        if counts[name] != expected[name]:
            raise WiseftError(
                f"{dataset}, split {name}: expected exactly {expected[name]} images, found "
                f"{counts[name]}. The source is incomplete or of another version; fetch it again."
            )


def write_prepared(
    folder: Path,
    dataset: str,
    splits: Mapping[str, PreparedSplit],
    class_names: Sequence[str],
    *,
    prompt_names: Sequence[Sequence[str]] | None = None,
    sources: Sequence[Mapping[str, Any]] = (),
    expected: Mapping[str, int] | None = None,
    optional: Mapping[str, Any] | None = None,
) -> Path:
    """Write a dataset of layout ``arrays`` and return the path of its manifest, which is written
    last.

    Args:
        folder: the dataset's folder, made if absent; a manifest already there is removed first.
        expected: exact number of images of every split.
        optional: further keys of the manifest, see `write_manifest`.

    Raises:
        WiseftError: a split is missing, unexpected or not of the expected size, images are not
            square uint8 RGB of one size, a label is out of range or sample ids repeat.
    """
    check_counts(dataset, {name: len(split.labels) for name, split in splits.items()}, expected)
    columns = {
        name: checked_columns(f"{dataset}, split {name}", split, len(class_names))
        for name, split in splits.items()
    }
    sizes = {split.images.shape[1] for split in splits.values()}
    if len(sizes) != 1:
        raise WiseftError(f"{dataset}: images of all splits must have one size, found {sizes}.")
    (folder / NAME).unlink(missing_ok=True)
    files = {
        name: write_arrays(folder, name, split.images, columns[name])
        for name, split in splits.items()
    }
    return write_manifest(
        folder / NAME,
        dataset=dataset,
        layout="arrays",
        class_names=class_names,
        prompt_names=prompt_names,
        image_size=sizes.pop(),
        splits=files,
        sources=sources,
        optional=optional,
    )


def write_arrays(
    folder: Path, split: str, images: NDArray[np.uint8], columns: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the images and the index of a split; return what the manifest says of it."""
    relative = f"{split}/images.npy"
    with atomic_path(folder / relative, images.nbytes) as part, part.open("wb") as stream:
        np.save(stream, np.ascontiguousarray(images), allow_pickle=False)
    files = write_index(folder, split, columns) | {"images": relative}
    files["sha256"]["images"] = sha256_file(folder / relative)
    return files
