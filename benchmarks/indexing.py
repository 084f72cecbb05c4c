"""Indexing an image folder of 100,000 files against the plain way, `Path.rglob` and `Path.stat`.

The files hold one byte each: indexing reads names and sizes only. Both ways find the folder in the
file system's cache.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.common import Options, ratio, timed, write_record
from wiseft.errors import WiseftError
from wiseft.images.folder_options import ImageFolderOptions
from wiseft.images.scan import EXTENSIONS
from wiseft.study.data.layouts import Indexed, LayoutInputs, reader

FILES = 100_000
CLASSES = 1000
GOAL_SECONDS = 20


def run(options: Options) -> None:
    """Write `indexing.json`."""
    classes = 10 if options.quick else CLASSES
    files = 200 if options.quick else FILES
    ids = [f"n{label:08d}" for label in range(classes)]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for label, wnid in enumerate(ids):
            folder = root / "test" / wnid
            folder.mkdir(parents=True)
            for number in range(label, files, classes):
                (folder / f"{wnid}_{number}.JPEG").write_bytes(b"x")
        seconds, results = timed(
            {"naive": lambda: naive(root / "test", root), "ours": lambda: ours(root, ids)},
            options.repeats,
        )
    split = results["ours"].splits["test"]
    found = list(zip(split.paths, split.labels.tolist(), split.bytes.tolist(), strict=True))
    if found != results["naive"]:
        raise WiseftError("the index differs from that of the plain way")
    median = seconds["ours"]["median"]
    write_record(
        "indexing",
        options,
        settings={"files": files, "classes": classes, "goal_seconds": GOAL_SECONDS},
        seconds=seconds,
        measured={"files_per_second": round(files / median), "seconds": median},
        ratios={"indexing": ratio(seconds, "naive", "ours")},
        checks={"equal_rows": len(found)},
    )


def ours(root: Path, ids: list[str]) -> Indexed:
    """Index with the reader of the layout."""
    options = ImageFolderOptions(naming="class-id")
    return reader("image-folder")(
        LayoutInputs("made-up", root, {}, ["test"], options, class_ids=ids, class_names=ids)
    )


def naive(base: Path, root: Path) -> list[tuple[str, int, int]]:
    """Return path, label and size of each image, class by class."""
    rows = []
    folders = sorted(path for path in base.iterdir() if path.is_dir())
    for label, folder in enumerate(folders):
        images = (path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)
        rows += [
            (path.relative_to(root).as_posix(), label, path.stat().st_size)
            for path in sorted(images, key=lambda path: path.relative_to(base).as_posix())
            if path.is_file()
        ]
    return rows
