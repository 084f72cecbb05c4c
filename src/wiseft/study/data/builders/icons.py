"""Icons of some sets and classes: every split has its own designers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from wiseft.base.typed import Entry, Sha256
from wiseft.base.validation import validate
from wiseft.errors import WiseftError
from wiseft.images.split import Indexed, PreparedSplit
from wiseft.study.data.builders.digit_images import SIDE, Inputs
from wiseft.study.data.builders.icon_sets import (
    IconSet,
    check_listed,
    class_names,
    draw,
    joined,
    read_sets,
)

PACKAGE = "iconify-json"


class Options(Entry):
    """Options of the entry.

    Attributes:
        groups: groups of sets in ``icons.yaml``, by split.
        classes: the list of classes there.
        each: icons of one class and set, at most, by split; one where none is given.
        sha256: of ``icons.yaml`` and ``icons_left_out.json`` together.
    """

    groups: dict[str, list[str]]
    classes: str = Field("classes", pattern="^(other_)?classes$")
    each: dict[str, int] = Field({})
    sha256: Sha256


def build(inputs: Inputs) -> Indexed:
    """Draw the icons that are called what a class is called, in their square, on white.

    Where a set has several, those with the shortest names come first: they are plain. Sample ids
    are ``<set>/<icon>/<dataset>``, base ids ``<set>/<class>``; groups are the `set`, its `title`
    and its `designer`.

    Raises:
        WiseftError: an option is missing or wrong, or as `read_sets`.
    """
    options = validate(Options, dict(inputs.options), f"options of dataset {inputs.dataset}")
    check_listed(options.sha256)
    if missing := sorted(set(inputs.splits) ^ set(options.groups)):
        raise WiseftError(f"dataset {inputs.dataset}: `groups` must list the splits; {missing[0]}.")
    names = class_names(options.classes)
    groups = {group for listed in options.groups.values() for group in listed}
    sets = read_sets(inputs.package(PACKAGE), groups)
    splits = {
        split: _split(
            inputs.dataset,
            [each for group in listed for each in sets[group]],
            names,
            options.each.get(split, 1),
        )
        for split, listed in options.groups.items()
    }
    return Indexed(splits, names)


def _split(
    dataset: str, sets: Sequence[IconSet], names: Sequence[Sequence[str]], each: int
) -> PreparedSplit:
    of_name = {joined(name): label for label, several in enumerate(names) for name in several}
    chosen = [
        (icons, icon, label)
        for icons in sets
        for label, those in icons.named(each, lambda phrase: of_name.get(joined(phrase))).items()
        for icon in those
    ]
    if not chosen:
        raise WiseftError(f"dataset {dataset}: no icon of these sets is called like a class.")
    return PreparedSplit(
        images=np.stack([draw(icons.icons[icon], SIDE) for icons, icon, _ in chosen]),
        labels=np.array([label for _, _, label in chosen], np.int64),
        sample_ids=[f"{icons.key}/{icon}/{dataset}" for icons, icon, _ in chosen],
        base_ids=[f"{icons.key}/{names[label][0]}" for icons, _, label in chosen],
        groups={
            "set": [icons.key for icons, *_ in chosen],
            "title": [icons.title for icons, *_ in chosen],
            "designer": [icons.designer for icons, *_ in chosen],
        },
    )
