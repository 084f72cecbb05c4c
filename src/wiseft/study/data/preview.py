"""Previews: a dataset cut to N samples a split, under a name of its own.

The whole dataset is prepared and counted first, so the count check stays honest; and as the name
(``imagenet-limit1000``) stands in every path, table and figure, no preview passes for the whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wiseft.errors import WiseftError
from wiseft.images.index import write_index
from wiseft.images.manifest import Manifest, open_manifest, write_manifest
from wiseft.images.split import draw_indices
from wiseft.images.store import open_arrays, read_index, write_arrays
from wiseft.study.config import DatasetEntry

SEED = 0
"""Seed of the draw; the same samples for everybody."""


def prepare_preview(entry: DatasetEntry, manifest: Path, whole: Path) -> Path:
    """Write the manifest of a preview.

    Args:
        entry: the preview's entry, whose `limit` is set.
        whole: manifest of the whole dataset.

    Raises:
        WiseftError: `whole` is the manifest of another dataset.
    """
    base = open_manifest(whole)
    if entry.limit is None or base.dataset != entry.bare_name:
        raise WiseftError(
            f"{entry.name} is a preview of {entry.bare_name}, found the manifest of {base.dataset}."
        )
    manifest.unlink(missing_ok=True)
    splits = {name: _cut(base, name, entry.limit, manifest.parent) for name in base.splits}
    mapping = base.label_map
    return write_manifest(
        manifest,
        dataset=entry.name,
        layout=base.layout,
        class_names=base.class_names,
        prompt_names=base.prompt_names,
        image_size=base.image_size,
        splits=splits,
        sources=[{"dataset": base.dataset, "manifest_sha256": base.sha256}],
        root=str(base.root) if base.root else None,
        optional={
            "class_ids": base.class_ids,
            "label_map": vars(mapping) if mapping else None,
            "border": base.border,
            "limit": entry.limit,
            "borrowed": base.borrowed,
        },
    )


def _cut(base: Manifest, split: str, limit: int, folder: Path) -> dict[str, Any]:
    """Write the drawn part of a split; return what the manifest says of it."""
    n = base.splits[split].n
    rows = draw_indices(n, min(limit, n), SEED)
    index = read_index(base, split).iloc[rows]
    columns = {name: index[name].to_numpy() for name in index.columns}
    if base.layout != "arrays":
        return write_index(folder, split, columns)
    return write_arrays(folder, split, open_arrays(base, base.splits[split])[rows], columns)
