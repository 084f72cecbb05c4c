"""How much of the package stands behind what the library offers: what docs/design.md says of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "wiseft"
LIMITS = {"wiseft.thetas.theta": 1_700, "wiseft.tool.merge": 5_000, "wiseft.tool.sweep": 20_000}
"""Lines, blanks and comments included."""
BY_NAME = ("foreign/forms/__init__.py", "models/towers/__init__.py", "base/plugins.py")
"""What loads modules by name: a form of a folder, a tower family, a recipe."""


def path_of(module: str) -> Path | None:
    base = PACKAGE.parent.joinpath(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def imported(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports anywhere, in functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wiseft"):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("wiseft"))


def behind(module: str) -> dict[Path, int]:
    """Return the lines of each file behind a module; those of the package's own names are none."""
    waiting, found = [module], dict[Path, int]()
    while waiting:
        path = path_of(waiting.pop())
        if path is not None and path not in found:
            found[path] = len(path.read_text().splitlines())
            waiting += imported(path) if path != PACKAGE / "__init__.py" else ()
    return found


@pytest.mark.parametrize("module", LIMITS)
def test_no_more_than_the_document_says_stands_behind_the_library(module: str) -> None:
    found = behind(module)
    assert not [path for path in found if path.relative_to(PACKAGE).parts[0] in ("study", "cli")]
    assert sum(found.values()) <= LIMITS[module]
    rows = (ROOT / "docs" / "design.md").read_text()
    assert f"| `{module}` | {LIMITS[module]:,} |" in rows


def test_forms_families_and_recipes_alone_are_loaded_by_name() -> None:
    """Drawings are not: what a sweep draws stands in its imports, and so in the count."""
    texts = {path: path.read_text() for path in behind("wiseft.tool.sweep")}
    loading = {path for path, text in texts.items() if "import_module(" in text}
    assert loading == {PACKAGE / name for name in BY_NAME}
    kinds = re.findall(r"plugins\.load\(([\w.]+)", "".join(texts.values()))
    assert set(kinds) == {"plugins.RECIPES"}
