"""Images that stay in the user's own folder: their index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wiseft.data.store import write_folder_manifest
from wiseft.errors import WiseftError

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}


def index_folder(
    folder: Path,
    manifest: Path,
    dataset: str,
    splits: Mapping[str, int] | Sequence[str] = ("test",),
    class_names: Sequence[Sequence[str]] | None = None,
) -> Path:
    """Index ``folder/<class>/`` (one split) or ``folder/<split>/<class>/`` and writes the manifest.

    Labels follow the sorted names of the class folders.

    Args:
        splits: names of splits, with exact counts where it is a mapping.
        class_names: for each class the names to prompt, in label order. None: the names of the
            class folders.

    Raises:
        WiseftError: the folder, a split or images are missing, class folders differ between splits
            or from ``class_names``, or a count is not the expected one.
    """
    if not folder.is_dir():
        raise WiseftError(f"expected a folder of class folders, found nothing at {folder}.")
    expected = dict(splits) if isinstance(splits, Mapping) else None
    classes: list[str] | None = None
    columns = {}
    for name in splits:
        base = folder / name
        if len(splits) == 1 and not base.is_dir():
            base = folder
        found, columns[name] = _index_split(folder, base)
        if classes is not None and found != classes:
            raise WiseftError(
                f"{folder}: split '{name}' has other class folders than the splits before it."
            )
        classes = found
    if classes is None:
        raise WiseftError(f"{dataset}: name at least one split.")
    if class_names is not None and len(class_names) != len(classes):
        raise WiseftError(
            f"{folder}: expected {len(class_names)} class folders, found {len(classes)}."
        )
    prompts = (
        [list(names) for names in class_names] if class_names else [[name] for name in classes]
    )
    display = [names[0] for names in prompts]
    return write_folder_manifest(
        manifest, dataset, folder, columns, display, prompt_names=prompts, expected=expected
    )


def _index_split(root: Path, base: Path) -> tuple[list[str], dict[str, list[Any]]]:
    if not base.is_dir():
        raise WiseftError(f"expected a folder of class folders, found nothing at {base}.")
    classes = sorted(p.name for p in base.iterdir() if p.is_dir() and not p.name.startswith("."))
    columns: dict[str, list[Any]] = {
        "sample_id": [],
        "base_id": [],
        "label": [],
        "path": [],
        "bytes": [],
    }
    for label, name in enumerate(classes):
        files = [
            p for p in (base / name).rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file()
        ]
        if not files:
            raise WiseftError(
                f"{base / name} holds no images. Remove the folder, or put images there."
            )
        for file in sorted(files, key=lambda p: p.relative_to(base).as_posix()):
            relative = file.relative_to(root).as_posix()
            columns["sample_id"].append(relative)
            columns["base_id"].append(relative)
            columns["label"].append(label)
            columns["path"].append(relative)
            columns["bytes"].append(file.stat().st_size)
    if not classes:
        raise WiseftError(f"{base} holds no class folders: expected {base}/<class>/<image>.")
    return classes, columns
