"""The source files behind a command, followed from its imports.

Rules so cheap that a change of code reruns them take these files as inputs. Nothing is imported
here: a module is read, and what it imports anywhere in it is followed. A data file of the package
(a style, a page's template, published numbers) belongs to the modules in which its name stands.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from pathlib import Path

from wiseft.errors import WiseftError
from wiseft.study import DRAWINGS

CLI = "wiseft.cli"


class Code:
    """The modules of the package, read when they are asked for; what they import is kept.

    Args:
        package: the package's folder, such as `src/wiseft`; all that is returned lies below it.
    """

    def __init__(self, package: Path) -> None:
        self.package = package
        self._path = cache(self._path_of)
        self._imports = cache(self._imports_of)
        self._files = cache(self._files_of)

    def behind(self, command: str, draw: str | None = None) -> list[Path]:
        """Return the source files behind a command of `wiseft`, sorted.

        Args:
            command: its name, such as `paper-tables`; of a command in a group, the last word.
            draw: the drawing that `figure` is told and loads by its name.

        Raises:
            WiseftError: if there is no such command.
        """
        if command not in self._commands:
            raise WiseftError(f"wiseft has no command {command}")
        module, function = self._commands[command]
        modules = {module}
        for name in self._imports_of_command(module, function):
            self._follow(name, modules)
        if draw:
            self._follow(f"wiseft.{DRAWINGS}.{draw.replace('-', '_')}", modules)
        return sorted({path for name in modules for path in self._files(name)})

    def _follow(self, name: str, modules: set[str]) -> None:
        """Add a module to `modules`, with all that it imports."""
        if name not in modules:
            modules.add(name)
            for imported in self._imports(name):
                self._follow(imported, modules)

    def _imports_of(self, module: str) -> list[str]:
        return list(dict.fromkeys(self._imported([self._tree(module)])))

    @cached_property
    def _commands(self) -> dict[str, tuple[str, str]]:
        """The module and the function of every command, by its name."""
        commands = {}
        for node in ast.walk(self._tree(CLI)):
            match node:
                case ast.Dict(keys=names, values=[ast.Attribute(), *_] as functions):  # COMMANDS
                    for name, function in zip(names, functions, strict=True):
                        module, _, attribute = ast.unparse(function).partition(".")
                        assert isinstance(name, ast.Constant)
                        commands[str(name.value)] = f"wiseft.cli.{module}", attribute
        for node in self._tree("wiseft.cli.data").body:
            if isinstance(node, ast.FunctionDef) and node.decorator_list:
                commands.setdefault(node.name, ("wiseft.cli.data", node.name))
        return commands

    def _imports_of_command(self, module: str, function: str) -> set[str]:
        """Return what a command's function imports, and the functions of its file that it calls;
        the other commands of the file are none of its business.
        """
        tree = self._tree(module)
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        nodes: list[ast.AST] = [n for n in tree.body if not isinstance(n, ast.FunctionDef)]
        waiting, called = [function], {function}
        while waiting:
            node = functions[waiting.pop()]
            nodes.append(node)
            names = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
            new = (names & functions.keys()) - called
            waiting += new
            called |= new
        return set(self._imported(nodes))

    def _imported(self, nodes: Iterable[ast.AST]) -> Iterator[str]:
        """Yield the modules of the package that statements import, those within them included."""
        for node in nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield from self._loaded(alias.name)
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:  # a name in a module, or a module in a package
                    yield from self._loaded(f"{node.module}.{alias.name}")
            else:
                typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
                for part in (
                    ("orelse",) if typing else ("body", "orelse", "handlers", "finalbody", "cases")
                ):
                    yield from self._imported(getattr(node, part, ()))

    def _loaded(self, name: str) -> Iterator[str]:
        """Yield a module with the packages around it, which Python loads before it; but for `cli`,
        which lists all commands: they are none of each other's business.
        """
        parts = name.split(".")
        if parts[0] == "wiseft":
            modules = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
            yield from (module for module in modules if module != CLI and self._path(module))

    def _path_of(self, module: str) -> Path | None:
        base = self.package.joinpath(*module.split(".")[1:])
        candidates = (base / "__init__.py", base.with_name(f"{base.name}.py"))
        return next((path for path in candidates if path.is_file()), None)

    def _tree(self, module: str) -> ast.Module:
        return ast.parse(self._text(module))

    def _files_of(self, module: str) -> list[Path]:
        """Return a module's own file, and the data files of the package that it names."""
        path, text = self._path(module), self._text(module)
        assert path is not None
        data = self._data_files.items()
        return [
            path,
            *(
                f
                for name, f in data
                if name in text and re.search(rf'["/]{re.escape(name)}"', text)
            ),
        ]

    def _text(self, module: str) -> str:
        path = self._path(module)
        assert path is not None, module
        return path.read_text(encoding="utf-8")

    @cached_property
    def _data_files(self) -> dict[str, Path]:
        paths = (path for path in self.package.rglob("*.*") if path.suffix not in (".py", ".pyc"))
        return {path.name: path for path in paths}
