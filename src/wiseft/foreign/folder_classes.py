"""Which classes of a head the folders of a user's images are."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wiseft.base import library
from wiseft.errors import WiseftError, some
from wiseft.foreign.class_names import Names
from wiseft.images.manifest import open_manifest, write_changed
from wiseft.images.sources import Source

log = logging.getLogger(__name__)

WNID = re.compile(r"n\d{8}")
_ERRORS = 3.0
"""Standard errors that another order of the classes must be better by."""
RENAME = "rename it, or say with --class-names what it is"


def class_names_of(source: Source, given: Mapping[str, str]) -> list[list[str]]:
    """Return the names of the classes of images in their order: of the folders, or as listed.

    Args:
        given: names by folder or label, for some of them.

    Raises:
        WiseftError: if there are no labels, or none of a name that is given.
    """
    if source.classes is None:
        if source.folder is None:
            raise WiseftError(f"{source.where} has no labels; name them with --label-column")
        raise WiseftError(
            f"{source.where} must be a folder with a folder of images for every class, but there "
            "is none"
        )
    if unknown := sorted(given.keys() - set(source.classes)):
        raise WiseftError(
            f"a class name is given for {unknown[0]}, but {source.where} has no folder or label "
            "of that name"
        )
    known = library.names_by_id("imagenet")
    return [[given.get(n) or known.get(n) or n.replace("_", " ")] for n in source.classes]


def require_names(source: Source, given: Mapping[str, str]) -> None:
    """Refuse to make prompts of numbers that nothing names."""
    if source.numbered and (bare := [n for n in source.classes or [] if n not in given]):
        raise WiseftError(
            f"the labels of {source.where} are numbers, of which prompts cannot be made; say what "
            f'they are: --class-names \'{{"{bare[0]}": "cat", ...}}\''
        )


def map_classes(
    manifest: Path,
    names: list[str],
    own: Names,
    where: tuple[str, str],
    source: Source,
    reference: str = "head",
) -> None:
    """Write into the manifest which classes of a head those of the folder are.

    Args:
        names: of the classes of `source`, in their order.
        own: the head's classes.
        where: what has the head, and what to do if a class is none of its, for messages.
        reference: what the metadata of an evaluation call the head's classes.

    Raises:
        WiseftError: if a class of the folder is none of the head's.
    """
    places = places_of(source.classes or [], names, own, *where)
    if source.numbered:
        shown = [f"{n} is {own[k][0]}" for n, k in zip(source.classes or [], places, strict=True)]
        log.info(f"{source.where}: numbers are classes in the order of {where[0]}: {some(shown)}")
    members = [] if places == list(range(len(own))) else [[place] for place in places]
    write_changed(
        manifest,
        open_manifest(manifest),
        class_names=[own[place][0] for place in places],
        prompt_names=None,
        optional={"label_map": {"reference": reference, "members": members} if members else None},
    )


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
    strange = next((name for name in names if plain(name) not in first), names[0])
    if all(folder.isdecimal() for folder in folders):
        if not (above := [folder for folder in folders if int(folder) >= len(own)]):
            return [int(folder) for folder in folders]
        strange = above[0]
    shown = [each[0] for each in own]
    near = difflib.get_close_matches(strange, shown, n=3, cutoff=0.5) or shown[:3]
    raise WiseftError(
        f"the images' class {strange} is none of the {len(own)} classes of {where}, such as "
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


def better_in(found: tuple[list[int], float, float], images: str) -> str:
    """Return what `better_order` found, after the name of a head."""
    return (
        f"is right on {100 * found[1]:.1f} % of the {images}, but on {100 * found[2]:.1f} % with "
        "its classes in another order"
    )


def order_in(wanted: Names, own: Names) -> list[int] | None:
    """Return the place of each wanted class among others; None if they are not the same."""
    keys, places = ([plain(each[0]) for each in names] for names in (wanted, own))
    if keys == places:
        return list(range(len(keys)))
    alike = sorted(keys) == sorted(places) and len(set(keys)) == len(keys)
    return [places.index(key) for key in keys] if alike else None


def plain(name: str) -> str:
    """Return a name without what tells it from the same one in another spelling."""
    return " ".join(name.replace("_", " ").casefold().split())
