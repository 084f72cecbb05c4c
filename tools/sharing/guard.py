"""What must not be shared: images, and files of datasets, whose licences forbid it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from wiseft.errors import WiseftError

KINDS = {".csv", ".json", ".jsonl", ".parquet", ".safetensors", ".sha256"}
"""Suffixes of all that belongs into data/."""

SIGNATURES = (
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"II*\x00", "a TIFF image"),
    (0, b"MM\x00*", "a TIFF image"),
    (8, b"WEBP", "a WebP image"),
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftyphei", "a HEIC image"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ", "an xz archive"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
    (257, b"ustar", "a tar archive"),
)
"""Position and bytes by which a kind of file is known, whatever its name."""


def check_tracked(root: Path) -> None:
    """Check that DVC tracks data/ and nothing else: it pushes whatever it tracks.

    Raises:
        WiseftError: naming the `.dvc` file and the folder.
    """
    for path in sorted(root.glob("*.dvc")) + sorted(root.glob("*/*.dvc")):
        if not path.is_file():
            continue
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for out in content.get("outs", []):
            where = os.path.normpath(path.parent / str(out["path"]))
            if Path(where) != root / "data":
                raise WiseftError(
                    f"{path} puts {where} under DVC, but only data/ may be: datasets are bound by "
                    f"their licences, and results/ is drawn again from data/tables. Remove it: "
                    f"dvc remove {path}"
                )


def check_shareable(files: list[Path], folder: Path, datasets: list[Path]) -> None:
    """Check that no file is an image or archive, or comes from a dataset.

    Args:
        files: all files that would be shared.
        folder: that they lie in, `data/`.
        datasets: folders of datasets, fetched ones and the user's own.

    Raises:
        WiseftError: naming the first such file.
    """
    allowed = [folder.resolve(), (folder.parent / ".dvc" / "cache").resolve()]
    for path in files:
        target = path.resolve()
        if not any(target.is_relative_to(place) for place in allowed):
            raise _refusal(path, f"leads to {target}, outside of {folder}")
        if problem := problem_of(path):
            raise _refusal(path, problem)
    by_size: dict[int, list[Path]] = {}
    for path in files:
        by_size.setdefault(path.stat().st_size, []).append(path)
    by_size.pop(0, None)
    for original in _files_of(datasets):
        for path in by_size.get(original.stat().st_size, []):
            if _same_content(path, original):
                raise _refusal(path, f"is {original}, a file of a dataset")


def problem_of(path: Path) -> str | None:
    """Return why a file may not be shared, by its kind and its content; None if it may."""
    with path.open("rb") as file:
        head = file.read(512)
    for position, signature, what in SIGNATURES:
        if head[position:].startswith(signature):
            return f"is {what}"
    if path.suffix not in KINDS:
        return f"is of a kind that data/ does not hold (it holds {', '.join(sorted(KINDS))})"
    return _CONTENT.get(path.suffix, _text_problem)(path)


def _text_problem(path: Path) -> str | None:
    with path.open("rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            if b"\x00" in block:
                return f"is not the text that its name {path.suffix} promises"
            if b"data:image/" in block:
                return "holds an image as text (data:image/)"
    return None


def _tensor_problem(path: Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as file:
            for name in file.keys():  # noqa: SIM118
                kind = file.get_slice(name).get_dtype()
                if not kind.startswith(("F", "BF")):
                    return f"holds {name} of type {kind}, as pixels are; weights are floating"
    except SafetensorError as error:
        return f"is not a safetensors file ({error})"
    return None


def _table_problem(path: Path) -> str | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        return f"is not a Parquet file ({error})"
    for field in schema:
        if _holds_bytes(field.type):
            return f"holds bytes in column {field.name}, as images in a table are"
    return None


def _holds_bytes(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return True
    if pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind):
        return True
    fields = [kind.field(index) for index in range(getattr(kind, "num_fields", 0))]
    return any(_holds_bytes(field.type) for field in fields)


_CONTENT: dict[str, Callable[[Path], str | None]] = {
    ".parquet": _table_problem,
    ".safetensors": _tensor_problem,
}


def _files_of(folders: list[Path]) -> Iterator[Path]:
    """Yield the files of datasets, but for unpacked ones: their images are known by their bytes."""
    for folder in folders:
        for place, inner, names in os.walk(folder):
            inner[:] = [name for name in inner if name != "files"]
            yield from (path for name in names if (path := Path(place, name)).is_file())


def _same_content(one: Path, other: Path) -> bool:
    with one.open("rb") as first, other.open("rb") as second:
        while block := first.read(2**20):
            if block != second.read(len(block)):
                return False
    return True


def _refusal(path: Path, problem: str) -> WiseftError:
    return WiseftError(
        f"{path} {problem}. Images and files of datasets are bound by their licences and never "
        "enter DVC: move it out of data/ (datasets belong into datasets/, pictures into results/)."
    )
