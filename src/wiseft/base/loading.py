"""Reading of YAML and JSON into typed models, with one sentence for every problem."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from wiseft.base.validation import M, shown_value, validate
from wiseft.errors import WiseftError

MOST_VALUES = 1_000_000
"""Values of a YAML text, aliases written out; far more than an entry has."""


def read_yaml(path: Path, what: str = "file") -> Any:
    """Return the content of a YAML file.

    Raises:
        WiseftError: if the file is missing, or as `parse_yaml` does.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise WiseftError(f"{what} {path} does not exist") from None
    except UnicodeDecodeError as error:
        raise WiseftError(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from None
    return parse_yaml(text, str(path))


class _Loader(yaml.SafeLoader):
    """Says the line of a value that YAML gives a type that it can't have, such as a 32nd of May."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            kind = node.tag.rpartition(":")[2]
            problem = f"{shown_value(node.value)} is no {kind} ({error}); put a text between quotes"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None


def parse_yaml(text: str, source: str) -> Any:
    """Return what a text of YAML says.

    Args:
        source: file or option the text is from, for messages.

    Raises:
        WiseftError: if it is not valid YAML, holds a key twice, contains itself, or is nested or
            grown by aliases beyond what an entry can be.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        _count(node, source, {})
        return None if node is None else loader.construct_document(node)
    except RecursionError:
        raise WiseftError(f"{source} is nested too deeply; write it flat") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise WiseftError(
            f"{source} is not valid YAML: line {line}: character #x{error.character:04x} is not "
            "allowed; remove it"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise WiseftError(f"{source} is not valid YAML: {where}{problem}") from None


def _count(node: yaml.Node | None, source: str, sizes: dict[int, int]) -> int:
    """Return how many values a node stands for, its aliases written out.

    Args:
        sizes: of the nodes so far: each is looked at once, however many aliases there are of it.

    Raises:
        WiseftError: if there are more than `MOST_VALUES`, a mapping holds a key twice, of which
            YAML would silently keep the last, or a node holds itself.
    """
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) in sizes:
        if (size := sizes[id(node)]) == 0:
            raise _refusal(node, source, "the value that begins here contains itself by an alias")
        return size
    sizes[id(node)] = 0
    children = node.value
    if isinstance(node, yaml.MappingNode):
        _refuse_duplicate_keys(node, source)
        children = [each for pair in node.value for each in pair]
    sizes[id(node)] = size = 1 + sum(_count(child, source, sizes) for child in children)
    if size > MOST_VALUES:
        problem = f"the aliases in what begins here stand for more than {MOST_VALUES:,} values"
        raise _refusal(node, source, problem)
    return size


def _refuse_duplicate_keys(node: yaml.MappingNode, source: str) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _refusal(key, source, "a list or mapping is no key")
        if key.value in seen:
            raise WiseftError(
                f"{source}: key `{key.value}` occurs twice, again in line "
                f"{key.start_mark.line + 1}; keep one of them"
            )
        seen.add(key.value)


def _refusal(node: yaml.Node, source: str, problem: str) -> WiseftError:
    return WiseftError(f"{source}: line {node.start_mark.line + 1}: {problem}")


def load_entry(model: type[M], path: Path, what: str) -> M:
    """Return the entry in a YAML file. Raises WiseftError as `read_yaml` and `validate` do."""
    return validate(model, read_yaml(path, what), str(path))


def parse_settings(model: type[M], text: str, source: str = "--settings") -> M:
    """Return settings given on the command line: JSON, or `@` and the name of a YAML or JSON file.

    Raises:
        WiseftError: if the text is no JSON, the file is missing, or a value is not allowed.
    """
    if text.startswith("@"):
        return load_entry(model, Path(text[1:]), f"the file of {source}")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WiseftError(
            f"{source} is not valid JSON ({error}); give JSON, or @ and the name of a file"
        ) from None
    return validate(model, data, source)
