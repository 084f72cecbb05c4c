"""What the configuration and the report say of a drawing, read from its file without importing it:
its options are the keyword-only parameters of its `draw`.
"""

from __future__ import annotations

import ast
from functools import cache

from wiseft.base import plugins
from wiseft.study import DRAWINGS


def drawing_options(name: str) -> dict[str, bool]:
    """Return the options of a drawing, each with whether it must be given."""
    functions = (node for node in _parsed(name).body if isinstance(node, ast.FunctionDef))
    draw = next(function for function in functions if function.name == "draw")
    given = zip(draw.args.kwonlyargs, draw.args.kw_defaults, strict=True)
    return {argument.arg: default is None for argument, default in given}


def drawing_text(name: str) -> str:
    """Return how a drawing is read, which the report says below it: the docstring of its file."""
    return ast.get_docstring(_parsed(name)) or ""


@cache
def _parsed(name: str) -> ast.Module:
    path = plugins.folder(DRAWINGS) / f"{name.replace('-', '_')}.py"
    return ast.parse(path.read_text(encoding="utf-8"))
