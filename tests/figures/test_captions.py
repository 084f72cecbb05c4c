"""The captions of Snakemake's report render for every figure, without a warning."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils.core import publish_parts
from jinja2 import Environment, StrictUndefined

from wiseft.figures.registry import NAMES

CAPTIONS = Path(__file__).parents[2] / "workflow" / "report"


def _render(path: Path, draw: str) -> str:
    snakemake = SimpleNamespace(
        params=SimpleNamespace(draw=draw),
        wildcards=SimpleNamespace(figure="figure-x"),
        config={"experiment": "digits"},
    )
    template = Environment(undefined=StrictUndefined).from_string(path.read_text(encoding="utf-8"))
    text = template.render(snakemake=snakemake)
    strict = {"halt_level": 2, "report_level": 2}  # a warning is an error
    return publish_parts(text, writer="html", settings_overrides=strict)["body"]


@pytest.mark.parametrize("path", sorted(CAPTIONS.glob("*.rst")), ids=lambda path: path.name)
def test_every_caption_renders(path: Path) -> None:
    assert len(_render(path, "robustness")) > 50


@pytest.mark.parametrize("draw", NAMES)
def test_every_drawing_has_a_caption_of_its_own(draw: str) -> None:
    path = CAPTIONS / "figure.rst"
    assert len(_render(path, draw)) > len(_render(path, "none")) + 500
