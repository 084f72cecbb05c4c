"""Class names, class ids and prompt templates, read from the files of installed libraries.

timm's package data has the WordNet ids (wnids) of ImageNet and the class indices of ImageNet-R and
ImageNet-A; open_clip has OpenAI's curated class names and 80 templates. Neither library is
imported: that would import torch.
"""

from __future__ import annotations

import importlib.util
import runpy
from functools import cache
from pathlib import Path
from typing import Any

from wiseft.errors import WiseftError

CLASS_SETS = ("imagenet", "imagenet-r", "imagenet-a")
"""Class sets that libraries know, by the name that `class_names` of a dataset entry may have."""

TEMPLATE_SETS = ("imagenet",)
"""Template sets that libraries know, by the name that `templates` of a prompt set may have."""


@cache
def class_ids(name: str) -> tuple[str, ...]:
    """Return the wnids of a class set in label order: 1000 or, of ImageNet-R and -A, 200."""
    wnids = _lines("timm", "data/_info/imagenet_synsets.txt")
    if name == "imagenet":
        return wnids
    return tuple(wnids[index] for index in class_indices(name))


@cache
def class_names(name: str) -> tuple[str, ...]:
    """Return OpenAI's names of a class set in label order; two classes may share a name."""
    names = tuple(_zero_shot_metadata()["IMAGENET_CLASSNAMES"])
    return tuple(names[index] for index in class_indices(name))


@cache
def names_by_id(name: str) -> dict[str, str]:
    """Return OpenAI's names of a class set by wnid, in label order."""
    return dict(zip(class_ids(name), class_names(name), strict=True))


@cache
def class_indices(name: str) -> tuple[int, ...]:
    """Return the labels that the classes of a set have in ImageNet, sorted."""
    if name == "imagenet":
        return tuple(range(1000))
    file = f"data/_info/{name.replace('-', '_')}_indices.txt"
    return tuple(sorted(int(line) for line in _lines("timm", file)))


@cache
def templates(name: str) -> tuple[str, ...]:
    """Return a template set, `{c}` where the class name goes.

    Raises:
        WiseftError: if no library knows the set.
    """
    if name not in TEMPLATE_SETS:
        raise WiseftError(f"unknown template set {name}; valid: {', '.join(TEMPLATE_SETS)}")
    return tuple(fill("{c}") for fill in _zero_shot_metadata()["OPENAI_IMAGENET_TEMPLATES"])


def _package_file(package: str, relative: str) -> Path:
    spec = importlib.util.find_spec(package)
    for folder in spec.submodule_search_locations or [] if spec else []:
        if (path := Path(folder) / relative).is_file():
            return path
    raise WiseftError(
        f"{package} is not installed, or has no {relative}; install the versions that "
        "requirements.lock pins"
    )


def _lines(package: str, relative: str) -> tuple[str, ...]:
    text = _package_file(package, relative).read_text(encoding="utf-8")
    return tuple(line.strip() for line in text.splitlines() if line.strip())


@cache
def _zero_shot_metadata() -> dict[str, Any]:
    """Return what open_clip's module of names and templates holds, run without the package."""
    return runpy.run_path(str(_package_file("open_clip", "zero_shot_metadata.py")))
