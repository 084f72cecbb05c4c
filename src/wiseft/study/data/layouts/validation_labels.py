"""Labels of ImageNet's validation images where these lie flat, by the number in their names.

The development kit numbers the classes by its own ids (1 to 1000), which are not in the order of
the sorted wnids that everybody's labels follow; its `meta.mat` tells the wnid of each id.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wiseft.errors import WiseftError
from wiseft.images.folder_labels import key, table
from wiseft.images.split import LayoutInputs
from wiseft.study.data.layouts.matlab import read_variable
from wiseft.study.data.unpacking.packages import read_members

KIT = "ILSVRC2012_devkit_t12"
KIT_PLACES = (KIT, f"devkit/{KIT}")
GROUND_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"
META = "data/meta.mat"
LISTS = ("imagenet_2012_validation_synset_labels.txt", "synset_labels.txt", "val_labels.txt")
KAGGLE = "LOC_val_solution.csv"
WNID = re.compile(r"n\d{8}")
NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})", re.IGNORECASE)


def validation_labels(inputs: LayoutInputs, folder: Path) -> tuple[dict[int, int], str]:
    """Return the label of each validation image by its number, and the file that told it.

    Looked for in the images' folder, the folders around it up to the root, and the entry's files:
    the development kit (unpacked or not), a list of wnids (one a line in the order of the images'
    names, or a name and a wnid), or Kaggle's `LOC_val_solution.csv`.

    Args:
        folder: where the images are.

    Raises:
        WiseftError: none is there, or it is malformed or names an unknown class.
    """
    around = [folder, *folder.parents]
    bases = around[: around.index(inputs.root) + 1] if inputs.root in around else [inputs.root]
    for kit in (base / place for base in bases for place in KIT_PLACES):
        if (kit / GROUND_TRUTH).is_file():
            truth = (kit / GROUND_TRUTH).read_text(encoding="utf-8")
            if not (kit / META).is_file():
                raise WiseftError(f"{kit / META} is missing; unpack {KIT}.tar.gz again")
            return _of_kit(truth, (kit / META).read_bytes(), kit, inputs)
    for path in (*(base / f"{KIT}.tar.gz" for base in bases), inputs.files.get(f"{KIT}.tar.gz")):
        if path is not None and path.is_file():
            return _of_kit(*_packed(path), path, inputs)
    for name in (*LISTS, KAGGLE):
        for path in (*(base / name for base in bases), inputs.files.get(name)):
            if path is not None and path.is_file():
                return _of_list(path, inputs), str(path)
    raise WiseftError(
        f"{folder} holds flat validation images, whose labels are not there. Put {KIT}.tar.gz "
        f"(unpacked or not) into {inputs.root}, or {LISTS[0]} (a wnid a line, in the order of the "
        f"images' names), or Kaggle's {KAGGLE}; or sort the images into a folder for each wnid."
    )


def _packed(path: Path) -> tuple[str, bytes]:
    """Read both files of the development kit without unpacking it."""
    try:
        content = read_members(path, [f"{KIT}/{name}" for name in (GROUND_TRUTH, META)])
        return content[f"{KIT}/{GROUND_TRUTH}"].decode(), content[f"{KIT}/{META}"]
    except (WiseftError, UnicodeDecodeError) as error:
        raise WiseftError(f"{path} is not the development kit of ILSVRC2012: {error}") from None


def _of_kit(
    truth: str, meta: bytes, path: Path, inputs: LayoutInputs
) -> tuple[dict[int, int], str]:
    wnids = _wnids_of_ids(meta, path)
    known = table("class-id", inputs)
    labels = {}
    for line, text in enumerate(truth.split(), start=1):
        wnid = wnids.get(int(text)) if text.isdigit() else None
        if wnid is None or key("class-id", wnid) not in known:
            raise WiseftError(
                f"{path / GROUND_TRUTH}, line {line}: expected the id of one of {len(known)} "
                f"classes, found `{text}`. Fetch the development kit again."
            )
        labels[line] = known[key("class-id", wnid)]
    return labels, str(path)


def _wnids_of_ids(meta: bytes, path: Path) -> dict[int, str]:
    """Return the wnid of each low-level class of `meta.mat` by its ILSVRC2012 id."""
    synsets = read_variable(meta, "synsets", path / META)
    try:
        columns = [np.atleast_1d(synsets[name]) for name in ("ILSVRC2012_ID", "WNID")]
        children = np.atleast_1d(synsets["num_children"])
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise WiseftError(
            f"{path / META} is not the list of classes of ILSVRC2012: {error}. Fetch the "
            "development kit again."
        ) from None
    # Classes with children are groups of the others and label nothing.
    rows = zip(*columns, children, strict=True)
    return {int(number): str(wnid) for number, wnid, below in rows if int(below) == 0}


def _of_list(path: Path, inputs: LayoutInputs) -> dict[int, int]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = (
            [row for row in csv.reader(file) if row]
            if path.suffix == ".csv"
            else [line.replace(",", " ").split() for line in file if line.strip()]
        )
    if path.suffix == ".csv":  # ImageId, "wnid x y x y wnid x y ...": the first is the class
        rows = [[row[0], *row[1].split()[:1]] for row in rows[1:] if len(row) > 1]
    known = table("class-id", inputs)
    labels: dict[int, int] = {}
    for line, row in enumerate(rows, start=1):
        number = _number(path, line, row)
        wnid = next((value for value in reversed(row) if WNID.fullmatch(value)), None)
        if wnid is None or key("class-id", wnid) not in known:
            why = (
                " A number could be ILSVRC's own id or the place in the sorted wnids, which differ."
                if row[-1].isdigit()
                else ""
            )
            raise WiseftError(
                f"{path}, entry {line}: expected the wnid of one of {len(known)} classes, found "
                f"`{' '.join(row)[:80]}`.{why} Correct the list."
            )
        if number in labels:
            raise WiseftError(f"{path}, entry {line}: image {number} has a label already")
        labels[number] = known[key("class-id", wnid)]
    return labels


def _number(path: Path, line: int, row: Sequence[str]) -> int:
    """Return the image's number: from its name, or from the line where there is only a wnid."""
    match = NUMBER.search(row[0])
    if match or len(row) == 1:
        return int(match[1]) if match else line
    raise WiseftError(
        f"{path}, entry {line}: expected a wnid, or a name such as ILSVRC2012_val_00000001.JPEG "
        f"and a wnid, found `{' '.join(row)[:80]}`. Correct the list."
    )
