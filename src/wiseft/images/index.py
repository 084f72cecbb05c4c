"""The index of a split: one row a sample, in the order of its images.

Columns: `sample_id`, `base_id`, `label`; `group_*` and `other_labels` where a dataset has them;
`path` and `bytes` for image files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wiseft.base.io import atomic_path, sha256_file
from wiseft.errors import DamagedFile, WiseftError
from wiseft.images.manifest import Manifest, SplitFiles
from wiseft.images.split import FolderSplit, PreparedSplit
from wiseft.thetas.damage import require_sum

if TYPE_CHECKING:
    import pandas as pd

GROUP_PREFIX = "group_"
OTHER_LABELS = "other_labels"


def checked_columns(where: str, split: PreparedSplit | FolderSplit, classes: int) -> dict[str, Any]:
    """Return the columns of a split's index, after a check of all that belongs to its samples.

    Args:
        where: names the split in messages.
        classes: number of classes.

    Raises:
        WiseftError: naming the first offender: images that are not square RGB of uint8, a column of
            another length, a sample that occurs twice, a label out of range.
    """
    columns = _columns(split)
    of_samples = dict(columns)
    if isinstance(split, PreparedSplit):
        check_images(where, split.images)
        of_samples["images"] = split.images
    ids, labels = columns["sample_id"], split.labels
    if not len(labels):
        raise WiseftError(f"{where}: found no image.")
    for name, values in of_samples.items():
        if len(values) != len(labels):
            raise WiseftError(
                f"{where}: expected one of {name} for each of {len(labels)} labels, found "
                f"{len(values)}."
            )
    if len(set(ids)) < len(ids):
        sample = Counter(ids).most_common(1)[0][0]
        raise WiseftError(f"{where}: sample {sample} occurs twice.")
    check_labels(where, labels, classes, ids)
    return columns


def check_labels(
    where: str, labels: NDArray[np.integer], classes: int, ids: Sequence[object] | None = None
) -> None:
    """Raise WiseftError unless labels are those of classes; name the first sample that is not.

    Args:
        where: names the split or file in messages.
        ids: of the samples; None: their places.
    """
    for place in np.flatnonzero((labels < 0) | (labels >= classes))[:1]:
        raise WiseftError(
            f"{where}: sample {ids[place] if ids else place} has label {labels[place]}, expected "
            f"0..{classes - 1}."
        )


def check_images(where: str, images: NDArray[Any]) -> None:
    """Raise WiseftError unless images are square RGB of uint8.

    Args:
        where: names the split in messages.
    """
    shape = images.shape
    if images.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or shape[1] != shape[2]:
        raise WiseftError(
            f"{where}: images must be uint8 (n, H, W, 3) and square, found {images.dtype} {shape}."
        )


def _columns(split: PreparedSplit | FolderSplit) -> dict[str, Any]:
    files = split if isinstance(split, FolderSplit) else None
    sample_ids = files.paths if files and files.sample_ids is None else split.sample_ids
    columns: dict[str, Any] = {
        "sample_id": sample_ids,
        "base_id": sample_ids if split.base_ids is None else split.base_ids,
        "label": split.labels,
    }
    if files:
        columns |= {"path": files.paths, "bytes": files.bytes}
    columns |= {f"{GROUP_PREFIX}{key}": list(values) for key, values in split.groups.items()}
    if files and files.other_labels is not None:
        columns[OTHER_LABELS] = [list(map(int, labels)) for labels in files.other_labels]
    return columns


def write_index(folder: Path, split: str, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``<folder>/<split>/index.parquet``; return what the manifest says of the split."""
    import pandas as pd

    relative = f"{split}/index.parquet"
    with atomic_path(folder / relative) as part:
        pd.DataFrame(columns).to_parquet(part, index=False)
    return {
        "n": len(columns["label"]),
        "images": None,
        "index": relative,
        "sha256": {"index": sha256_file(folder / relative)},
    }


def write_checked(
    folder: Path, dataset: str, name: str, split: FolderSplit | PreparedSplit, classes: int
) -> dict[str, Any]:
    """Check and write the index of a split; return what the manifest says of the split."""
    return write_index(folder, name, checked_columns(f"{dataset}, split {name}", split, classes))


def check_hash(manifest: Manifest, files: SplitFiles, part: str, path: Path) -> None:
    """Check that a stored file has the hash in the manifest.

    Raises:
        DamagedFile: if it is missing or differs: of the manifest too, which is what is asked for.
    """
    if not path.is_file():
        name = f"a file of the prepared dataset {manifest.dataset}"
        raise DamagedFile(f"{name}, {path}, does not exist", manifest.path)
    require_sum(path, files.sha256.get(part), "differs from its manifest", manifest.path)


def read_index(manifest: Manifest, split: str) -> pd.DataFrame:
    """Return the index of a split: one row a sample, in the order of its images.

    Raises:
        WiseftError: unknown split, or a file of the wrong length.
        DamagedFile: the file is missing or changed.
    """
    import pandas as pd

    files = manifest.split_files(split)
    path = manifest.path.parent / files.index
    check_hash(manifest, files, "index", path)
    index = pd.read_parquet(path)
    if len(index) != files.n:
        raise WiseftError(f"{path}: expected {files.n} rows, found {len(index)}.")
    return index
