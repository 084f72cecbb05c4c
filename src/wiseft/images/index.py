"""The index of a split: one row a sample, in the order of its images.

Columns: `sample_id`, `base_id`, `label`; `group_*` and `other_labels` where a dataset has them;
`path` and `bytes` for image files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wiseft.base.io import atomic_path, sha256_file
from wiseft.errors import DamagedFile, WiseftError
from wiseft.images.manifest import Manifest, SplitFiles
from wiseft.images.split import FolderSplit, PreparedSplit

if TYPE_CHECKING:
    import pandas as pd

GROUP_PREFIX = "group_"
OTHER_LABELS = "other_labels"


def index_columns(split: PreparedSplit | FolderSplit) -> dict[str, Any]:
    """Return the columns of a split's index."""
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


def check_hash(manifest: Manifest, files: SplitFiles, part: str, path: Path) -> None:
    """Check that a stored file has the hash in the manifest.

    Raises:
        DamagedFile: if it is missing or differs: of the manifest too, which is what is asked for.
    """
    name = f"a file of the prepared dataset {manifest.dataset}"
    if not path.is_file():
        raise DamagedFile(f"{name}, {path}, does not exist", manifest.path)
    actual, expected = sha256_file(path), files.sha256.get(part)
    if actual != expected:
        raise DamagedFile(
            f"{path} differs from its manifest: expected SHA-256 {expected}, found {actual}",
            path,
            manifest.path,
        )


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
