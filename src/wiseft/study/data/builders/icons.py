"""Icons of some sets and classes: every split has its own designers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    spread,
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


def chosen_icons(icons: IconSet, names: Sequence[Sequence[str]], each: int) -> dict[int, list[str]]:
    """Return the icons of a set by class: at most `each`, at equal distances among its own."""
    labels = {joined(name): label for label, several in enumerate(names) for name in several}
    found: dict[int, list[str]] = {}
    for icon in sorted(icons.phrases, key=lambda icon: (len(icon), icon)):
        label = labels.get(joined(icons.phrases[icon]))
        if label is not None:
            found.setdefault(label, []).append(icon)
    return {
        label: [these[place] for place in spread(len(these), each)]
        for label, these in sorted(found.items())
    }


def _split(
    dataset: str, sets: Sequence[IconSet], names: Sequence[Sequence[str]], each: int
) -> PreparedSplit:
    images, labels, ids, bases = [], [], [], []
    groups: Mapping[str, list[str]] = {"set": [], "title": [], "designer": []}
    for icons in sets:
        for label, chosen in chosen_icons(icons, names, each).items():
            for icon in chosen:
                images.append(draw(icons.icons[icon], SIDE))
                labels.append(label)
                ids.append(f"{icons.key}/{icon}/{dataset}")
                bases.append(f"{icons.key}/{names[label][0]}")
                for group, value in zip(
                    groups.values(), (icons.key, icons.title, icons.designer), strict=True
                ):
                    group.append(value)
    if not images:
        raise WiseftError(f"dataset {dataset}: no icon of these sets is called like a class.")
    return PreparedSplit(np.stack(images), np.array(labels, np.int64), ids, bases, groups)
