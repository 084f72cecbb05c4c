"""What is added by one file: merge recipes, and the drawings and objectives that the study names.

A kind is a folder below `wiseft`, whose files are the names that there are. They are listed and not
imported, so that the configuration knows every name at no cost; a file is imported when its name is
used. Recipes and objectives import nothing heavy outside their functions, so that the configuration
reads their options too (`Options`).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from wiseft.errors import WiseftError

RECIPES = "combine.recipes"


def names(kind: str) -> tuple[str, ...]:
    """Return the names of a kind, sorted: those of its files, with hyphens."""
    paths = folder(kind).glob("[a-z]*.py")
    return tuple(sorted(path.stem.replace("_", "-") for path in paths))


def load(kind: str, name: str) -> ModuleType:
    """Return the module of a name. Raises WiseftError if there is none; lists those there are."""
    if name not in (known := names(kind)):
        what = kind.rpartition(".")[2].removesuffix("s")
        raise WiseftError(f"there is no {what} {name!r}; choose one of {', '.join(known)}")
    return importlib.import_module(f"wiseft.{kind}.{name.replace('-', '_')}")


def folder(kind: str) -> Path:
    """Return the folder of a kind."""
    return Path(__file__).parents[1].joinpath(*kind.split("."))
