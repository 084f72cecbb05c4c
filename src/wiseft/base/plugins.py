"""What is added by one file: merge recipes, and the drawings and objectives that the study names.

A kind is a folder below `wiseft`, whose files are the names that there are. They are listed and not
imported, so that the configuration knows every name at no cost; a file is imported when its name is
used. Recipes and objectives import nothing heavy outside their functions, so that the configuration
reads their options too (`Options`); those of a drawing are the keyword-only parameters of its
`draw`.
"""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path
from types import ModuleType

from wiseft.errors import WiseftError

RECIPES = "combine.recipes"


def names(kind: str) -> tuple[str, ...]:
    """Return the names of a kind, sorted: those of its files, with hyphens."""
    paths = _folder(kind).glob("[a-z]*.py")
    return tuple(sorted(path.stem.replace("_", "-") for path in paths))


def load(kind: str, name: str) -> ModuleType:
    """Return the module of a name. Raises WiseftError if there is none; lists those there are."""
    if name not in (known := names(kind)):
        what = kind.rpartition(".")[2].removesuffix("s")
        raise WiseftError(f"there is no {what} {name!r}; choose one of {', '.join(known)}")
    return importlib.import_module(f"wiseft.{kind}.{name.replace('-', '_')}")


def drawing_options(kind: str, name: str) -> dict[str, bool]:
    """Return the options of a drawing, each with whether it must be given; nothing is imported."""
    functions = (node for node in _parsed(kind, name).body if isinstance(node, ast.FunctionDef))
    draw = next(function for function in functions if function.name == "draw")
    given = zip(draw.args.kwonlyargs, draw.args.kw_defaults, strict=True)
    return {argument.arg: default is None for argument, default in given}


def drawing_text(kind: str, name: str) -> str:
    """Return how a drawing is read, which the report says below it: the docstring of its file."""
    return ast.get_docstring(_parsed(kind, name)) or ""


@cache
def _parsed(kind: str, name: str) -> ast.Module:
    path = _folder(kind) / f"{name.replace('-', '_')}.py"
    return ast.parse(path.read_text(encoding="utf-8"))


def _folder(kind: str) -> Path:
    return Path(__file__).parents[1].joinpath(*kind.split("."))
