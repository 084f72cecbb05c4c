"""Icons with their names: what the zero-shot model of the experiment icons is pre-trained on.

A caption is made of the words of an icon's own name, so the vocabulary is open: no list of classes
has any part in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wiseft.errors import WiseftError
from wiseft.study.config import PretrainSettings
from wiseft.study.config.entries import IconSettings
from wiseft.study.data.builders.icon_sets import check_listed, draw, read_sets
from wiseft.study.pretrain.glyphs import Glyphs, load_drawings

TEMPLATES = (
    "{c}",
    "{c} icon",
    "an icon of {c}",
    "a symbol of {c}",
    "a drawing of {c}",
    "a picture of a {c}",
)


@dataclass(frozen=True)
class Icons:
    """Icons in one colour, uint8 (n, size, size), then those in several, (m, size, size, 3).

    Attributes:
        phrases: place in `names` of what each is named, int32 (n + m,).
        sets: number of its set, int32 (n + m,), ascending.
    """

    grey: NDArray[np.uint8]
    colour: NDArray[np.uint8]
    phrases: NDArray[np.int32]
    sets: NDArray[np.int32]
    names: tuple[str, ...]

    def read(
        self, places: NDArray[np.integer], rng: np.random.Generator, shift: int
    ) -> NDArray[np.uint8]:
        """Return icons in RGB (k, size, size, 3), each moved by up to `shift` pixels on white."""
        side = self.grey.shape[1]
        padded = np.full((len(places), side + 2 * shift, side + 2 * shift, 3), 255, np.uint8)
        inside = padded[:, shift : shift + side, shift : shift + side]
        coloured = places >= len(self.grey)
        inside[~coloured] = self.grey[places[~coloured]][..., None]
        inside[coloured] = self.colour[places[coloured] - len(self.grey)]
        moves = rng.integers(2 * shift + 1, size=(len(places), 2))
        return np.stack(
            [
                image[down : down + side, right : right + side]
                for image, (down, right) in zip(padded, moves, strict=True)
            ]
        )


def build_icons(packages: Sequence[Path], size: int, settings: IconSettings) -> Icons:
    """Draw the icons of some groups of sets.

    Raises:
        WiseftError: not one package, or as `check_listed` and `read_sets`.
    """
    check_listed(settings.sha256)
    if len(packages) != 1:
        raise WiseftError(f"icons come from one package, found {len(packages)} in font_packages.")
    groups = read_sets(packages[0], settings.groups)
    sets = [each for group in settings.groups for each in groups[group]]
    users = Counter(
        name for name, _ in {(p, each.designer) for each in sets for p in each.phrases.values()}
    )
    images: dict[bool, list[NDArray[np.uint8]]] = {False: [], True: []}
    phrases, numbers = [], []
    for number, icons in enumerate(sorted(sets, key=lambda icons: icons.palette)):
        for phrase, several in icons.named(settings.each).items():
            for name in several if users[phrase] >= settings.designers else ():
                image = draw(icons.icons[name], size)
                images[icons.palette].append(image if icons.palette else image[..., 0])
                phrases.append(phrase)
                numbers.append(number)
    names, place = np.unique(phrases, return_inverse=True)
    return Icons(
        np.array(images[False], np.uint8).reshape(-1, size, size),
        np.array(images[True], np.uint8).reshape(-1, size, size, 3),
        place.astype(np.int32),
        np.array(numbers, np.int32),
        tuple(names.tolist()),
    )


def load_drawn(path: Path, settings: PretrainSettings) -> Glyphs | Icons:
    """Read what a model is pre-trained on. Errors: `load_drawings`."""
    drawn: Glyphs | Icons = load_drawings(path, Icons if settings.icons else Glyphs)
    return drawn
