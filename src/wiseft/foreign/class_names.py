"""The names of a head's classes that a checkpoint brings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wiseft.base.io import read_json
from wiseft.errors import WiseftError, some
from wiseft.foreign.model_folder import inside
from wiseft.thetas.theta import ThetaHeader

HEAD, CLASSES, FEATURES = "head.safetensors", "classes.json", "features.json"
"""What `wiseft sweep` and `wiseft export` write beside a model."""
MODELS = {".bin", ".ckpt", ".pt", ".pth", ".safetensors"}

Names = list[list[str]]
"""The names of every class, the first of which is shown."""


def names_brought(path: Path, config: Mapping[str, Any]) -> tuple[Names, str] | None:
    """Return the names that a model brings, in the order of its head, and where they stand.

    Args:
        path: file or folder of the model.
        config: its configuration, of timm (`label_names`) or transformers (`id2label`).

    Raises:
        WiseftError: if `classes.json` beside it is no list of names, or as `inside`.
    """
    file = inside(_folder(path) / CLASSES)
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
    if not all(inside(folder / name).is_file() for name in (HEAD, CLASSES)):
        return None
    others = [each.name for each in sorted(folder.iterdir()) if each.suffix in MODELS]
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
        WiseftError: if it is neither kind, or as `inside`.
    """
    file = inside(_folder(path) / FEATURES)
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


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent
