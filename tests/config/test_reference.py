"""The generated files are those that the models give."""

from __future__ import annotations

import json
import re
import shutil
import typing
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from wiseft.study.config.catalogue import check_catalogue
from wiseft.study.plan.reference import SECTIONS, generated_files, main
from wiseft.study.targets import Targets

REPOSITORY = Path(__file__).parents[2]


def test_generated_files_are_up_to_date() -> None:
    stale = [
        str(path)
        for path, text in generated_files(REPOSITORY).items()
        if not path.is_file() or path.read_text() != text
    ]
    assert stale == [], "run: python -m wiseft.study.plan.reference --write"


def test_check_and_write(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = ["--root", str(project)]
    assert main(["--check", *root]) == 1
    assert main(["--write", *root]) == 0
    assert main(["--check", *root]) == 0
    schema = project / "workflow/schemas/config.schema.json"
    schema.write_text(schema.read_text().replace("digits", "letters"))
    assert main(["--check", *root]) == 1
    assert "config.schema.json" in capsys.readouterr().out


def fields(model: type[BaseModel]) -> typing.Iterator[tuple[str, str | None]]:
    for name, field in model.model_fields.items():
        yield name, field.description
        for argument in [field.annotation, *typing.get_args(field.annotation)]:
            if isinstance(argument, type) and issubclass(argument, BaseModel):
                yield from fields(argument)


@pytest.mark.parametrize("model", [model for _, model, _, _ in SECTIONS])
def test_every_key_is_documented(model: type[BaseModel]) -> None:
    readme = (REPOSITORY / "config/README.md").read_text()
    for name, description in fields(model):
        assert description, name
        assert re.search(rf"^\| `(?:[^`]*\.)?{name}` \|", readme, re.MULTILINE), name
        assert description.replace("|", "\\|") in readme


def test_schemas_refuse_unknown_keys_and_read_the_files() -> None:
    for name, _, file, _ in SECTIONS:
        schema = json.loads((REPOSITORY / f"workflow/schemas/{name}.schema.json").read_text())
        validator = jsonschema.Draft202012Validator(schema)
        entries = list((REPOSITORY / "config").glob(file.replace("NAME", "*")))
        assert entries, file
        for path in entries:
            data = yaml.safe_load(path.read_text())
            assert not list(validator.iter_errors(data)), path
            assert list(validator.iter_errors({**data, "surprise": 1})), path


def test_the_example_of_an_experiment_is_accepted(tmp_path: Path) -> None:
    text = (REPOSITORY / "config/README.md").read_text()
    example = text.split("```yaml\n", 1)[1].split("```", 1)[0]
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    (tmp_path / "config/experiments/my-digits.yaml").write_text(example)
    assert "my-digits" in check_catalogue(tmp_path, "my-digits")
    targets = Targets.read(tmp_path, {"experiment": "my-digits"})
    assert [(run.model, run.method_id) for run in targets.runs] == [
        ("digits-rn-s20", "end-to-end__digits")
    ]
    assert targets.files.drawn() == ["shifts-over-reference"]
