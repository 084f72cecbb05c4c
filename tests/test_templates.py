"""Templates: all that they name is given, they travel with the package, tables keep their shape."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from setuptools import Distribution
from setuptools.config.pyprojecttoml import apply_configuration

from wiseft.base.templates import cell, render, row

ROOT = Path(__file__).parents[1]
TEMPLATES = sorted(path.relative_to(ROOT / "src/wiseft") for path in ROOT.glob("src/**/*.j2"))


@pytest.mark.parametrize("text", ["a | b", "a\n b  c", "  a", "||", "a\u00a0b"])
def test_a_cell_stays_one_cell(text: str) -> None:
    line = row(["first", text, 3])
    assert "\n" not in line
    assert len(re.findall(r"(?<!\\)\|", line)) == 4
    assert cell(text).replace("\\|", "|") == re.sub(r"[ \n]+", " ", text.strip())


def test_a_name_that_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("study/plan/reference.md.j2")


def test_templates_are_data_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    distribution = Distribution()
    apply_configuration(distribution, ROOT / "pyproject.toml")
    patterns = distribution.package_data["wiseft"]
    assert TEMPLATES
    for path in TEMPLATES:
        assert any(path.match(pattern.removeprefix("**/")) for pattern in patterns), path


def test_configuration_is_parsed_without_the_template_engine() -> None:
    code = "import sys, wiseft.study.plan.reference; print('jinja2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
