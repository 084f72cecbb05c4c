"""A Hugging Face dataset in image-folder form: the images are files.

Each split is a folder, with a folder a class or with `metadata.csv`, `metadata.jsonl` or
`metadata.parquet`, whose column `file_name` is relative to it. Shards in Parquet, with the images'
bytes inside, are another form and are refused.
"""

from __future__ import annotations

from pathlib import Path

from wiseft.errors import WiseftError
from wiseft.images.image_folder import check_one_each, index_class_folders
from wiseft.images.scan import subfolders
from wiseft.images.split import FolderSplit, Indexed, LayoutInputs
from wiseft.images.tables import Columns, column, read_table, schema_of
from wiseft.study.config.layouts import HuggingFaceOptions
from wiseft.study.data.layouts.listed import ClassLabels, class_labels, table_split

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_NAME = "file_name"
KEYWORDS = {
    "train": ("train", "training"),
    "test": ("test", "testing", "eval", "evaluation"),
    "val": ("validation", "valid", "val", "dev"),
    "held-out": ("validation", "valid", "val", "dev"),
}
"""Folder names that mean the same split there; a split of another name is its own folder."""


def read(inputs: LayoutInputs) -> Indexed:
    """Index each split: rows of the metadata in their order, or class folders in label order.

    Labels are class ids, class names or numbers, the same in all splits that are read.

    Raises:
        WiseftError: a split's folder, a column or an image is missing, a label is no class, a class
            folder is empty, or the images are inside Parquet shards.
    """
    options: HuggingFaceOptions = inputs.options
    folders = {split: _folder(inputs, options, split) for split in inputs.splits}
    tables = {split: _metadata(folder) for split, folder in folders.items()}
    rows = {split: _rows(path) for split, path in tables.items() if path}
    values: dict[str, list[str]] = {}
    for split, folder in folders.items():
        table = tables[split]
        values[split] = column(table, rows[split], options.label) if table else subfolders(folder)
        if not values[split]:
            raise WiseftError(
                f"{folder} holds neither class folders nor {', '.join(METADATA)}, expected one of "
                "them. Put the images there, or correct `folders` in the dataset's options."
            )
    source = ", ".join(str(tables[split] or folder) for split, folder in folders.items())
    every = [value for split in values for value in values[split]]
    classes = class_labels(every, inputs, source)
    splits = {
        split: _split(inputs, folder, tables[split], rows.get(split, {}), values[split], classes)
        for split, folder in folders.items()
    }
    return Indexed(splits, class_names=classes.names)


def _split(
    inputs: LayoutInputs,
    folder: Path,
    table: Path | None,
    rows: Columns,
    values: list[str],
    classes: ClassLabels,
) -> FolderSplit:
    if table is None:
        labels = {name: classes.labels[name] for name in values}
        names = [name for name, *_ in classes.names] if classes.names else inputs.class_names
        check_one_each(folder, labels, names)
        return index_class_folders(inputs, folder, labels)
    paths = column(table, rows, FILE_NAME)
    of_rows = [classes.labels[value] for value in values]
    return table_split(inputs, folder, table, paths, of_rows, range(len(paths)))


def _folder(inputs: LayoutInputs, options: HuggingFaceOptions, split: str) -> Path:
    names = KEYWORDS.get(split, (split,))
    places = options.folders.get(split) or [
        *dict.fromkeys([split, *names, *(f"data/{name}" for name in (split, *names))])
    ]
    try:
        return inputs.place(places)
    except WiseftError:
        if shards := _shards(inputs.root) or _shards(inputs.root / "data"):
            raise _inside_parquet(shards[0]) from None
        if split in options.folders or len(inputs.splits) > 1:
            raise
    # One split only: the folder itself, as `datasets` does where nothing names a split.
    return inputs.place(["."])


def _metadata(folder: Path) -> Path | None:
    tables = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(tables) > 1:
        raise WiseftError(
            f"{folder} has both {tables[0].name} and {tables[1].name}, expected one. Move one away."
        )
    if not tables and (shards := _shards(folder)):
        raise _inside_parquet(shards[0])
    return tables[0] if tables else None


def _shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if path.name not in METADATA)


def _rows(table: Path) -> Columns:
    schema = schema_of(table)  # gigabytes of images are not read first
    if FILE_NAME not in schema and any("bytes: binary" in kind for kind, _ in schema.values()):
        raise _inside_parquet(table)
    return read_table(table)


def _inside_parquet(path: Path) -> WiseftError:
    return WiseftError(
        f"{path} holds the images inside itself; layout hugging-face reads image files only. Save "
        "the images as files, in a folder for each class or beside a metadata.csv with the columns "
        f"{FILE_NAME} and a label."
    )
