"""ImageNet-1k as it is distributed, or as people keep it.

Training images lie in a folder a wnid. Validation images do so too, or lie flat, as the official
archive unpacks them; then the labels come from the development kit or from a list of wnids (see
`validation_labels`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wiseft.errors import WiseftError
from wiseft.images.folder_labels import key, table
from wiseft.images.image_folder import index_class_folders, match_folders
from wiseft.images.scan import file_sizes, image_names, subfolders
from wiseft.images.split import FolderSplit, Indexed, LayoutInputs
from wiseft.study.config.layouts import ImagenetOptions
from wiseft.study.data.layouts.validation_labels import validation_labels

FLAT_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG", re.IGNORECASE)


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
    outside = [name for name, n in zip(images, numbers, strict=True) if n not in known]
    if outside:
        raise WiseftError(
            f"{folder / outside[0]}: {source} has {len(known)} labels, but none for this image. "
            "Take the labels of the whole validation set."
        )
    paths = [inputs.prefix(folder) + name for name in images]
    return FolderSplit(
        paths=paths,
        labels=np.array([known[number] for number in numbers], np.int64),
        bytes=file_sizes(inputs.root, paths, [str(folder)] * len(paths)),
    )
