"""ImageNet-1k as it is distributed, or as people keep it.

Training images lie in a folder a wnid. Validation images do so too, or lie flat, as the official
archive unpacks them; then the labels come, by the number in the images' names, from the development
kit or from a list of wnids.

The development kit numbers the classes by its own ids (1 to 1000), which are not in the order of
the sorted wnids that everybody's labels follow; its `meta.mat` tells the wnid of each id.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wiseft.errors import WiseftError
from wiseft.images.folder_labels import key, table
from wiseft.images.image_folder import index_class_folders, match_folders
from wiseft.images.scan import image_names, subfolders
from wiseft.images.split import FolderSplit, Indexed, LayoutInputs
from wiseft.images.tables import text_lines
from wiseft.study.config.layouts import ImagenetOptions
from wiseft.study.data.layouts.listed import listed_split
from wiseft.study.data.layouts.metadata import read_variable
from wiseft.study.data.unpacking.unpack import read_members

KIT = "ILSVRC2012_devkit_t12"
KIT_PLACES = (KIT, f"devkit/{KIT}")
GROUND_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"
META = "data/meta.mat"
LISTS = ("imagenet_2012_validation_synset_labels.txt", "synset_labels.txt", "val_labels.txt")
KAGGLE = "LOC_val_solution.csv"
WNID = re.compile(r"n\d{8}")
NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})", re.IGNORECASE)
FLAT_NAME = re.compile(rf"{NUMBER.pattern}\.JPEG", re.IGNORECASE)


def read(inputs: LayoutInputs) -> Indexed:
    """Index the splits `train` and `test` (or `val`), the latter two from the validation images.

    Raises:
        WiseftError: a folder, a class or the labels of flat validation images are missing, or the
            entry has another split.
    """
    options: ImagenetOptions = inputs.options
    if not inputs.class_ids:
        raise WiseftError(
            f"dataset {inputs.dataset} has layout imagenet but no class ids (wnids); set "
            "`class_names: imagenet` or list `class_ids` in its entry"
        )
    places = {"train": options.train, "test": options.val, "val": options.val}
    splits = {}
    for split in inputs.splits:
        if split not in places:
            raise WiseftError(
                f"dataset {inputs.dataset} has a split {split}, but layout imagenet reads only "
                f"{', '.join(places)}; correct `splits` in its entry"
            )
        splits[split] = _split(inputs, places[split], flat=split != "train")
    return Indexed(splits)


def _split(inputs: LayoutInputs, places: Sequence[str], flat: bool) -> FolderSplit:
    folder = inputs.place(places)
    folders = subfolders(folder)
    images = image_names(folder) if flat else []
    known = table("class-id", inputs)
    if images and any(key("class-id", name) in known for name in folders):
        raise WiseftError(
            f"{folder} has both class folders and flat images such as {images[0]}; sorting them "
            "into folders was interrupted. Sort all of them, or none."
        )
    if images:
        return _flat_split(inputs, folder, images)
    if not folders:
        raise WiseftError(
            f"{folder} holds no class folders: expected one for each class id, such as "
            f"{(inputs.class_ids or ('?',))[0]}"
            f"{', or images such as ILSVRC2012_val_00000001.JPEG' if flat else ''}. Unpack the "
            "images there."
        )
    labels = match_folders(folder, folders, "class-id", inputs)
    return index_class_folders(inputs, folder, labels)


def _flat_split(inputs: LayoutInputs, folder: Path, images: Sequence[str]) -> FolderSplit:
    numbers = []
    for name in images:
        match = FLAT_NAME.fullmatch(name)
        if not match:
            raise WiseftError(
                f"{folder / name}: expected flat validation images to be called like "
                "ILSVRC2012_val_00000001.JPEG, because their labels go by that number. Move the "
                "file away."
            )
        numbers.append(int(match[1]))
    known, source = validation_labels(inputs, folder)
    if outside := [name for name, n in zip(images, numbers, strict=True) if n not in known]:
        raise WiseftError(
            f"{folder / outside[0]}: {source} has {len(known)} labels, but none for this image. "
            "Take the labels of the whole validation set."
        )
    paths = [inputs.prefix(folder) + name for name in images]
    return listed_split(inputs, paths, [known[number] for number in numbers], folder)


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

    def found(name: str) -> Path | None:
        places = [*(base / name for base in bases), *filter(None, [inputs.files.get(name)])]
        return next((path for path in places if path.is_file()), None)

    for place in KIT_PLACES:
        if file := found(f"{place}/{GROUND_TRUTH}"):
            kit = file.parents[1]
            if not (kit / META).is_file():
                raise WiseftError(f"{kit / META} is missing; unpack {KIT}.tar.gz again")
            truth = file.read_text(encoding="utf-8")
            return _of_kit(truth, (kit / META).read_bytes(), kit, inputs)
    if packed := found(f"{KIT}.tar.gz"):
        return _of_kit(*_packed(packed), packed, inputs)
    for name in (*LISTS, KAGGLE):
        if listed := found(name):
            return _of_list(listed, inputs), str(listed)
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
        wnid = wnids.get(int(text), "") if text.isdigit() else ""
        if (label := known.get(key("class-id", wnid))) is None:
            raise WiseftError(
                f"{path / GROUND_TRUTH}, line {line}: expected the id of one of {len(known)} "
                f"classes, found `{text}`. Fetch the development kit again."
            )
        labels[line] = label
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
    rows = [line.replace(",", " ").split() for line in text_lines(path) if line]
    if path.suffix == ".csv":  # ImageId,wnid x y x y wnid x y ...: the first is the class
        rows = [row[:2] for row in rows[1:]]
    known = table("class-id", inputs)
    labels: dict[int, int] = {}
    for line, row in enumerate(rows, start=1):
        match = NUMBER.search(row[0])
        if not match and len(row) > 1:
            raise WiseftError(
                f"{path}, entry {line}: expected a wnid, or a name such as "
                f"ILSVRC2012_val_00000001.JPEG and a wnid, found `{' '.join(row)[:80]}`. Correct "
                "the list."
            )
        number = int(match[1]) if match else line
        wnid = next((value for value in reversed(row) if WNID.fullmatch(value)), "")
        if (label := known.get(key("class-id", wnid))) is None:
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
        labels[number] = label
    return labels
