"""Writes the JSON schemas, the reference of the configuration and the page of datasets, from the
typed models and the catalogue.

``python -m wiseft.study.plan.reference --write`` writes them, ``--check`` fails where a file
differs.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import types
import typing
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import ModelSchema, WithDefaultSchema

from wiseft.base import plugins
from wiseft.base.io import write_text
from wiseft.base.templates import render
from wiseft.base.validation import nested_model
from wiseft.errors import WiseftError
from wiseft.study.config.catalogue import Catalogue
from wiseft.study.config.datasets import DatasetEntry
from wiseft.study.config.entries import ModelEntry, Packages, PromptsEntry
from wiseft.study.config.experiment import ExperimentEntry
from wiseft.study.config.layouts import LAYOUTS
from wiseft.study.config.machine import Config
from wiseft.study.config.methods import FinetuneOverrides, FinetuneSettings, MethodEntry
from wiseft.study.plan.datasets_page import datasets_page
from wiseft.study.plan.needs import needs_of
from wiseft.study.targets import Targets
from wiseft.tool.own_results import Line

SECTIONS: list[tuple[str, type[BaseModel], str, str]] = [
    ("config", Config, "config.yaml", "What runs by default"),
    ("experiment", ExperimentEntry, "experiments/NAME.yaml", "An experiment"),
    ("dataset", DatasetEntry, "datasets/NAME.yaml", "A dataset"),
    ("packages", Packages, "packages.yaml", "Packages that carry data"),
    ("prompts", PromptsEntry, "prompts/NAME.yaml", "A prompt set"),
    ("model", ModelEntry, "models/NAME.yaml", "A model"),
    ("method", MethodEntry, "methods/NAME.yaml", "A fine-tuning method"),
]
"""Name of the schema, its model, the file below `config/` that it describes, and the heading."""


class _Brief(GenerateJsonSchema):
    """Leaves out what says nothing: titles that pydantic makes of names, and defaults of whole
    models, whose keys have their own.
    """

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: ModelSchema) -> dict[str, Any]:
        return {key: each for key, each in super().model_schema(schema).items() if key != "title"}

    def default_schema(self, schema: WithDefaultSchema) -> dict[str, Any]:
        if isinstance(schema.get("default"), BaseModel):
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


def json_schema(model: type[BaseModel]) -> str:
    """Return the JSON schema of a model as text."""
    schema = model.model_json_schema(schema_generator=_Brief, union_format="primitive_type_array")
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    overrides, settings = FinetuneOverrides.__name__, FinetuneSettings.__name__
    schema.get("$defs", {}).pop(overrides, None)  # has the keys of the settings, none needed
    text = re.sub(r"(\\n)+", " ", json.dumps(schema, indent=2, ensure_ascii=False)) + "\n"
    return text.replace(f"#/$defs/{overrides}", f"#/$defs/{settings}")


def readme(catalogue: Catalogue) -> str:
    """Return `config/README.md`: how to select an experiment, then every key, type, default and
    meaning.
    """
    names, recipes = catalogue.names("experiments"), plugins.names(plugins.RECIPES)
    return render(
        "study/plan/reference.md.j2",
        other=next((name for name in names if name.endswith("smoke")), "NAME"),
        experiments={name: catalogue.experiment_entry(name) for name in names},
        needs={name: _needs(catalogue, name) for name in names},
        sections=SECTIONS,
        layouts=LAYOUTS,
        recipes={name: plugins.load(plugins.RECIPES, name) for name in recipes},
        doc=_doc,
        rows=_rows,
    )


def _needs(catalogue: Catalogue, experiment: str) -> str:
    """Return what an experiment roughly needs; a dash where that is not known, or it is wrong."""
    try:
        return str(needs_of(Targets(Config(), catalogue, catalogue.experiment(experiment))))
    except WiseftError:
        return "–"


def generated_files(root: Path) -> dict[Path, str]:
    """Return the content of every generated file, by its path below `root`."""
    schemas = {
        root / "workflow" / "schemas" / f"{name}.schema.json": json_schema(model)
        for name, model, _, _ in SECTIONS
    }
    schemas[root / "workflow" / "schemas" / "evaluation.schema.json"] = json_schema(Line)
    catalogue = Catalogue(root)
    return {
        **schemas,
        root / "config" / "README.md": readme(catalogue),
        root / "docs" / "datasets.md": datasets_page(catalogue),
    }


def _rows(model: type[BaseModel], prefix: str = "") -> list[list[str]]:
    """Return key, type, default and meaning of every key of a model and of the models in it."""
    rows = []
    for name, field in model.model_fields.items():
        key = prefix + name
        nested, suffix = nested_model(field.annotation)
        kind = _type(field.annotation, field.metadata)
        rows.append([f"`{key}`", kind, _default(field), field.description or ""])
        if nested is FinetuneOverrides:
            same = "as in `settings`"
            rows.append([f"`{key}{suffix}.*`", same, same, "Any of the keys of `settings`."])
        elif nested is not None:
            rows += _rows(nested, f"{key}{suffix}.")
    return rows


def _doc(documented: type[BaseModel] | ModuleType) -> str:
    """Return the docstring of a model, or the first paragraph of a module's, as one line."""
    text = documented.__doc__ or ""
    paragraphs = text.split("\n\n") if isinstance(documented, ModuleType) else [text]
    return " ".join(paragraphs[0].split())


def _type(annotation: Any, metadata: typing.Sequence[Any] = ()) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        extra = [
            item
            for argument in arguments[1:]
            for item in (argument.metadata if isinstance(argument, FieldInfo) else [argument])
        ]
        return _type(arguments[0], [*extra, *metadata])
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(argument, metadata) for argument in arguments)
    if origin is list:
        item = _type(arguments[0])
        return f"list of ({item})" if " or " in item else f"list of {item}"
    if origin is tuple:
        return f"list of {len(arguments)} × {_type(arguments[0])}"
    if origin is dict:
        return f"mapping of names to {_type(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "keys below"
    plain = {str: "text", int: "integer", float: "number", bool: "true, false", Any: "any value"}
    plain[Path] = "file"
    name = plain.get(annotation, "null")
    return name + (_bounds(metadata) if annotation in (int, float) else "")


def _bounds(metadata: typing.Sequence[Any]) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [
        f"{sign} {getattr(item, name):g}"
        for item in metadata
        for name, sign in signs.items()
        if getattr(item, name, None) is not None and getattr(item, name) != 2**31
    ]
    return f" {', '.join(bounds)}" if bounds else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value = field.default
    if isinstance(value, BaseModel):
        return "as below"
    if isinstance(value, list) and value and isinstance(value[0], BaseModel):
        value = [item.model_dump() for item in value]
    return f"`{json.dumps(value)}`"


def main(arguments: list[str] | None = None) -> int:
    """Write or check the generated files; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m wiseft.study.plan.reference", description=__doc__
    )
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="write the generated files")
    action.add_argument("--check", action="store_true", help="fail where a file differs")
    parser.add_argument("--root", type=Path, default=Path(), help="the project's root")
    options = parser.parse_args(arguments)
    try:
        generated = generated_files(options.root)
    except WiseftError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    written = {path: path.read_text(encoding="utf-8") for path in generated if path.is_file()}
    stale = [path for path, text in generated.items() if written.get(path) != text]
    for path in stale:
        if options.write:
            write_text(path, generated[path])
        print(f"{'wrote' if options.write else 'out of date'}: {path}")
    if stale and options.check:
        print("run: python -m wiseft.study.plan.reference --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
