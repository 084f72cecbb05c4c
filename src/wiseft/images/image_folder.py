"""One folder a class: the layout of ImageNet-V2, -R, -A, -Sketch and of most people's own images.

What the folders are called decides the label (option `naming`): a name of the class, a class id
such as a wnid, or the label itself. Labels never follow the order of folders that were not checked
against the classes: sorted as text, ImageNet-V2's folder `10` would come before `2`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from wiseft.errors import WiseftError
from wiseft.images.folder_labels import called, humanise, key, no_class, table
from wiseft.images.folder_options import ImageFolderOptions
from wiseft.images.scan import Images, scan_folders, subfolders
from wiseft.images.split import FolderSplit, Indexed, LayoutInputs


def read(inputs: LayoutInputs) -> Indexed:
    """Index the class folders of each split; in label order, then sorted by path.

    Images may lie in folders below the class folder. See `scan_folders` for what is left out.

    Raises:
        WiseftError: a split's folder is missing, a folder is no class's, or a class has no folder
            or no images.
    """
    options: ImageFolderOptions = inputs.options
    bases = {split: _base(inputs, options, split) for split in inputs.splits}
    folders = {split: subfolders(base) for split, base in bases.items()}
    for split, base in bases.items():
        if not folders[split]:
            raise WiseftError(
                f"{base} holds no class folders: expected {base}/<class>/<image>. Unpack the "
                "images there, or correct `folders` in the dataset's options."
            )
    if options.naming == "class-id" and not inputs.class_ids:
        raise WiseftError(
            f"dataset {inputs.dataset} says that folders are called by class ids, but has none; "
            "list `class_ids` in its entry, or set `naming: name`"
        )
    own, first = None, inputs.splits[0]
    if not inputs.class_names:
        own = _own_names(inputs, options.naming, bases[first], folders[first])
    if own and options.naming != "class-id":
        inputs = replace(inputs, class_names=own)
    labelled = {
        split: match_folders(base, folders[split], options.naming, inputs)
        for split, base in bases.items()
    }
    splits = {
        split: index_class_folders(inputs, base, labelled[split]) for split, base in bases.items()
    }
    return Indexed(splits, class_names=own and [[name] for name in own])


def index_class_folders(inputs: LayoutInputs, base: Path, labels: Mapping[str, int]) -> FolderSplit:
    """Index the images in class folders, in label order, then sorted by path.

    Args:
        base: the folder below the root that the class folders are in.
        labels: label of each class folder by its name.

    Raises:
        WiseftError: a class folder holds no images, or an image is empty.
    """
    ordered = sorted(labels, key=lambda name: labels[name])
    prefix = inputs.prefix(base)
    folders = [f"{prefix}{name}" for name in ordered]
    images_of = scan_folders(inputs.root, folders, inputs.broken)
    for name, images in zip(ordered, images_of, strict=True):
        if not images:
            raise WiseftError(
                f"{base / name} holds no images, expected those of class {name}; the folder is "
                "incomplete. Unpack it again."
            )
    return of_images(images_of, [labels[name] for name in ordered])


def of_images(images_of: Sequence[Images], labels: Sequence[int]) -> FolderSplit:
    """Return a split of the images of several folders, with the label of each folder."""
    return FolderSplit(
        paths=[path for images in images_of for path, _ in images],
        labels=np.repeat(np.array(labels, np.int64), [len(images) for images in images_of]),
        bytes=np.array([size for images in images_of for _, size in images], np.int64),
    )


def match_folders(
    base: Path, folders: Sequence[str], naming: str, inputs: LayoutInputs
) -> dict[str, int]:
    """Return the label of each class folder.

    Args:
        base: the folder that they are in, for messages.
        naming: what they are called: `name`, `class-id` or `index`.

    Raises:
        WiseftError: a folder is no class's, two folders are one class's, or a class has none.
    """
    known = table(naming, inputs)
    labels = {}
    for folder in folders:
        label = known.get(key(naming, folder))
        if label is None:
            raise WiseftError(
                f"{base / folder}: {no_class(folder, naming, inputs)} Move the folder away, or "
                f"set `naming` in the dataset's options (now {naming})."
            )
        labels[folder] = label
    check_one_each(base, labels, called(naming, inputs))
    return labels


def check_one_each(base: Path, labels: Mapping[str, int], classes: Sequence[str]) -> None:
    """Check that every class has one folder.

    Args:
        base: the folder that the class folders are in, for messages.
        labels: label of each class folder by its name.
        classes: what the folders of the classes are called, in label order.

    Raises:
        WiseftError: two folders are one class's, or a class has none.
    """
    folders: dict[int, str] = {}
    for folder, label in labels.items():
        if label in folders:
            raise WiseftError(
                f"{base}: expected one folder a class, found {folders[label]} and {folder} for the "
                "same one. Move one of them away."
            )
        folders[label] = folder
    missing = [name for label, name in enumerate(classes) if label not in folders]
    if missing:
        raise WiseftError(
            f"{base}: expected a folder for each of {len(classes)} classes, found {len(folders)}; "
            f"the first missing one is that of {missing[0]}. The images are incomplete: unpack "
            "them again. If they are a subset, they are another dataset: give it an entry of these "
            "classes alone (docs/datasets.md#a-subset-of-a-dataset)."
        )


def _base(inputs: LayoutInputs, options: ImageFolderOptions, split: str) -> Path:
    if split in options.folders:
        return inputs.place(options.folders[split])
    return inputs.place([split, "."] if len(inputs.splits) == 1 else [split])


def _own_names(inputs: LayoutInputs, naming: str, base: Path, folders: Sequence[str]) -> list[str]:
    """Return the class ids, or the names of the first split's folders, which all others share."""
    if naming == "class-id":
        return list(inputs.class_ids or ())
    if naming == "index":
        return [str(label) for label in range(len(folders))]
    names = [humanise(folder) for folder in folders]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise WiseftError(
            f"{base}: several folders mean the class {twice[0]}; move one of them away."
        )
    return names
