"""The only reader and writer of prepared datasets.

A prepared dataset is a folder with ``manifest.json`` (written last) and, for each split,
``<split>/index.parquet`` and (layout ``arrays``) ``<split>/images.npy``. See docs/design.md,
"Prepared dataset".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wiseft.data.checks import check_counts, check_split
from wiseft.data.prepared import PreparedSplit
from wiseft.errors import StaleArtifact, WiseftError
from wiseft.io import atomic_path, read_json, require_file, sha256_file, write_json
from wiseft.stages import VERSION

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from wiseft.data.decode import FolderImages

FORMAT = 1
LAYOUTS = ("arrays", "image-folder")
GROUP_PREFIX = "group_"


@dataclass(frozen=True)
class SplitFiles:
    """What the manifest says of one split; paths are relative to the manifest's folder."""

    n: int
    images: str | None
    index: str
    sha256: Mapping[str, str]


@dataclass(frozen=True)
class Manifest:
    """A prepared dataset's ``manifest.json``.

    Attributes:
        path: the manifest file.
        class_names: display names in label order.
        prompt_names: for each class every name that is prompted, the display name first.
        image_size: side in pixels of stored images; None for image folders.
        root: folder of an image folder's files; None for arrays.
        sha256: of the manifest file, the dataset's identity.
    """

    path: Path
    dataset: str
    layout: str
    class_names: list[str]
    prompt_names: list[list[str]]
    image_size: int | None
    splits: dict[str, SplitFiles]
    sources: list[dict[str, Any]]
    root: Path | None
    sha256: str


@dataclass(frozen=True)
class Split:
    """One split of a prepared dataset, images on demand.

    Attributes:
        images: array-like of uint8 (n, H, W, 3): a memory map, or an image folder decoded when
            indexed.
        labels: int64 (n,).
        groups: the ``group_*`` columns, n rows; no columns for a dataset without groups.
    """

    dataset: str
    name: str
    images: NDArray[np.uint8] | FolderImages
    labels: NDArray[np.int64]
    sample_ids: list[str]
    base_ids: list[str]
    groups: pd.DataFrame

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: Sequence[int] | NDArray[np.integer] | slice) -> NDArray[np.uint8]:
        """Return a writable copy uint8 (n, H, W, 3) of the images at ``indices``."""
        if not isinstance(indices, slice):
            indices = np.asarray(indices, dtype=np.int64)
        return np.array(self.images[indices], dtype=np.uint8)


def write_prepared(
    folder: Path,
    dataset: str,
    splits: Mapping[str, PreparedSplit],
    class_names: Sequence[str],
    *,
    prompt_names: Sequence[Sequence[str]] | None = None,
    sources: Sequence[Mapping[str, Any]] = (),
    expected: Mapping[str, int] | None = None,
) -> Path:
    """Write a dataset of layout ``arrays`` and returns the path of its manifest, which is written
    last.

    Args:
        folder: the dataset's folder, made if absent; a manifest already there is removed first.
        expected: exact number of images of every split.

    Raises:
        WiseftError: a split is missing, unexpected or not of the expected size, images are not
            square uint8 RGB of one size, a label is out of range or sample ids repeat.
    """
    check_counts(dataset, {name: len(split.labels) for name, split in splits.items()}, expected)
    for name, split in splits.items():
        check_split(f"{dataset}, split {name}", split, len(class_names))
    sizes = {split.images.shape[1] for split in splits.values()}
    if len(sizes) != 1:
        raise WiseftError(f"{dataset}: images of all splits must have one size, found {sizes}.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    files = {}
    for name, split in splits.items():
        (folder / name).mkdir(exist_ok=True)
        with atomic_path(folder / name / "images.npy") as part, part.open("wb") as stream:
            np.save(stream, np.ascontiguousarray(split.images), allow_pickle=False)
        columns = {f"{GROUP_PREFIX}{key}": list(value) for key, value in split.groups.items()}
        index = {
            "sample_id": list(split.sample_ids),
            "base_id": list(split.base_ids if split.base_ids is not None else split.sample_ids),
            "label": split.labels,
            **columns,
        }
        files[name] = {
            "n": len(split.labels),
            "images": f"{name}/images.npy",
            **_write_index(folder, name, index),
        }
        files[name]["sha256"]["images"] = sha256_file(folder / name / "images.npy")
    return _write_manifest(
        folder / "manifest.json",
        dataset=dataset,
        layout="arrays",
        class_names=class_names,
        prompt_names=prompt_names,
        image_size=sizes.pop(),
        splits=files,
        sources=sources,
        root=None,
    )


def write_folder_manifest(
    path: Path,
    dataset: str,
    root: Path,
    splits: Mapping[str, Mapping[str, Sequence[Any]]],
    class_names: Sequence[str],
    *,
    prompt_names: Sequence[Sequence[str]] | None = None,
    sources: Sequence[Mapping[str, Any]] = (),
    expected: Mapping[str, int] | None = None,
) -> Path:
    """Write the manifest (and one index a split beside it) of images that stay where they are,
    under ``root``.

    Args:
        splits: for each split the columns ``sample_id``, ``base_id``, ``label``, ``path`` (relative
            to ``root``) and ``bytes`` (file size).

    Raises:
        WiseftError: a split is missing, unexpected or not of the expected size.
    """
    counts = {name: len(columns["label"]) for name, columns in splits.items()}
    check_counts(dataset, counts, expected)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    files = {}
    for name, columns in splits.items():
        (path.parent / name).mkdir(exist_ok=True)
        written = _write_index(path.parent, name, columns)
        files[name] = {"n": counts[name], "images": None, **written}
    return _write_manifest(
        path,
        dataset=dataset,
        layout="image-folder",
        class_names=class_names,
        prompt_names=prompt_names,
        image_size=None,
        splits=files,
        sources=sources,
        root=str(root.resolve()),
    )


def open_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        WiseftError: the file is missing, is not a manifest or has another format.
        StaleArtifact: it was written by another version of the data stage.
    """
    record = read_json(require_file(path, "the dataset manifest"))
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise WiseftError(
            f"{path}: expected a dataset manifest of format {FORMAT}. Prepare it again."
        )
    if record.get("stage_version") != VERSION["data"]:
        raise StaleArtifact(
            f"{path} was written by version {record.get('stage_version')} of the data stage, "
            f"this is version {VERSION['data']}. Delete it and prepare the dataset again."
        )
    try:
        return Manifest(
            path=path,
            dataset=record["dataset"],
            layout=record["layout"],
            class_names=record["class_names"],
            prompt_names=record["prompt_names"],
            image_size=record["image_size"],
            splits={name: SplitFiles(**files) for name, files in record["splits"].items()},
            sources=record["sources"],
            root=Path(record["root"]) if record["root"] else None,
            sha256=sha256_file(path),
        )
    except (KeyError, TypeError) as error:
        raise WiseftError(
            f"{path}: a field of the manifest is wrong ({error}). Prepare it again."
        ) from error


def open_split(manifest_path: Path, split: str, size: int | None = None) -> Split:
    """Open one split; stored files are checked against the manifest's hashes.

    Args:
        size: side in pixels of the images that are read. None: as stored (an error for image
            folders). Stored arrays of another size are resized (bicubic) when read.

    Raises:
        WiseftError: unknown split, a file that is missing, changed or of the wrong length.
    """
    manifest = open_manifest(manifest_path)
    if split not in manifest.splits:
        known = ", ".join(manifest.splits)
        raise WiseftError(f"dataset {manifest.dataset} has no split '{split}'; it has: {known}.")
    files = manifest.splits[split]
    index = _read_index(manifest, files)
    images: NDArray[np.uint8] | FolderImages
    if manifest.layout == "arrays":
        images = _open_arrays(manifest, files, size)
    else:
        images = _open_folder(manifest, index["path"].tolist(), size)
    return Split(
        dataset=manifest.dataset,
        name=split,
        images=images,
        labels=index["label"].to_numpy(dtype=np.int64),
        sample_ids=index["sample_id"].tolist(),
        base_ids=index["base_id"].tolist(),
        groups=index[[name for name in index.columns if name.startswith(GROUP_PREFIX)]],
    )


def batches(
    split: Split, batch_size: int, indices: Sequence[int] | NDArray[np.integer] | None = None
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield uint8 images (n, 3, H, W), channels_last, and int64 labels (n,), in the order of
    ``indices``.

    Args:
        indices: which samples; None: all, in stored order.
    """
    import torch

    order = np.arange(len(split)) if indices is None else np.asarray(indices, dtype=np.int64)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        # (n, H, W, 3) in memory is (n, 3, H, W) in channels_last: a view, no copy.
        images = torch.from_numpy(split.read(chosen)).permute(0, 3, 1, 2)
        yield images, torch.from_numpy(split.labels[chosen])


def verify(path: Path) -> None:
    """Check every stored file of a prepared dataset against its manifest; image folders by presence
    and size.

    Raises:
        WiseftError: a file is missing or changed.
    """
    manifest = open_manifest(path)
    for name, files in manifest.splits.items():
        index = _read_index(manifest, files)
        if manifest.layout == "arrays":
            _open_arrays(manifest, files, None)
            continue
        if manifest.root is None:
            raise WiseftError(f"{path}: an image folder's manifest names its root, found none.")
        for relative, expected in zip(index["path"], index["bytes"], strict=True):
            file = manifest.root / relative
            found = file.stat().st_size if file.is_file() else None
            if found != expected:
                was = "missing" if found is None else f"{found} bytes"
                raise WiseftError(
                    f"{manifest.dataset}, split {name}: {file} was indexed with {expected} bytes "
                    f"and is now {was}. "
                    "Restore it, or index the folder again."
                )


def _write_index(folder: Path, split: str, columns: Mapping[str, Any]) -> dict[str, Any]:
    import pandas as pd

    relative = f"{split}/index.parquet"
    with atomic_path(folder / relative) as part:
        pd.DataFrame(columns).to_parquet(part, index=False)
    return {"index": relative, "sha256": {"index": sha256_file(folder / relative)}}


def _write_manifest(
    path: Path,
    *,
    class_names: Sequence[str],
    prompt_names: Sequence[Sequence[str]] | None,
    sources: Sequence[Mapping[str, Any]],
    **fields: Any,
) -> Path:
    prompted = prompt_names if prompt_names is not None else [[name] for name in class_names]
    record = {
        "format": FORMAT,
        "stage_version": VERSION["data"],
        "class_names": list(class_names),
        "prompt_names": [list(names) for names in prompted],
        "sources": [dict(source) for source in sources],
        **fields,
    }
    write_json(path, record)
    return path


def _check_hash(manifest: Manifest, files: SplitFiles, part: str, path: Path) -> None:
    require_file(path, f"a file of the prepared dataset {manifest.dataset}")
    found, expected = sha256_file(path), files.sha256.get(part)
    if found != expected:
        raise WiseftError(
            f"{path} differs from its manifest: expected sha256 {expected}, found {found}. "
            f"Delete {manifest.path.parent} and prepare {manifest.dataset} again."
        )


def _read_index(manifest: Manifest, files: SplitFiles) -> pd.DataFrame:
    import pandas as pd

    path = manifest.path.parent / files.index
    _check_hash(manifest, files, "index", path)
    index = pd.read_parquet(path)
    if len(index) != files.n:
        raise WiseftError(f"{path}: expected {files.n} rows, found {len(index)}.")
    return index


def _open_arrays(
    manifest: Manifest, files: SplitFiles, size: int | None
) -> NDArray[np.uint8] | FolderImages:
    if files.images is None:
        raise WiseftError(f"{manifest.path}: layout arrays without images. Prepare it again.")
    path = manifest.path.parent / files.images
    _check_hash(manifest, files, "images", path)
    images: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    if len(images) != files.n:
        raise WiseftError(f"{path}: expected {files.n} images, found {len(images)}.")
    if size is None or size == images.shape[1]:
        return images
    from wiseft.data.decode import resize_images

    return resize_images(images, size)


def _open_folder(manifest: Manifest, paths: list[str], size: int | None) -> FolderImages:
    from wiseft.data.decode import FolderImages

    if size is None:
        raise WiseftError(
            f"dataset {manifest.dataset} is an image folder: say at which size to read it."
        )
    if manifest.root is None or not manifest.root.is_dir():
        raise WiseftError(
            f"the images of {manifest.dataset} were indexed in {manifest.root}, which is not "
            "there. "
            "Mount that folder, or index the images again."
        )
    return FolderImages(manifest.root, paths, size)
