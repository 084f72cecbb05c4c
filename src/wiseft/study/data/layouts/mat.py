"""Stanford Cars (Krause et al. 2013): MATLAB annotations beside folders of images.

An annotation file holds a struct array ``annotations`` with the fields ``bbox_x1``, ``bbox_y1``,
``bbox_x2``, ``bbox_y2``, ``class`` and ``fname``. **Classes count from 1**; labels here count
from 0. The boxes are not used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wiseft.errors import WiseftError
from wiseft.images.scan import image_names
from wiseft.images.split import FolderSplit, Indexed, LayoutInputs
from wiseft.study.config.layouts import MatOptions
from wiseft.study.data.layouts.listed import listed_split
from wiseft.study.data.layouts.metadata import read_variable


def read(inputs: LayoutInputs) -> Indexed:
    """Read the annotations and look up their images.

    Returns:
        Image files in the order of the annotations, sample ids ``<split>/<file name>``, and the
        class names of the MATLAB file.

    Raises:
        WiseftError: a file is missing, has no labels or names a class or an image that is not
            there, or an image has no annotation.
    """
    options: MatOptions = inputs.options
    names = _class_names(inputs.file(*options.classes))
    splits = {split: _read_split(inputs, split, len(names)) for split in inputs.splits}
    return Indexed(splits, class_names=[[name] for name in names])


def _read_split(inputs: LayoutInputs, split: str, classes: int) -> FolderSplit:
    path = inputs.file(*inputs.of_split("annotations", split))
    folder = inputs.place(inputs.of_split("images", split))
    files, labels = _annotations(path, classes)
    _check_images(path, folder, files)
    paths = [inputs.prefix(folder) + file for file in files]
    ids = [f"{split}/{file}" for file in files]
    return listed_split(inputs, paths, labels, path, sample_ids=ids)


def _load(path: Path, variable: str) -> NDArray[Any]:
    """Return a variable of a MATLAB file as an array (n,); of structs, as a record array."""
    return np.atleast_1d(read_variable(path.read_bytes(), variable, path))


def _class_names(path: Path) -> list[str]:
    names = [name.strip() for name in _load(path, "class_names").tolist() if isinstance(name, str)]
    if len(names) < 2 or not all(names) or len(set(names)) != len(names):
        raise WiseftError(
            f"{path}: expected `class_names` to be at least two different names, found {len(names)}"
            f" of which {len(set(names))} differ."
        )
    return names


def _annotations(path: Path, classes: int) -> tuple[list[str], NDArray[np.int64]]:
    """Return the file names and the labels, from 0."""
    table = _load(path, "annotations")
    fields = table.dtype.names or ()
    if "fname" in fields and "class" not in fields:
        raise WiseftError(
            f"{path} has no labels (field `class`): it is the version without them. Use "
            "cars_test_annos_withlabels.mat."
        )
    if not {"fname", "class"} <= set(fields):
        raise WiseftError(
            f"{path}: expected annotations with the fields `class` and `fname`, found "
            f"{', '.join(fields) or 'no fields'}."
        )
    files = [str(file) for file in table["fname"]]
    try:
        numbers = np.array([int(number) for number in table["class"]], np.int64)
    except (TypeError, ValueError) as error:
        raise WiseftError(f"{path}: `class` must be whole numbers ({error}).") from error
    wrong = np.flatnonzero((numbers < 1) | (numbers > classes))
    if len(wrong):
        raise WiseftError(
            f"{path}: {files[wrong[0]]} has class {numbers[wrong[0]]}, expected 1..{classes}: "
            "classes count from 1 in this file."
        )
    return files, numbers - 1


def _check_images(path: Path, folder: Path, files: list[str]) -> None:
    """Raise WiseftError unless every annotation has one image and every image one annotation."""
    listed, there = set(files), set(image_names(folder))
    if missing := [file for file in files if file not in there]:
        raise WiseftError(
            f"{folder / missing[0]} is not there, but {path.name} lists it ({len(missing)} of "
            f"{len(files)} images are missing). Unpack the images again."
        )
    if len(listed) != len(files):
        twice = next(file for index, file in enumerate(files) if file in files[:index])
        raise WiseftError(f"{path} lists {twice} twice, expected every image once.")
    if extra := sorted(there - listed):
        raise WiseftError(
            f"{folder / extra[0]} is an image that {path.name} does not list ({len(extra)} such); "
            "expected the official images only. Remove it, or use another folder."
        )
