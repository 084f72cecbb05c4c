"""Prompt templates: those of an entry, of a library, or of a pinned file that is downloaded.

A downloaded Python file is parsed and never executed: of a list of lambdas, each an f-string of
its only argument, the texts are taken.
"""

from __future__ import annotations

import ast
from pathlib import Path

from wiseft.base.io import read_json, write_json
from wiseft.base.transfer.http import download
from wiseft.errors import WiseftError
from wiseft.study.config import SourceFile
from wiseft.study.config.entries import PromptsEntry
from wiseft.study.data.fetching.entry_files import checksums, mirrored
from wiseft.zeroshot.prompts import checked_template

ARTICLE = "append_proper_article"
"""Function of the authors' templates that becomes the slot `{a_c}` (mlfoundations/wise-ft,
src/templates/utils.py)."""


def fetch_prompts(entry: PromptsEntry, path: Path) -> list[str]:
    """Write the templates of a prompt set to `path` as a JSON list, and return them.

    A file that they stand in is downloaded into the folder of `path`, or taken from there if it
    lies there already.

    Args:
        entry: the prompt set.
        path: the JSON file to write.

    Raises:
        WiseftError: if the file cannot be had, is not the pinned one, or holds no such templates.
    """
    templates = entry.ready
    if templates is None:
        assert entry.file is not None and entry.key is not None  # the entry's own check
        source = path.with_name(entry.file.file)
        if source == path:
            raise WiseftError(
                f"{path} is the name of the file that the templates of {entry.name} are read "
                "from; write them to another one"
            )
        _fetch_file(entry, entry.file, source)
        templates = read_templates(source, entry.key)
    write_json(path, templates)
    return templates


def read_templates(path: Path, key: str) -> list[str]:
    """Return the templates that stand in a file under a name.

    Args:
        path: `.json`, a mapping of names to lists; or `.py`, lists of lambdas.
        key: name of the list.

    Raises:
        WiseftError: if the file is of another form, has no such list, or a template of it has no
            place for the class name.
    """
    templates = (_python_list if path.suffix == ".py" else _json_list)(path, key)
    if not templates:
        raise WiseftError(f"{path}: {key} is empty, but must hold at least one template")
    for template in templates:
        try:
            checked_template(template)
        except ValueError as error:
            raise WiseftError(f"{path}: {key}: {error}") from None
        if templates.count(template) > 1:
            raise WiseftError(f"{path}: {key} holds {template!r} twice")
    return templates


def _fetch_file(entry: PromptsEntry, file: SourceFile, path: Path) -> None:
    urls = mirrored(entry.name, file)
    if not urls and not path.exists():
        raise WiseftError(
            f"the templates of {entry.name} are in {file.file}, which is not at {path} and "
            f"cannot be downloaded: {file.how}"
        )
    download(urls, path, checksums(file))


def _json_list(path: Path, key: str) -> list[str]:
    data = read_json(path)
    if not isinstance(data, dict) or key not in data:
        names = ", ".join(sorted(data)[:20]) if isinstance(data, dict) else f"{data!r:.60}"
        raise WiseftError(f"{path}: expected a mapping with the key {key}, found {names}")
    templates = data[key]
    if not isinstance(templates, list) or not all(isinstance(item, str) for item in templates):
        raise WiseftError(f"{path}: expected a list of texts under {key}, found {templates!r:.80}")
    return templates


def _python_list(path: Path, key: str) -> list[str]:
    try:
        module = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, RecursionError) as error:
        raise WiseftError(f"{path} is not valid Python ({error})") from None
    lists = {
        target.id: statement.value
        for statement in module.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name) and isinstance(statement.value, ast.List)
    }
    if key not in lists:
        known = ", ".join(lists) or "none"
        raise WiseftError(f"{path}: expected a list called {key}, found {known}")
    return [_lambda_template(path, item) for item in lists[key].elts]


def _lambda_template(path: Path, item: ast.expr) -> str:
    """Return the text of `lambda c: f"..."` with slots for its argument."""
    match item:
        case ast.Lambda(
            args=ast.arguments(args=[ast.arg(arg=name)]), body=ast.JoinedStr(values=values)
        ):
            parts = [_part(part, name) for part in values]
            if parts and all(part is not None for part in parts):
                return "".join(part for part in parts if part is not None)
    raise WiseftError(
        f"{path}, line {item.lineno}: expected a template such as "
        'lambda c: f"a photo of a {c}.", possibly with '
        f"{{{ARTICLE}(c)}}, found {ast.unparse(item):.80}"
    )


def _part(part: ast.expr, argument: str) -> str | None:
    """Return a part of an f-string as text, or None if it is neither text nor a known slot."""
    match part:
        case ast.Constant(value=str(text)) if "{" not in text:
            return text
        case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
            slots = {argument: "{c}", f"{ARTICLE}({argument})": "{a_c}"}
            return slots.get(ast.unparse(value))
    return None
