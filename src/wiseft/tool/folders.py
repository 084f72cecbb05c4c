"""Images of a sweep as prepared datasets: the reference with two splits, shifts with or without
labels.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wiseft.errors import WiseftError
from wiseft.foreign.class_names import names_in
from wiseft.foreign.ends import Ends
from wiseft.foreign.folder_classes import class_names_of, map_classes, require_names
from wiseft.images.index_folder import index_source
from wiseft.images.manifest import open_manifest
from wiseft.images.sources import Place, Source, find
from wiseft.thetas.theta import read_header
from wiseft.tool.record import HELD_OUT, REFERENCE, TEST, ImageSet, Role

_HELD_OUT = (HELD_OUT, "held_out", "val", "validation", "valid", "dev")


@dataclass(frozen=True)
class Folder:
    """Images as they lie: a folder mostly.

    Attributes:
        role: `reference`, `shift` or `kept`.
        place: what was given.
        sources: what is read of it: one split, or those of a reference that has both.
        classes: the names of each class; None without labels.
        split: how the reference was split, in words.
    """

    name: str
    role: Role
    place: Place
    sources: Mapping[str, Source]
    classes: list[list[str]] | None
    split: str = ""

    @property
    def kept(self) -> bool:
        """Whether it has classes of its own, which no choice looks at."""
        return self.role == "kept"

    @property
    def source(self) -> Source:
        """What the accuracies are counted on."""
        return self.sources[TEST]


def find_folders(
    reference: Path | str,
    shifts: Sequence[Path | str],
    keep: Sequence[Path | str],
    class_names: Mapping[str, str],
    seed: int,
    **columns: Sequence[str],
) -> list[Folder]:
    """Return the reference, the shifts and what is kept, with the names of their classes.

    Args:
        class_names: name of the class by name of its folder or label, where that won't do.
        columns: of `find`.

    Raises:
        WiseftError: if images are missing, the reference or what is kept has no labels, or a class
            name is given for no folder.
    """
    found = [_reference(find(reference, **columns), seed)]
    names = {REFERENCE}
    given: list[tuple[Role, Path | str]] = [("shift", path) for path in shifts]
    for role, path in [*given, *(("kept", path) for path in keep)]:
        place = find(path, **columns)
        source = place.open(place.choose(TEST))
        if role == "shift" and source.origin in [s.origin for s in found[0].sources.values()]:
            raise WiseftError(
                f"the shift {path} has the very images of the reference, so nothing shifts; name "
                "a folder of images from elsewhere"
            )
        whole = Path(os.path.realpath(place.path))
        stem = re.sub(r"[^A-Za-z0-9]+", "-", whole.stem if whole.is_file() else whole.name)
        stem = stem.strip("-") or role
        name = next(n for n in (stem, *(f"{stem}-{k}" for k in range(2, 1000))) if n not in names)
        names.add(name)
        found.append(Folder(name, role, place, {TEST: source}, None))
    known = [set(folder.source.classes or ()) for folder in found]
    if unknown := sorted(class_names.keys() - set().union(*known)):
        raise WiseftError(f"a class name is given for {unknown[0]}, but no folder has that name")
    for at, (folder, classes) in enumerate(zip(found, known, strict=True)):
        if classes or folder.role != "shift":
            own = {name: class_names[name] for name in class_names.keys() & classes}
            found[at] = replace(folder, classes=class_names_of(folder.source, own))
        if folder.kept:
            require_names(folder.source, class_names)
    return found


def _reference(place: Place, seed: int) -> Folder:
    held = next((name for name in _HELD_OUT if name in place.parts), None)
    if held is not None and TEST in place.parts:
        how = f"alpha is chosen on {held}/, accuracies are those of {TEST}/"
        both = {HELD_OUT: place.open(held), TEST: place.open(TEST)}
        return Folder(REFERENCE, "reference", place, both, None, how)
    one = place.choose(TEST, *_HELD_OUT)
    how = f"{one and f'{one}/ '}split half and half, class by class, by seed {seed}"
    return Folder(REFERENCE, "reference", place, {TEST: place.open(one)}, None, how)


def index(folder: Folder, work: Path, ends: Ends, seed: int, broken: list[str] | None) -> Path:
    """Write the manifest of a folder, seen by a head, and return its path; a kept one has its own.

    Args:
        ends: with that head.
        seed: of the split of a reference without one.
        broken: takes a sentence for every file that can't be read as an image, and is left out;
            None: it is an error when it is read.

    Raises:
        WiseftError: if there are no images, or a class is none of the head's.
    """
    manifest = work / folder.name / "manifest.json"
    names = folder.classes or [[name] for name in ends.class_names]
    halve = seed if folder.name == REFERENCE and len(folder.sources) == 1 else None
    index_source(folder.sources, manifest, folder.name, names, halve, broken=broken)
    if folder.classes is not None and not folder.kept:
        own = names_in(read_header(ends.theta_0))
        shown = [item[0] for item in names]
        map_classes(manifest, shown, own, ends.where, folder.source, REFERENCE)
    return manifest


def image_set(folder: Folder, manifest: Path) -> ImageSet:
    """Return what the record says of a folder."""
    opened = open_manifest(manifest)
    return ImageSet(
        name=folder.name,
        path=folder.place.given,
        role=folder.role,
        labelled=folder.classes is not None,
        n={name: files.n for name, files in opened.splits.items()},
        split=folder.split,
        sha256=opened.identity(list(opened.splits)),
    )
