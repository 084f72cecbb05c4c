"""Images as they lie, by one reader: class folders, tables, Hugging Face datasets, tar shards.

`SOURCE` or `SOURCE:SPLIT` is a folder or a file. What it says of classes is kept as it stands
there; whoever has a head finds the classes by these names.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wiseft.errors import WiseftError, some
from wiseft.images.packed import fetched, images_in, samples, text_of, unpack
from wiseft.images.scan import subfolders
from wiseft.images.tables import Columns as Table
from wiseft.images.tables import column, read_table, schema_of, text_lines

log = logging.getLogger(__name__)

SPLITS = {"held-out", "held_out", "val", "validation", "valid", "dev", "test", "train"}
"""Names of folders that are no classes, where nothing else stands beside them."""
TEST, WHOLE = "test", ""
_SPLIT = "split"
_FORMS = ("Image", "ClassLabel")
_LABEL_OPTION = "--label-column"
_IMAGE = "image img images path file filename filepath image_path img_path file_path file_name"
_LABEL = "label labels class class_name classname target category cls"
_TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_SHARDS = ("*.parquet", "data/*.parquet", "*.tar", "*.tar.gz", "*.tgz")


@dataclass(frozen=True)
class Columns:
    """Columns that go before the usual ones: in each table the first that it has. Of tar shards,
    those of the label are extensions, or keys of JSON.
    """

    image: Sequence[str] = ()
    label: Sequence[str] = ()


@dataclass(frozen=True)
class Source:
    """One split of images.

    Attributes:
        where: what was given, for messages.
        origin: folder or files that it is, with the split of a table: the same images are equal.
        classes: what its classes are called there, in label order; None without labels.
        numbered: whether these are numbers that nothing names.
        folder: of class folders, or of images without labels; None of what is listed.
        labels: of listed images, int64 (n,), into `classes`.
        row: names a listed image, by its number.
        files: absolute paths of listed images; those inside other files are written below a folder.
        folders: of the tables that list them; none of images inside other files.
    """

    where: str
    origin: tuple[str, ...]
    classes: list[str] | None
    numbered: bool = False
    labels: NDArray[np.int64] | None = None
    folder: Path | None = None
    row: Callable[[int], str] = str
    files: Callable[[Path], list[str]] = lambda _: []
    folders: Sequence[str] = ()


@dataclass(frozen=True)
class Place:
    """What an argument names.

    Attributes:
        given: as it was given.
        path: folder or file, or the pattern of shards.
        parts: by split, `WHOLE` without splits: one folder, or files.
        asked: the split that the argument names.
    """

    given: str
    path: Path
    parts: Mapping[str, list[Path]]
    asked: str
    columns: Columns

    @property
    def resolved(self) -> str:
        """The argument with its path in full, and the columns that it is read by."""
        whole = self.given if "://" in self.given else os.path.realpath(self.path)
        asked = [f":{self.asked}"] if self.asked else []
        return " ".join([whole, *asked, *self.columns.image, *self.columns.label])

    def choose(self, *usual: str) -> str:
        """Return the split that is meant: the only one, else the first usual one; that is said.

        Raises:
            WiseftError: if it is open which.
        """
        names = list(self.parts)
        found = [*(name for name in usual if name in names), *(names if len(names) == 1 else [])]
        if not found:
            raise WiseftError(
                f"{self.given} has no folders of classes but of splits: {some(names)}; name one, "
                f"such as {self.given}:{min(names)}"
            )
        if found[0] != WHOLE and not self.asked:
            log.info(f"{self.given} has the splits {some(names)}: {found[0]} is used")
        return found[0]

    def open(self, split: str) -> Source:
        """Read which images a split has, and their labels; no image is opened.

        Raises:
            WiseftError: the split is empty or damaged, a column is not found, a label is missing.
        """
        files = self.parts[split]
        where = self.given if self.asked or split == WHOLE else f"{self.given}:{split}"
        if not files:
            raise WiseftError(f"{where} holds no images")
        if files[0].is_dir():
            classes = subfolders(files[0]) or None
            return Source(where, (os.path.realpath(files[0]),), classes, folder=files[0])
        read = _shards if ".tar" in files[0].suffixes or files[0].suffix == ".tgz" else _rows
        return read(where, split, files, self.columns)


def find(given: Path | str, columns: Columns | None = None) -> Place:
    """Return what an argument names: a folder or file, of which `:SPLIT` names a split; or shards
    as `shard-{000..003}.tar`, here or by http.

    Raises:
        WiseftError: nothing is there, or it has no such split.
    """
    text = re.sub(r"^(https?):/+", r"\1://", str(given))
    columns = columns or Columns()
    path, split = Path(text), ""
    if not path.exists() and ("://" in text or "{" in text):
        files = [fetched(each) if "://" in each else Path(each) for each in _expanded(text)]
        if missing := [each for each in files if not each.is_file()]:
            raise WiseftError(f"expected a file of images, found nothing at {missing[0]}")
        return Place(text, path, {WHOLE: files}, "", columns)
    if not path.exists() and ":" in text:
        path, split = Path(text.rpartition(":")[0]), text.rpartition(":")[2]
    if not path.exists():
        raise WiseftError(f"expected images, found nothing at {path}")
    parts = _parts(path)
    if split and split not in parts and path.is_dir() and split in subfolders(path):
        parts = {split: _whole(path / split)}
    if split and split not in parts:
        has = f"the splits {some([*parts])}" if WHOLE not in parts else "no splits"
        raise WiseftError(f"{path} has no split {split}, but {has}")
    given = f"{path}:{split}" if split else str(path)
    return Place(given, path, {split: parts[split]} if split else parts, split, columns)


def _expanded(text: str) -> list[str]:
    """Return the names that braces stand for, as a shell has it: `{00..12}` or `{a,b}`."""
    match = re.search(r"\{([^{}]*)\}", text)
    if match is None:
        return [text]
    run = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    numbers = range(int(run[1]), int(run[2]) + 1) if run else ()
    each = [f"{k:0{len(run[1])}}" for k in numbers] if run else match[1].split(",")
    start, end = text[: match.start()], text[match.end() :]
    return [name for one in each for name in _expanded(start + one + end)]


def _parts(path: Path) -> dict[str, list[Path]]:
    if path.is_file():
        names = () if ".tar" in path.suffixes or path.suffix == ".tgz" else schema_of(path)
        values = read_table(path, [_SPLIT])[_SPLIT] if _SPLIT in names else [WHOLE]
        return {str(value): [path] for value in dict.fromkeys(values)}
    there = subfolders(path)
    if (path / "dataset_dict.json").is_file():
        return {name: _arrow(path / name) for name in there if _is_saved(path / name)}
    if _is_saved(path):
        return {WHOLE: _arrow(path)}
    shards = [file for form in _SHARDS for file in sorted(path.glob(form))]
    if shards := [file for file in shards if file.name not in _TABLES]:
        return _by_split(shards)
    if tables := [path / name for name in _TABLES if (path / name).is_file()]:
        return _parts(tables[0])
    if there and there != ["train"] and set(there) <= SPLITS:
        return {name: _whole(path / name) for name in there}
    return {WHOLE: [path]}


def _whole(path: Path) -> list[Path]:
    """Return the files of a folder that is one split, or the folder."""
    return list(dict.fromkeys(chain(*_parts(path).values())))


def _by_split(shards: list[Path]) -> dict[str, list[Path]]:
    words = {file: re.split(r"[^a-z]+", file.name.lower()) for file in shards}
    found = {file: [word for word in words[file] if word in SPLITS] for file in shards}
    if not any(found.values()):
        return {WHOLE: shards}
    names = {file: (found[file] or [file.stem])[0] for file in shards}
    return {name: [f for f in shards if names[f] == name] for name in dict.fromkeys(names.values())}


def _is_saved(path: Path) -> bool:
    return (path / "state.json").is_file() and (path / "dataset_info.json").is_file()


def _arrow(path: Path) -> list[Path]:
    """Return the files of a dataset that `save_to_disk` wrote."""
    try:
        state = json.loads((path / "state.json").read_bytes())
        names = [Path(each["filename"]).name for each in state["_data_files"]]
        other = state.get("_indices_data_files") or state.get("_indices_files")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise WiseftError(f"{path}/state.json is not what save_to_disk writes") from None
    if other:
        raise WiseftError(
            f"{path} is a selection of rows; call flatten_indices() and save it again"
        )
    return [path / name for name in names]


# ---------------------------------------------------------------------------------- what is listed


def _rows(where: str, split: str, files: list[Path], columns: Columns) -> Source:
    """Return the images that tables list by path, or hold."""
    schema = schema_of(files[0])
    typed = {form: [n for n, (_, f) in schema.items() if f.get("_type") == form] for form in _FORMS}
    held = typed["Image"] or [name for name, (kind, _) in schema.items() if "binary" in kind]
    image = _column(files[0], [*schema], columns.image, held, _IMAGE, "--image-column")
    label = _column(files[0], [*schema], columns.label, typed["ClassLabel"], _LABEL, _LABEL_OPTION)
    if image is None:
        raise WiseftError(
            f"{files[0]} has the columns {some([*schema])}; say with --image-column which of them "
            "has the images or their paths"
        )
    inside = "binary" in schema[image][0]
    wanted = {name for name in (label, None if inside else image, _SPLIT) if name in schema}
    tables = [(file, read_table(file, wanted or {image})) for file in files]
    counts = [len(next(iter(table.values()), ())) for _, table in tables]
    chosen = np.arange(sum(counts))
    if _SPLIT in wanted:
        parts = [str(value) for _, table in tables for value in table.get(_SPLIT, ())]
        chosen = np.flatnonzero([part == split for part in parts]) if split in parts else chosen
    ends = np.cumsum(counts)

    def row(number: int) -> str:
        place = int(chosen[number])
        at = int(np.searchsorted(ends, place, "right"))
        return f"{files[at]}, row {place + 1 - (int(ends[at - 1]) if at else 0)}"

    def unpacked(into: Path) -> list[str]:
        images = ((file.stem, each) for file in files for each in images_in(file, image))
        mask = np.isin(np.arange(sum(counts)), chosen)
        return unpack([split, image], files, compress(images, mask), into)

    def listed(into: Path) -> list[str]:
        paths = [path for file, table in tables for path in _paths(file, table, image)]
        return paths if len(chosen) == len(paths) else [paths[place] for place in chosen]

    values = None
    if label is not None:
        values = [value for _, table in tables for value in table.get(label, ())]
        values = values if len(chosen) == len(values) else [values[place] for place in chosen]
    names = schema[label][1].get("names") if label else None
    origin = (split, *(os.path.realpath(file) for file in files))
    found = _labels(values, names, row)
    folders = () if inside else [str(file.parent.resolve()) for file in files]
    files_of = unpacked if inside else listed
    return Source(where, origin, *found, row=row, files=files_of, folders=folders)


def _paths(table: Path, columns: Table, image: str) -> list[str]:
    """Return the absolute paths of a column; relative ones are so to the table's folder."""
    folder = str(table.parent.resolve())
    values = (value.replace("\\", "/") for value in column(table, columns, image))
    return [os.path.normpath(os.path.join(folder, value)) for value in values]  # noqa: PTH118


def _shards(where: str, split: str, files: list[Path], columns: Columns) -> Source:
    """Return the images of tar shards."""
    found = [(file, *sample) for file in files for sample in samples(file, pixels=False)]

    def row(number: int) -> str:
        return f"{found[number][0]}, sample {found[number][1]}"

    def unpacked(into: Path) -> list[str]:
        images = ((file.name, image) for file in files for _, image, _ in samples(file))
        return unpack([split], files, images, into)

    values = [_value(others, columns, row(k)) for k, (*_, others) in enumerate(found)]
    beside = (files[0].parent / "classnames.txt", files[0].parent.parent / "classnames.txt")
    names = next((text_lines(file) for file in beside if file.is_file()), None)
    labelled = None if all(value is None for value in values) else values
    origin = tuple(os.path.realpath(file) for file in files)
    return Source(where, origin, *_labels(labelled, names, row), row=row, files=unpacked)


def _value(others: Mapping[str, bytes], columns: Columns, where: str) -> Any:
    """Return the label of a sample: of an extension that is asked for, `cls`, `json` or `txt`."""
    keys = [*columns.label, *_LABEL.split()]
    for extension in [*columns.label, "cls", "json", "txt"]:
        if extension in others:
            value = text_of(others[extension], f"{where}.{extension}")
            if isinstance(value, dict):
                value = next((value[key] for key in keys if key in value), None)
            if value is not None:
                return value
    return None


def _column(
    file: Path,
    names: Sequence[str],
    asked: Sequence[str],
    typed: Sequence[str],
    usual: str,
    option: str,
) -> str | None:
    """Return the column that is asked for, else of the right type, else of a usual name.

    Raises:
        WiseftError: if none is that is asked for, or several are.
    """
    found = [name for name in asked if name in names][:1]
    if asked and not found:
        raise WiseftError(f"{file} has no column {asked[0]}; its columns are {', '.join(names)}")
    found = (
        found or [*typed] or [n for n in names if n.casefold().replace(" ", "_") in usual.split()]
    )
    if len(found) > 1:
        raise WiseftError(f"{file} has the columns {some(found)}; say with {option} which is meant")
    return found[0] if found else None


def _labels(
    values: Sequence[Any] | None, names: Sequence[str] | None, row: Callable[[int], str]
) -> tuple[list[str] | None, bool, NDArray[np.int64] | None]:
    """Return the classes in label order, whether they are mere numbers, and the labels.

    Args:
        values: a name or a number an image; None without labels.
        names: the classes that numbers stand for; None: nothing says it.

    Raises:
        WiseftError: a value is empty, is neither, or is no class; some are names, others numbers.
    """
    if values is None:
        return None, False, None
    texts, kinds = [], set()
    for number, value in enumerate(values):
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        text = str(value).strip() if isinstance(value, str | int) else ""
        if text in ("", "nan"):
            what = "is empty" if value in ("", "nan", None) or value != value else f"is {value!r}"
            raise WiseftError(f"{row(number)}: the label {what}, expected a name or number")
        kinds.add(isinstance(value, str))
        if len(kinds) > 1:
            raise WiseftError(
                f"{row(number)} has the label {value!r}, but labels above are of another type; "
                "write all as names or all as numbers"
            )
        texts.append(text)
    if names and set(texts) == {"-1"}:  # the Hub's mark for labels that are kept back
        return None, False, None
    distinct = set(texts)
    numbers = all(text.isascii() and text.isdecimal() for text in distinct)
    if names and (numbers or kinds == {False}):
        places = {str(place): place for place in range(len(names))}
    elif numbers:
        places = {text: place for place, text in enumerate(sorted(distinct, key=int))}
    else:
        places = {text: place for place, text in enumerate(names or sorted(distinct))}
    labels = np.array([places.get(text, -1) for text in texts], np.int64)
    if len(strange := np.flatnonzero(labels < 0)):
        raise WiseftError(
            f"{row(strange[0])} has the label {texts[strange[0]]}, which is none of the "
            f"{len(places)} classes {some([*(names or places)])}"
        )
    return list(names or places), numbers and not names, labels
