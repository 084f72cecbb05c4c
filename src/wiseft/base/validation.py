"""Validation of data by typed models, with every error as a sentence."""

from __future__ import annotations

import difflib
import json
import re
import types
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from wiseft.errors import WiseftError

M = TypeVar("M")
_TEXTS, _COUNT = "text or a list of texts or a list", "an integer from 1 on, or auto"
_KEYS = "a mapping of keys to values"
_UNION_TAGS = {
    **dict.fromkeys(("str", "list[str]", "list[union[str,list[str]]]"), _TEXTS),
    **dict.fromkeys(("constrained-int", "literal['auto']"), _COUNT),
}
"""Location parts that pydantic adds for the members of a union, with what the union allows; they
are no keys of a file."""
_ALLOWED = {
    "string_type": "text",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "an integer"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    "finite_number": "a finite number",
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("list_type", "tuple_type"), "a list"),
    "dict_type": "a mapping of names to values",
    **dict.fromkeys(("dataclass_type", "model_type", "model_attributes_type"), _KEYS),
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


def validate(model: type[M], data: Any, source: str) -> M:
    """Return `data` as a `model`.

    Args:
        model: the pydantic model or dataclass.
        data: what a file holds; an empty file (None) counts as an empty mapping.
        source: file or option the data comes from, for messages.

    Raises:
        WiseftError: a line for every problem, each naming source, key, value and what is allowed.
    """
    try:
        return TypeAdapter(model).validate_python({} if data is None else data)
    except ValidationError as error:
        sentences = [*_sentences(error, model, source), *_besides(error, model, data, source)]
        raise WiseftError("\n".join(sentences)) from None


def suggest(name: str, valid: Iterable[str]) -> str:
    """Return the end of a sentence: the valid names nearest to `name`, or else all of them."""
    names = list(valid)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.55)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"valid: {', '.join(names)}" if names else "there are none"


_MOST_SENTENCES = 20
_ANYTHING: tuple[Any, ...] = ("x", ["x"], {}, 1)
"""One of these stands in for a key that must be given and is missing or wrong."""


def _sentences(error: ValidationError, model: type[Any], source: str) -> list[str]:
    sentences: dict[str, None] = {}  # a dict, because members of a union give the same sentence
    for details, others in _once(error.errors(include_url=False)):
        for sentence in _explain(details, model):
            more = f" ({others} more of `{details['loc'][0]}` have it too)" if others else ""
            sentences[f"{source}: {sentence}{more}"] = None
    left = len(sentences) - _MOST_SENTENCES
    shown = list(sentences)[:_MOST_SENTENCES]
    return [*shown, f"{source}: and {left} problems more"] if left > 0 else shown


def _besides(error: ValidationError, model: type[Any], data: Any, source: str) -> list[str]:
    """Return what a model's own checks say of the keys that are right, where some are wrong or
    missing: pydantic comes to these checks only when every key is right.
    """
    kinds = {str(each["loc"][0]): each["type"] for each in error.errors() if each["loc"]}
    if not kinds or not isinstance(data, dict | None):
        return []
    rest = {key: value for key, value in (data or {}).items() if str(key) not in kinds}
    for name, field in getattr(model, "__pydantic_fields__", {}).items():
        if name in kinds and field.is_required():
            nested, _ = nested_model(field.annotation)
            anything = (*_ANYTHING, nested and nested.model_construct())
            tried = ({**rest, name: each} for each in anything)
            rest = next((each for each in tried if name not in _wrong(model, each)), rest)
    said = _wrong(model, rest).get("", "").splitlines()
    of_wrong = re.compile(rf"\b({'|'.join(map(re.escape, kinds))})\b")
    return [f"{source}: {sentence}" for sentence in said if not of_wrong.search(sentence)]


def _wrong(model: type[Any], data: Any) -> dict[str, str]:
    """Return what is wrong by key, and as `` what is not about one key."""
    try:
        TypeAdapter(model).validate_python(data)
    except ValidationError as error:
        return {
            str(each["loc"][0]) if each["loc"] else "": "\n".join(_explain(each, model))
            for each in error.errors()
        }
    return {}


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


def _explain(details: ErrorDetails, model: type[Any]) -> list[str]:
    location = [part for part in details["loc"] if part not in _UNION_TAGS]
    key = ".".join(str(part) for part in location)
    kind, context = details["type"], details.get("ctx", {})
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):  # of a model, of a dataclass
        parent = _model_at(model, location[:-1])
        valid = list(parent.__pydantic_fields__) if parent else []
        return [f"unknown key `{key}`; {suggest(str(location[-1]), valid)}"]
    if kind == "missing":
        parent = _model_at(model, location[:-1])
        field = parent.__pydantic_fields__.get(str(location[-1])) if parent else None
        meaning = f" ({field.description.rstrip('.')})" if field and field.description else ""
        return [f"key `{key}` is missing, but must be given{meaning}"]
    if kind == "value_error":
        problems = str(context["error"]).split("\n")
        return [f"key `{key}`: {problem}" if key else problem for problem in problems]
    if len(location) < len(details["loc"]):
        allowed = next(_UNION_TAGS[part] for part in details["loc"] if part in _UNION_TAGS)
    elif kind in _ALLOWED:
        allowed = _ALLOWED[kind].format(**context)
    else:
        allowed = f"valid ({details['msg']})"
    subject = f"key `{key}` is" if key else "is"
    return [f"{subject} {shown_value(details['input'])}, but must be {allowed}"]


def shown_value(value: Any) -> str:
    """Return a value as messages show it: JSON of at most 60 characters."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _model_at(model: type[Any], location: list[int | str]) -> type[Any] | None:
    """Return the model that holds the key behind `location`, or None where there is none."""
    if not location:
        return model
    field = model.__pydantic_fields__.get(str(location[0]))
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
