"""Images as they lie, by one reader: class folders, tables, Hugging Face datasets, tar shards.

`SOURCE` or `SOURCE:SPLIT` is a folder or a file. What it calls classes is kept as it stands there;
whoever has a head finds the classes by these names.
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
from wiseft.images import tables
from wiseft.images.packed import fetched, images_in, samples, unpack
from wiseft.images.scan import subfolders

log = logging.getLogger(__name__)

SPLITS = {"held-out", "held_out", "val", "validation", "valid", "dev", "test", "train"}
"""Names of folders that are no classes, where nothing else stands beside them."""
WHOLE, SPLIT = "", "split"
USUAL = {
    "image": "image img images path file filename filepath image_path img_path file_path file_name",
    "label": "label labels class class_name classname target category cls",
}
"""What columns are called; keys of JSON in tar shards too."""
_FORMS = {"image": "Image", "label": "ClassLabel"}
_TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_SHARDS = ("*.parquet", "data/*.parquet", "*.tar", "*.tar.gz", "*.tgz")
Asked = Mapping[str, Sequence[str]]
_TAR = re.compile(r"\.(tar|tar\.\w+|tgz)$")


@dataclass(frozen=True)
class Source:
    """One split of images.

    Attributes:
        where: what was given, for messages.
        origin: folder or files that it is, with the split of a table: the same images are equal.
        classes: what its classes are called there, in label order; None without labels.
        numbered: whether these are numbers that nothing names.
        labels: of listed images, int64 (n,), into `classes`.
        folder: of class folders, or of images without labels; None of what is listed.
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
        columns: for `image` and `label`, columns that go before the usual ones: of each table the
            first that it has. Of tar shards, those of the label are extensions, or keys of JSON.
        asked: the split that the argument names.
    """

    given: str
    path: Path
    parts: Mapping[str, list[Path]]
    columns: Asked
    asked: str = ""

    @property
    def resolved(self) -> str:
        """The argument with its path in full, and the columns that it is read by."""
        whole = self.given if "://" in self.given else os.path.realpath(self.path)
        asked = [f":{self.asked}"] if self.asked else []
        return " ".join([whole, *asked, *chain(*self.columns.values())])

    def choose(self, *usual: str) -> str:
        """Return the split that is meant: the only one, else the first usual one; that is said.

        Raises:
            WiseftError: if it is open which.
        """
        names = list(self.parts)
        found = names if len(names) == 1 else [name for name in usual if name in names]
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
        if _TAR.search(files[0].name):
            return _shards(where, split, files, self.columns)
        own = not (self.path.is_dir() or "://" in self.given)
        return _rows(where, split, files, self.columns, own)


def find(given: Path | str, **columns: Sequence[str]) -> Place:
    """Return what an argument names: a folder or file, of which `:SPLIT` names a split; or shards
    as `shard-{000..003}.tar`, here or by http.

    Args:
        columns: of `Place`.

    Raises:
        WiseftError: nothing is there, or it has no such split.
    """
    text = re.sub(r"^(https?):/+", r"\1://", str(given))
    path, split = Path(text), ""
    if not path.exists() and ("://" in text or "{" in text):
        files = [fetched(each) if "://" in each else Path(each) for each in _expanded(text)]
        if missing := [each for each in files if not each.is_file()]:
            raise WiseftError(f"expected a file of images, found nothing at {missing[0]}")
        return Place(text, path, {WHOLE: files}, columns)
    if not path.exists() and ":" in text:
        path, split = Path(text.rpartition(":")[0]), text.rpartition(":")[2]
    if not path.exists():
        raise WiseftError(f"expected images, found nothing at {text}")
    parts = _parts(path)
    if not split:
        return Place(str(path), path, parts, columns)
    if split not in parts and path.is_dir() and split in subfolders(path):
        parts = {split: _files(path / split)}
    if split not in parts:
        raise WiseftError(f"{path} has no split {split}, but {some([*parts]) or 'none'}")
    return Place(f"{path}:{split}", path, {split: parts[split]}, columns, split)


def _expanded(text: str) -> list[str]:
    """Return the names that braces stand for, as a shell has it: `{00..12}` or `{a,b}`."""
    match = re.search(r"\{([^{}]*)\}", text)
    if match is None:
        return [text]
    each = match[1].split(",")
    if run := re.fullmatch(r"(\d+)\.\.(\d+)", match[1]):
        each = [f"{k:0{len(run[1])}}" for k in range(int(run[1]), int(run[2]) + 1)]
    start, end = text[: match.start()], text[match.end() :]
    return [name for one in each for name in _expanded(start + one + end)]


def _parts(path: Path) -> dict[str, list[Path]]:
    """Return the files of each split of a folder or file, or the folder; see `Place`."""
    if path.is_file():
        if path.suffix not in (*tables.TEXT, *tables.PACKED) and not _TAR.search(path.name):
            forms = ", ".join([*tables.TEXT, *tables.PACKED])
            raise WiseftError(f"{path} is no folder, tar shard or {forms} file")
        named = not _TAR.search(path.name) and SPLIT in tables.schema_of(path)
        values = tables.read_table(path, [SPLIT])[SPLIT] if named else [WHOLE]
        return {str(value): [path] for value in dict.fromkeys(values)}
    there = subfolders(path)
    saved = [name for name in (WHOLE, *there) if (path / name / "state.json").is_file()]
    if saved:
        return {name: _arrow(path / name) for name in saved}
    parts: dict[str, list[Path]] = {}
    for file in chain(*(sorted(path.glob(form)) for form in _SHARDS)):
        if file.is_file() and file.name not in _TABLES and there in ([], ["data"]):
            words = [w for w in re.split(r"[^a-z]+", file.name.lower()) if w in SPLITS]
            parts.setdefault(words[0] if words else WHOLE, []).append(file)
    if parts:
        return parts
    if listed := [path / name for name in _TABLES if (path / name).is_file()]:
        return _parts(listed[0])
    if there and there != ["train"] and set(there) <= SPLITS:
        return {name: _files(path / name) for name in there}
    return {WHOLE: [path]}


def _files(path: Path) -> list[Path]:
    """Return the files of a folder that is one split, or the folder."""
    return list(dict.fromkeys(chain(*_parts(path).values())))


def _arrow(path: Path) -> list[Path]:
    """Return the files of a dataset that `save_to_disk` wrote."""
    try:
        state = json.loads((path / "state.json").read_bytes())
        names = [Path(each["filename"]).with_suffix(".arrow").name for each in state["_data_files"]]
        selected = state.get("_indices_data_files") or state.get("_indices_files")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise WiseftError(f"{path}/state.json is not what save_to_disk writes") from None
    if selected:
        raise WiseftError(f"{path} is a selection of rows; save it after flatten_indices()")
    return [path / name for name in names]


# ---------------------------------------------------------------------------------- what is listed


def _rows(where: str, split: str, files: list[Path], columns: Asked, own: bool) -> Source:
    """Return the images that tables list by path, or hold.

    Args:
        own: whether the user named the tables, whose paths may then lead anywhere.
    """
    schema = tables.schema_of(files[0])
    image, label = (_column(files[0], schema, columns.get(kind, ()), kind) for kind in USUAL)
    if image is None:
        raise WiseftError(
            f"{files[0]} has the columns {some([*schema]) or None}; say with --image-column which "
            "has the images or their paths"
        )
    inside = re.search("binary|struct", schema[image][0]) is not None
    wanted = [name for name in schema if name in (label, SPLIT, None if inside else image)]
    read = [dict(tables.read_table(file, wanted)) for file in files]
    if other := [file for file, t in zip(files, read, strict=True) if set(wanted) - t.keys()]:
        raise WiseftError(f"{other[0]} has not the columns of {files[0]}: {some(wanted)}")
    counts = [len(t[wanted[0]]) for t in read] if wanted else [*map(tables.rows_in, files)]
    if not sum(counts):
        raise WiseftError(f"{where} has no rows, expected one for each image")
    ends = np.cumsum(counts)
    chosen = np.arange(ends[-1])
    if SPLIT in wanted:
        parts = [str(value) for table in read for value in table[SPLIT]]
        chosen = np.flatnonzero([part == split for part in parts]) if split in parts else chosen

    def row(number: int) -> str:
        at = int(np.searchsorted(ends, chosen[number], "right"))
        return f"{files[at]}, row {chosen[number] - ends[at] + counts[at] + 1}"

    def unpacked(into: Path) -> list[str]:
        images = ((file.stem, each) for file in files for each in images_in(file, image))
        kept = compress(images, np.isin(np.arange(ends[-1]), chosen))
        return unpack([split, image], files, kept, into)

    def listed(_: Path) -> list[str]:
        both = zip(files, read, strict=True)
        paths = [path for file, table in both for path in _paths(file, table, image, own)]
        return [paths[place] for place in chosen]

    folders = [str(file.parent.resolve()) for file in files]
    every = [value for table in read for value in table.pop(label)] if label else None
    values = None if every is None else [every[place] for place in chosen]
    found = _labels(values, schema[label][1].get("names") if label else None, row)
    origin = (split, *map(os.path.realpath, files))
    if inside:
        return Source(where, origin, *found, row=row, files=unpacked)
    return Source(where, origin, *found, row=row, files=listed, folders=folders)


def _paths(file: Path, table: tables.Columns, image: str, own: bool) -> list[str]:
    """Return the absolute paths of a column; relative ones start at the table's folder.

    Raises:
        WiseftError: one leads out of this folder, and the table is not the user's own.
    """
    folder, paths = str(file.parent.resolve()), tables.column(file, table, image)
    full = [os.path.normpath(os.path.join(folder, path)) for path in paths]  # noqa: PTH118
    for row, path in enumerate(() if own else full, start=1):
        if not path.startswith(f"{folder}/"):
            raise WiseftError(
                f"{file}, row {row}: {path} lies outside the table's folder and is not read. If "
                f"the table is your own, give {file} itself."
            )
    return full


def _shards(where: str, split: str, files: list[Path], columns: Asked) -> Source:
    """Return the images of tar shards."""
    found = [(file, *sample) for file in files for sample in samples(file, pixels=False)]

    def row(number: int) -> str:
        return f"{found[number][0]}, sample {found[number][1]}"

    def unpacked(into: Path) -> list[str]:
        images = ((file.name, image) for file in files for _, image, _ in samples(file))
        return unpack([split], files, images, into)

    asked = columns.get("label", ())
    values = [_value(others, asked, row(k)) for k, (*_, others) in enumerate(found)]
    beside = [folder / "classnames.txt" for folder in (files[0].parent, files[0].parent.parent)]
    named = [tables.text_lines(file) for file in beside if file.is_file()]
    names = [*filter(None, named[0])] if named else None
    labels = _labels(None if all(value is None for value in values) else values, names, row)
    origin = tuple(map(os.path.realpath, files))
    return Source(where, origin, *labels, row=row, files=unpacked)


def _value(others: Mapping[str, bytes], asked: Sequence[str], where: str) -> Any:
    """Return the label of a sample: of an extension that is asked for, `cls`, `json` or `txt`."""
    for extension in [*asked, "cls", "json", "txt"]:
        try:
            value: Any = others.get(extension, b"").decode().strip() or None
            if value and extension.endswith("json"):
                value = json.loads(value)
        except (ValueError, RecursionError):
            raise WiseftError(f"{where}.{extension} is no label as text or JSON") from None
        if isinstance(value, dict):
            keys = [key for key in [*asked, *USUAL["label"].split()] if key in value]
            value = value[keys[0]] if keys else None
        if value is not None:
            return value
    return None


def _column(file: Path, schema: tables.Schema, asked: Sequence[str], kind: str) -> str | None:
    """Return the column that is asked for, else of the right type, else of a usual name.

    Raises:
        WiseftError: if none is that is asked for, or several are.
    """
    found = [name for name in asked if name in schema][:1]
    if asked and not found:
        raise WiseftError(f"{file} has no column {asked[0]}; its columns are {some([*schema], 20)}")
    found = found or [n for n, (_, about) in schema.items() if about.get("_type") == _FORMS[kind]]
    if kind == "image" and not found:
        found = [name for name, (form, _) in schema.items() if "binary" in form]
    found = found or [name for name in schema if name.casefold() in USUAL[kind].split()]
    if len(found) > 1:
        raise WiseftError(f"{file} has the columns {some(found)}; say which with --{kind}-column")
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
    texts, values = [], values or ()
    for number, value in enumerate(values):
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        text = str(value).strip() if isinstance(value, str | int) else ""
        if text in ("", "nan") or isinstance(value, str) != isinstance(values[0], str):
            raise WiseftError(
                f"{row(number)}: expected a name or number as label, the same kind in all rows, "
                f"found {value!r}"
            )
        texts.append(text)
    distinct = set(texts)
    if not values or (names and distinct == {"-1"}):  # the Hub's mark of labels kept back
        return None, False, None
    if numbers := all(text.isascii() and text.isdecimal() for text in distinct):
        texts = [text.lstrip("0") or "0" for text in texts]
        distinct = set(texts)
    classes = list(names or sorted(distinct, key=int if numbers else str))
    known = [str(k) for k in range(len(classes))] if names and numbers else classes
    places = {text: place for place, text in enumerate(known)}
    for number, text in enumerate(texts):
        if text not in places:
            raise WiseftError(
                f"{row(number)} has the label {text}, which is none of the {len(classes)} classes "
                f"{some(classes)}"
            )
    return classes, numbers and not names, np.array([places[text] for text in texts], np.int64)
