"""Reading of YAML and JSON into typed models, with one sentence for every problem."""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from wiseft.errors import WiseftError

M = TypeVar("M", bound=BaseModel)

_UNION_TAGS = {
    "str": "text",
    "list[str]": "a list of texts",
    "list[union[str,list[str]]]": "a list",
}
"""Location parts that pydantic adds for the members of a union; they are no keys of a file."""

_ALLOWED = {
    "string_type": "text",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping of names to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "literal_error": "one of {expected}",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "string_too_short": "text of at least {min_length} character",
    "too_short": "a collection of at least {min_length}",
    "too_long": "a collection of at most {max_length}",
    "string_pattern_mismatch": "text of the form {pattern}",
}


def read_yaml(path: Path, what: str = "file") -> Any:
    """Return the content of a YAML file.

    Raises:
        WiseftError: if the file is missing, is not valid YAML or holds a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise WiseftError(f"{what} {path} does not exist") from None
    except UnicodeDecodeError as error:
        raise WiseftError(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from None
    try:
        _refuse_duplicate_keys(yaml.compose(text, Loader=yaml.SafeLoader), path)
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise WiseftError(f"{path} is not valid YAML: {where}{problem}") from None


def _refuse_duplicate_keys(node: yaml.Node | None, path: Path) -> None:
    """Raise WiseftError where a mapping holds a key twice, of which YAML would silently keep the
    last.
    """
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise WiseftError(
                    f"{path}: key `{key.value}` occurs twice, again in line "
                    f"{key.start_mark.line + 1}; keep one of them"
                )
            seen.add(key.value)
            _refuse_duplicate_keys(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicate_keys(item, path)


def validate(model: type[M], data: Any, source: str) -> M:
    """Return `data` as a `model`.

    Args:
        model: the pydantic model.
        data: what a file holds; an empty file (None) counts as an empty mapping.
        source: file or option the data comes from, for messages.

    Raises:
        WiseftError: a line for every problem, each naming source, key, value and what is allowed.
    """
    try:
        return model.model_validate({} if data is None else data)
    except ValidationError as error:
        raise WiseftError("\n".join(_sentences(error, model, source))) from None


def load_entry(model: type[M], path: Path, what: str) -> M:
    """Return the entry in a YAML file. Raises WiseftError as `read_yaml` and `validate` do."""
    return validate(model, read_yaml(path, what), str(path))


def parse_settings(model: type[M], text: str, source: str = "--settings") -> M:
    """Return settings given on the command line: JSON, or `@` and the name of a YAML or JSON file.

    Raises:
        WiseftError: if the text is no JSON, the file is missing, or a value is not allowed.
    """
    if text.startswith("@"):
        path = Path(text[1:])
        return load_entry(model, path, f"the file of {source}")
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise WiseftError(
            f"{source} is not valid JSON ({error}); give JSON, or @ and the name of a file"
        ) from None
    return validate(model, data, source)


def suggest(name: str, valid: Iterable[str]) -> str:
    """Return the end of a sentence: the valid names nearest to `name`, or else all of them."""
    names = list(valid)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.55)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"valid: {', '.join(names)}" if names else "there are none"


def _sentences(error: ValidationError, model: type[BaseModel], source: str) -> list[str]:
    sentences: dict[str, None] = {}  # a dict, because members of a union give the same sentence
    for details, others in _once(error.errors(include_url=False)):
        for sentence in _explain(details, model):
            more = f" ({others} more of `{details['loc'][0]}` have it too)" if others else ""
            sentences[f"{source}: {sentence}{more}"] = None
    return list(sentences)


def _once(errors: list[ErrorDetails]) -> list[tuple[ErrorDetails, int]]:
    """Return errors with how many others are the same slip: one in an anchor of YAML is in every
    entry that it is merged into.
    """
    slips: dict[Any, list[ErrorDetails]] = {}
    for place, details in enumerate(errors):
        where = details["loc"]
        merged = details["type"] == "extra_forbidden" and len(where) == 3
        slip = (where[0], where[-1], repr(details["input"])) if merged else place
        slips.setdefault(slip, []).append(details)
    return [(same[0], len(same) - 1) for same in slips.values()]


def _explain(details: ErrorDetails, model: type[BaseModel]) -> list[str]:
    location = [part for part in details["loc"] if part not in _UNION_TAGS]
    key = ".".join(str(part) for part in location)
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        parent = _model_at(model, location[:-1])
        valid = list(parent.model_fields) if parent else []
        return [f"unknown key `{key}`; {suggest(str(location[-1]), valid)}"]
    if kind == "missing":
        parent = _model_at(model, location[:-1])
        field = parent.model_fields.get(str(location[-1])) if parent else None
        meaning = f" ({field.description.rstrip('.')})" if field and field.description else ""
        return [f"key `{key}` is missing, but must be given{meaning}"]
    if kind == "value_error":
        problems = str(context["error"]).split("\n")
        return [f"key `{key}`: {problem}" if key else problem for problem in problems]
    value = _show(details["input"])
    if len(location) < len(details["loc"]):
        allowed = " or ".join(_UNION_TAGS.values())
    elif kind in _ALLOWED:
        allowed = _ALLOWED[kind].format(**context)
    else:
        allowed = f"valid ({details['msg']})"
    return [
        f"key `{key}` is {value}, but must be {allowed}"
        if key
        else f"is {value}, but must be {allowed}"
    ]


def _show(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _model_at(model: type[BaseModel], location: list[int | str]) -> type[BaseModel] | None:
    """Return the model that holds the key behind `location`, or None where there is none."""
    if not location:
        return model
    field = model.model_fields.get(str(location[0]))
    nested, suffix = nested_model(field.annotation) if field else (None, "")
    return _model_at(nested, location[2 if suffix else 1 :]) if nested else None


def nested_model(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """Return the model inside an annotation, and how a key leads to it: `[]`, `.<name>` or ``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        members = map(nested_model, arguments)
        return next((member for member in members if member[0]), (None, ""))
    if origin in (list, dict):
        return nested_model(arguments[-1])[0], "[]" if origin is list else ".<name>"
    return None, ""
