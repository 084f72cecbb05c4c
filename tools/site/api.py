"""The reference of the modules: a page for each package, which mkdocstrings fills."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

HIDDEN = {"cli", "style"}  # the commands have a page of their own; the style file is no module


def api_pages(root: Path) -> dict[str, str]:
    """Return Markdown by name of the page: `index`, then one for each package, topmost first."""
    pages, entries = {}, []
    if _documented(root, "wiseft"):
        pages["library"] = "# import wiseft\n\n::: wiseft\n"
        entries.append("| [import wiseft](library.md) | What the package itself exports. |")
    for name in _packages(root):
        modules = [one for one in _modules(root / "src" / "wiseft", name) if _documented(root, one)]
        if name in HIDDEN or not modules:
            continue
        pages[name] = "\n\n".join([f"# wiseft.{name}", *(f"::: {module}" for module in modules)])
        entries.append(f"| [wiseft.{name}]({name}.md) | {_first_line(root, modules, name)} |")
    head = "# Modules\n\nA module imports only what stands below it.\n\n| | |\n|---|---|"
    return {"index": "\n".join([head, *entries]), **pages}


def _packages(root: Path) -> list[str]:
    """Return the rooms of the package in the order that import-linter holds."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(one["layers"] for one in contracts if one.get("containers") == ["wiseft"])
    return [name.strip() for layer in layers for name in re.split("[|:]", layer)]


def _modules(package: Path, name: str) -> list[str]:
    files = [package / f"{name}.py", *sorted((package / name).rglob("*.py"))]
    found = []
    for file in files:
        parts = file.relative_to(package.parent).with_suffix("").parts
        if file.is_file() and not any(
            part.startswith("_") and part != "__init__" for part in parts
        ):
            found.append(".".join(part for part in parts if part != "__init__"))
    return found


def _tree(root: Path, module: str) -> ast.Module:
    path = root / "src" / Path(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def _documented(root: Path, module: str) -> bool:
    """Whether a module has a public function or class, or exports of other modules."""
    tree = _tree(root, module)
    if any(
        isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
        for node in tree.body
    ):
        return True
    return any(
        isinstance(node, ast.Assign | ast.AnnAssign) and "__all__" in ast.unparse(node)
        for node in tree.body
    )


def _first_line(root: Path, modules: list[str], name: str) -> str:
    for module in [f"wiseft.{name}", modules[0]]:
        text = ast.get_docstring(_tree(root, module))
        if text:
            return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")
    return ""
