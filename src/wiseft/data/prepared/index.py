"""The index of a split: one row a sample, in the order of its images.

Columns: `sample_id`, `base_id`, `label`; `group_*` and `other_labels` where a dataset has them;
`path` and `bytes` for image files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wiseft.data.prepared.manifest import Manifest, SplitFiles
from wiseft.errors import WiseftError
from wiseft.io import atomic_path, require_file, sha256_file

if TYPE_CHECKING:
    import pandas as pd

GROUP_PREFIX = "group_"
OTHER_LABELS = "other_labels"


def write_index(folder: Path, split: str, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``<folder>/<split>/index.parquet``; return `index` and `sha256` for the manifest."""
    import pandas as pd

    relative = f"{split}/index.parquet"
    with atomic_path(folder / relative) as part:
        pd.DataFrame(columns).to_parquet(part, index=False)
    return {"index": relative, "sha256": {"index": sha256_file(folder / relative)}}


def check_hash(manifest: Manifest, files: SplitFiles, part: str, path: Path) -> None:
    """Raise WiseftError unless a stored file is there with the hash in the manifest."""
    require_file(path, f"a file of the prepared dataset {manifest.dataset}")
    found, expected = sha256_file(path), files.sha256.get(part)
    if found != expected:
        raise WiseftError(
            f"{path} differs from its manifest: expected sha256 {expected}, found {found}. "
            f"Delete {manifest.path.parent} and prepare {manifest.dataset} again."
        )


def read_index(manifest: Manifest, split: str) -> pd.DataFrame:
    """Return the index of a split: one row a sample, in the order of its images.

    Raises:
        WiseftError: unknown split; the file is missing, changed or of the wrong length.
    """
    import pandas as pd

    files = manifest.split_files(split)
    path = manifest.path.parent / files.index
    check_hash(manifest, files, "index", path)
    index = pd.read_parquet(path)
    if len(index) != files.n:
        raise WiseftError(f"{path}: expected {files.n} rows, found {len(index)}.")
    return index
