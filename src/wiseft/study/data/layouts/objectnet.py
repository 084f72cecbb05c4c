"""ObjectNet: images in class folders, and mapping files that lead to ImageNet's classes.

Of the 313 folders, those that overlap with ImageNet are the classes, in the order of the folders'
names; the others are skipped (paper, section 2 and appendix D.4). The chain of a class is folder
-> ObjectNet name -> names of ImageNet classes -> their lines in ILSVRC's list of 2012 -> labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from wiseft.base.io import read_object, require_file
from wiseft.errors import WiseftError
from wiseft.images.image_folder import index_class_folders
from wiseft.images.scan import subfolders
from wiseft.images.split import Indexed, LayoutInputs
from wiseft.study.data.layouts.metadata import check_members, check_names, only_split

FOLDER_NAMES = "folder_to_objectnet_label.json"
OVERLAP = "objectnet_to_imagenet_1k.json"
ILSVRC_NAMES = "imagenet_to_label_2012_v2"
ILSVRC_LINES = "pytorch_to_imagenet_2012_id.json"


def read(inputs: LayoutInputs) -> Indexed:
    """Index the images of the classes that overlap with ImageNet.

    The class names are ObjectNet's own, in lower case.

    Raises:
        WiseftError: a mapping file is missing or breaks the chain, the class names are not those
            of the entry, a class folder is missing, empty or unknown.
    """
    split = only_split(inputs)
    mappings = inputs.place(inputs.options.mappings)
    images = inputs.place(inputs.options.images)
    folder_names = {key: str(value) for key, value in read_object(mappings / FOLDER_NAMES).items()}
    members = _members(mappings, folder_names)
    names = [folder_names[folder].lower() for folder in members]
    if inputs.class_names:
        check_names(inputs, names, mappings / FOLDER_NAMES)
    check_members(inputs, list(members.values()), mappings / OVERLAP)
    _check_folders(inputs.dataset, images, set(folder_names), list(members))
    labels = {folder: label for label, folder in enumerate(members)}
    files = index_class_folders(inputs, images, labels)
    # Independent of the folder that this copy happens to lie in.
    ids = [path.removeprefix(inputs.prefix(images)) for path in files.paths]
    return Indexed(
        splits={split: replace(files, sample_ids=ids)},
        class_names=None if inputs.class_names else [[name] for name in names],
        label_map=list(members.values()),
    )


def _members(mappings: Path, folder_names: Mapping[str, str]) -> dict[str, list[int]]:
    """Return the ImageNet labels of each overlapping folder, folders sorted."""
    path = mappings / OVERLAP
    folders = {name: folder for folder, name in folder_names.items()}
    labels = _imagenet_labels(mappings)
    members = {}
    for name, imagenet_names in read_object(path).items():
        if name not in folders:
            raise WiseftError(
                f"{path}: expected names of {mappings / FOLDER_NAMES}, found {name!r}."
            )
        candidates_of = {item: labels.get(item, []) for item in str(imagenet_names).split("; ")}
        for item, candidates in candidates_of.items():
            if len(candidates) != 1:
                raise WiseftError(
                    f"{path}: expected {item!r} (of {name!r}) on one line of "
                    f"{mappings / ILSVRC_NAMES}, found it on {len(candidates)}."
                )
        members[folders[name]] = [candidates[0] for candidates in candidates_of.values()]
    return dict(sorted(members.items()))


def _imagenet_labels(mappings: Path) -> dict[str, list[int]]:
    """Return the ImageNet labels of each class name: two classes may share one ("crane")."""
    by_line = {value: int(key) for key, value in read_object(mappings / ILSVRC_LINES).items()}
    path = require_file(mappings / ILSVRC_NAMES, "the metadata file")
    labels: dict[str, list[int]] = {}
    for line, name in enumerate(path.read_text(encoding="utf-8").splitlines()):
        if line not in by_line:
            raise WiseftError(
                f"{mappings / ILSVRC_LINES}: expected a label for every line of {path}, found "
                f"none for line {line} (from 0)."
            )
        labels.setdefault(name.strip(), []).append(by_line[line])
    return labels


def _check_folders(dataset: str, images: Path, known: set[str], classes: list[str]) -> None:
    there = set(subfolders(images))
    if unknown := sorted(there - known):
        raise WiseftError(
            f"dataset {dataset}: {images / unknown[0]} is not one of the {len(known)} folders in "
            f"{FOLDER_NAMES}. Move it elsewhere."
        )
    if missing := [folder for folder in classes if folder not in there]:
        raise WiseftError(
            f"dataset {dataset}: expected the folders of {len(classes)} classes in {images}, found "
            f"{len(classes) - len(missing)}; {missing[0]} is missing. Unpack the archive again."
        )
