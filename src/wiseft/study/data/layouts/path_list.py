"""Text files that list the images of each split: DTD, Food-101, SUN397.

A line is a path; the folder is the class. The order of the lists is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from wiseft.errors import WiseftError
from wiseft.images.folder_labels import humanise
from wiseft.images.scan import below, check_distinct
from wiseft.images.split import FolderSplit, Indexed, LayoutInputs
from wiseft.images.tables import text_lines
from wiseft.study.config.layouts import PathListOptions
from wiseft.study.data.layouts.listed import class_labels, listed_split

Listed = list[tuple[str, str]]
"""A path without the suffix, and what lists it (file and line)."""


def read(inputs: LayoutInputs) -> Indexed:
    """Index the listed images of each split.

    The labels follow the list of classes or, without one, the sorted folders of all lists of the
    entry, whichever splits are asked for.

    Raises:
        WiseftError: a list or a listed image is missing, an image is listed twice, or a folder is
            not in the list of classes.
    """
    options: PathListOptions = inputs.options
    lists = {split: inputs.of_split("lists", split) for split in inputs.splits}
    if options.classes is None:
        lists |= options.lists
    listed = {split: _entries(inputs, names) for split, names in lists.items()}
    folders = _class_folders(inputs, options, listed.values())
    labels, names = _label(inputs, folders)
    images = inputs.place(options.images)
    splits = {
        split: _split(inputs, images, listed[split], labels, options.suffix)
        for split in inputs.splits
    }
    return Indexed(splits, class_names=names)


def _entries(inputs: LayoutInputs, lists: Sequence[str]) -> Listed:
    listed: Listed = []
    for name in lists:
        file = inputs.file(name, Path(name).name)  # or in the root itself
        for line, text in enumerate(text_lines(file), start=1):
            if not text:
                continue
            source = f"{file}, line {line}"
            path = below(text, source)
            if "/" not in path:
                raise WiseftError(
                    f"{source}: expected <class>/<image>, found `{text}`. Correct the list."
                )
            listed.append((path, source))
    check_distinct(listed)
    return listed


def _class_folders(
    inputs: LayoutInputs, options: PathListOptions, listed: Iterable[Listed]
) -> list[str]:
    """Return the class folders in label order, relative to the images."""
    if options.classes is None:
        return sorted({path.rpartition("/")[0] for paths in listed for path, _ in paths})
    file = inputs.file(options.classes, Path(options.classes).name)
    folders = [text.strip("/") for text in text_lines(file) if text.strip("/")]
    twice = next((folder for folder in folders if folders.count(folder) > 1), None)
    if twice or not folders:
        fault = f"{twice} twice" if twice else "none"
        raise WiseftError(f"{file}: expected a class a line, found {fault}. Correct the list.")
    return folders


def _label(
    inputs: LayoutInputs, folders: Sequence[str]
) -> tuple[dict[str, int], list[list[str]] | None]:
    """Return the label of each class folder, and the class names if they are the folders'."""
    if not inputs.class_names and not inputs.class_ids:
        names = [humanise(folder) for folder in folders]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise WiseftError(
                f"dataset {inputs.dataset}: several folders mean the class {twice}; name the "
                "classes in its entry (`class_names`)"
            )
        return {folder: label for label, folder in enumerate(folders)}, [[n] for n in names]
    return dict(class_labels(folders, inputs, str(inputs.root)).labels), None


def _split(
    inputs: LayoutInputs, images: Path, listed: Listed, labels: Mapping[str, int], suffix: str
) -> FolderSplit:
    numbers = []
    for path, source in listed:
        folder = path.rpartition("/")[0]
        if folder not in labels:
            raise WiseftError(
                f"{source} has the class {folder}, which is not in the list of {len(labels)} "
                "classes. The lists are of different versions; unpack them again."
            )
        numbers.append(labels[folder])
    prefix = inputs.prefix(images)
    paths = [f"{prefix}{path}{suffix}" for path, _ in listed]
    return listed_split(inputs, paths, numbers, [source for _, source in listed])
