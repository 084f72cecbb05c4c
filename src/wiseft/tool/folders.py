"""Folders of images as prepared datasets: the reference with two splits, shifts with or without
labels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wiseft.errors import WiseftError
from wiseft.foreign.class_names import names_in
from wiseft.foreign.ends import Ends
from wiseft.foreign.folder_classes import SPLITS, class_names_of, map_classes
from wiseft.images.index_folder import index_folder, index_images
from wiseft.images.manifest import open_manifest
from wiseft.images.scan import subfolders
from wiseft.thetas.theta import read_header
from wiseft.tool.record import HELD_OUT, REFERENCE, TEST, ImageSet, Role

_HELD_OUT = (HELD_OUT, "held_out", "val", "validation")


@dataclass(frozen=True)
class Folder:
    """A folder of images.

    Attributes:
        base: the folder whose folders are the classes.
        role: `reference`, `shift` or `kept`.
        splits: where each split's classes are, relative to `path`; of several.
        classes: the names of each class; None without labels.
        split: how the reference was split, in words.
    """

    name: str
    role: Role
    path: Path
    base: Path
    splits: Mapping[str, str]
    classes: list[list[str]] | None
    split: str = ""

    @property
    def kept(self) -> bool:
        """Whether it has classes of its own, which no choice looks at."""
        return self.role == "kept"


def find_folders(
    reference: Path,
    shifts: Sequence[Path],
    keep: Sequence[Path],
    class_names: Mapping[str, str],
    seed: int,
) -> list[Folder]:
    """Return the reference, the shifts and what is kept, with the names of their classes.

    Args:
        class_names: name of the class by name of its folder, where the folder's won't do.

    Raises:
        WiseftError: if a folder is missing, the reference or a kept one has no class folders, or a
            class name is given for no folder.
    """
    found = [_reference(reference, seed)]
    names = {REFERENCE}
    given: list[tuple[Role, Path]] = [("shift", path) for path in shifts]
    for role, path in [*given, *(("kept", path) for path in keep)]:
        if not path.is_dir():
            raise WiseftError(f"expected a folder of images, found nothing at {path}")
        if role == "shift" and _base(path).samefile(found[0].base):
            raise WiseftError(
                f"the shift {path} has the very images of the reference, so nothing shifts; name "
                "a folder of images from elsewhere"
            )
        stem = re.sub(r"[^A-Za-z0-9]+", "-", path.resolve().name).strip("-") or role
        name = next(n for n in (stem, *(f"{stem}-{k}" for k in range(2, 1000))) if n not in names)
        names.add(name)
        found.append(Folder(name, role, path, _base(path), {}, None))
    known = [set(subfolders(folder.base)) for folder in found]
    if unknown := sorted(class_names.keys() - set().union(*known)):
        raise WiseftError(f"a class name is given for {unknown[0]}, but no folder has that name")
    for place, (folder, classes) in enumerate(zip(found, known, strict=True)):
        if classes or folder.role != "shift":
            own = {name: class_names[name] for name in class_names.keys() & classes}
            found[place] = replace(folder, classes=class_names_of(folder.base, own))
    return found


def _base(path: Path) -> Path:
    return path / TEST if (path / TEST).is_dir() else path


def _reference(path: Path, seed: int) -> Folder:
    if not path.is_dir():
        raise WiseftError(f"expected a folder of class folders, found nothing at {path}")
    there = set(subfolders(path))
    held = next((name for name in _HELD_OUT if name in there), None)
    if not there or not there <= SPLITS or there == {"train"}:
        how = f"split half and half, class by class, by seed {seed}"
        return Folder(REFERENCE, "reference", path, path, {}, None, how)
    if held is not None and TEST in there:
        how = f"alpha is chosen on {held}/, accuracies are those of {TEST}/"
        splits = {HELD_OUT: held, TEST: TEST}
        return Folder(REFERENCE, "reference", path, path / TEST, splits, None, how)
    one = TEST if TEST in there else held
    assert one is not None
    how = f"{one}/ split half and half, class by class, by seed {seed}"
    return Folder(REFERENCE, "reference", path, path / one, {}, None, how)


def index(
    folder: Folder,
    work: Path,
    ends: Ends,
    seed: int,
    broken: list[str] | None,
) -> Path:
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
    if folder.classes is None:
        return index_images(folder.base, manifest, folder.name, ends.class_names, broken=broken)
    at = folder.path if folder.splits else folder.base
    splits = list(folder.splits) or [TEST]
    halve = seed if folder.name == REFERENCE and not folder.splits else None
    given = folder.classes, folder.splits, halve
    index_folder(at, manifest, folder.name, splits, *given, broken=broken)
    if not folder.kept:
        names = [item[0] for item in folder.classes]
        own = names_in(read_header(ends.theta_0))
        map_classes(manifest, names, own, ends.where, folder.base, REFERENCE)
    return manifest


def image_set(folder: Folder, manifest: Path) -> ImageSet:
    """Return what the record says of a folder."""
    opened = open_manifest(manifest)
    return ImageSet(
        name=folder.name,
        path=str(folder.path),
        role=folder.role,
        labelled=folder.classes is not None,
        n={name: files.n for name, files in opened.splits.items()},
        split=folder.split,
        sha256=opened.identity(list(opened.splits)),
    )
