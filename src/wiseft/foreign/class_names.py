"""The names of a head's classes: those that a checkpoint brings, and which of them a folder is."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wiseft.base import library
from wiseft.base.io import read_json
from wiseft.errors import WiseftError, some
from wiseft.thetas.theta import ThetaHeader

HEAD, CLASSES, FEATURES = "head.safetensors", "classes.json", "features.json"
"""What `wiseft sweep` and `wiseft export` write beside a model."""
WNID = re.compile(r"n\d{8}")
_MODELS = {".bin", ".ckpt", ".pt", ".pth", ".safetensors"}
_ERRORS = 3.0
"""Standard errors that another order of the classes must be better by."""
RENAME = "rename the folder, or say with --class-names what it is"

Names = list[list[str]]
"""The names of every class, the first of which is shown."""


def names_brought(path: Path, config: Mapping[str, Any]) -> tuple[Names, str] | None:
    """Return the names that a model brings, in the order of its head, and where they stand.

    Args:
        path: file or folder of the model.
        config: its configuration, of timm (`label_names`) or transformers (`id2label`).

    Raises:
        WiseftError: if `classes.json` beside it is no list of names.
    """
    file = _folder(path) / CLASSES
    if file.is_file():
        names = read_json(file)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise WiseftError(
                f"{file} must be a list of names in the order of the head; mend it, or remove it "
                "and give the names with --classes"
            )
        return [[name] for name in names], str(file)
    names, key = names_described(config)
    return (names, f"{key} of {path}") if names else None


def names_described(config: Mapping[str, Any]) -> tuple[Names, str]:
    """Return the names of classes in a configuration, in their order, and its key for them; no
    names where they are those that transformers makes up.
    """
    both = [each for each in (config, config.get("pretrained_cfg")) if isinstance(each, Mapping)]
    labels, about = (
        next((each[key] for each in both if each.get(key)), None)
        for key in ("label_names", "label_descriptions")
    )
    if isinstance(labels, list):
        texts = about if isinstance(about, Mapping) else {}
        own = [(str(name), str(texts.get(name, name))) for name in labels]
        return [list(dict.fromkeys([n, text, *text.split(", ")])) for n, text in own], "label_names"
    given = config.get("id2label")
    numbers = given if isinstance(given, Mapping) else {}
    ordered = [str(numbers[k]) for k in sorted(numbers, key=lambda k: (len(str(k)), str(k)))]
    made_up = all(re.fullmatch(r"(LABEL_\d+)?", name) for name in ordered)
    return [] if made_up else [[name] for name in ordered], "id2label"


def head_beside(path: Path) -> Path | None:
    """Return the file with the head that a sweep or an export wrote beside a model.

    Raises:
        WiseftError: if other models lie there, so that nothing says whose it is.
    """
    folder = _folder(path)
    if not all((folder / name).is_file() for name in (HEAD, CLASSES)):
        return None
    others = [each.name for each in sorted(folder.iterdir()) if each.suffix in _MODELS]
    others = [name for name in others if name not in (HEAD, path.name)]
    if others and path != folder:
        raise WiseftError(
            f"{folder / HEAD} is the head of one of {some([path.name, *others], 3)}, but nothing "
            "says of which; move it, its model and classes.json into a folder of their own"
        )
    return folder / HEAD


def features_beside(path: Path, head: Path | None) -> str | None:
    """Return what an export says of the features that the head of a model takes; None: nothing.

    Raises:
        WiseftError: if it is neither kind.
    """
    file = _folder(path) / FEATURES
    said = read_json(file) if file.is_file() else "normalised" if head else None
    if said not in ("raw", "normalised", None):
        raise WiseftError(f'{file} must be "raw" or "normalised"; mend it, or remove it')
    return said


def names_in(header: ThetaHeader) -> Names:
    """Return all names of a theta's classes; the first is that of the header."""
    prompted = header.settings.get("prompts", header.settings).get("prompt_names") or []
    if len(prompted) != len(header.class_names):
        prompted = [[] for _ in header.class_names]
    return [[own, *more] for own, more in zip(header.class_names, prompted, strict=True)]


def order_in(wanted: Names, own: Names) -> list[int] | None:
    """Return the place of each wanted class among others; None if they are not the same."""
    keys, places = ([plain(each[0]) for each in names] for names in (wanted, own))
    if keys == places:
        return list(range(len(keys)))
    alike = sorted(keys) == sorted(places) and len(set(keys)) == len(keys)
    return [places.index(key) for key in keys] if alike else None


def places_of(
    folders: list[str], names: list[str], own: Names, where: str, way: str = RENAME
) -> list[int]:
    """Return the place of each folder's class among a head's.

    Args:
        names: what the folders mean, in their order.
        own: the head's classes.
        where: names the head in messages.
        way: what to do, the end of a sentence.

    Raises:
        WiseftError: if a class is none of the head's, or several have its name.
    """
    first = [plain(each[0]) for each in own]
    every = [{plain(name) for name in each} for each in own]
    for asked in (names, folders):
        wanted = [plain(name) for name in asked]
        for known in ([{name} for name in first], every):
            found = [[k for k, each in enumerate(known) if name in each] for name in wanted]
            if all(len(each) == 1 for each in found) and len(set(wanted)) == len(wanted):
                return [each[0] for each in found]
    ids = library.class_ids("imagenet")
    if len(own) == len(ids) and all(WNID.fullmatch(folder) for folder in folders):
        rank = {wnid: place for place, wnid in enumerate(ids)}
        if unknown := [folder for folder in folders if folder not in rank]:
            raise WiseftError(f"{unknown[0]} is no class of ImageNet-1k, which {where} predicts")
        return [rank[folder] for folder in folders]
    wanted = [plain(name) for name in names]
    if all(name in first for name in wanted):
        twice = [name for name in wanted if first.count(name) > 1 or wanted.count(name) > 1]
        raise WiseftError(f"several classes are called {twice[0]}; number the folders from 0")
    if all(folder.isdecimal() and int(folder) < len(own) for folder in folders):
        return [int(folder) for folder in folders]
    strange = next(name for name in names if plain(name) not in first)
    shown = [each[0] for each in own]
    near = difflib.get_close_matches(strange, shown, n=3, cutoff=0.5) or shown[:3]
    raise WiseftError(
        f"the folder's class {strange} is none of the {len(own)} classes of {where}, such as "
        f"{', '.join(near)}; {way}"
    )


def better_order(
    labels: NDArray[np.integer], predicted: NDArray[np.integer], classes: int
) -> tuple[list[int], float, float] | None:
    """Return the class that each row of a head stands for, where the assumed order is wrong.

    The order that fits each half of the images best is tried on the other half, so that an order
    that fits by chance gains nothing.

    Args:
        labels: of images, int (n,).
        predicted: rows of the head, int (n,).

    Returns:
        The order, with the accuracies as assumed and in it; None where that is not far better.
    """
    from scipy.optimize import linear_sum_assignment

    def best(part: NDArray[np.bool_]) -> NDArray[np.intp]:
        table = np.zeros((classes, classes))
        np.add.at(table, (predicted[part], labels[part]), 1)
        return np.asarray(linear_sum_assignment(table, maximize=True)[1])

    half = np.zeros(len(labels), dtype=bool)
    for label in range(classes):
        half[np.flatnonzero(labels == label)[::2]] = True
    assumed, right = predicted == labels, np.zeros(len(labels), dtype=bool)
    for part in (half, ~half):
        right[part] = best(~part)[predicted[part]] == labels[part]
    gain = right.astype(float) - assumed
    far = gain.sum() > _ERRORS * np.sqrt((gain**2).sum())
    if not far or 2 * assumed.mean() >= right.mean():
        return None
    return best(half | ~half).tolist(), float(assumed.mean()), float(right.mean())


def plain(name: str) -> str:
    """Return a name without what tells it from the same one in another spelling."""
    return " ".join(name.replace("_", " ").casefold().split())


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent
