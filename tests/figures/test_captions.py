"""The captions of Snakemake's report render for every figure, without a warning."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils.core import publish_parts
from jinja2 import Environment, StrictUndefined

from wiseft.base import plugins
from wiseft.study import DRAWINGS
from wiseft.study.config import Catalogue
from wiseft.study.config.drawings import drawing_text

CAPTIONS = Path(__file__).parents[2] / "workflow" / "report"


def _render(path: Path, draw: str, caption: str = "") -> str:
    snakemake = SimpleNamespace(
        params=SimpleNamespace(about=drawing_text(draw), caption=caption),
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


@pytest.mark.parametrize("draw", plugins.names(DRAWINGS))
def test_the_caption_of_every_drawing_is_the_docstring_of_its_file(draw: str) -> None:
    assert len(_render(CAPTIONS / "figure.rst", draw)) > 400


def test_a_figures_own_caption_comes_first() -> None:
    text = _render(CAPTIONS / "figure.rst", "scatter", "Figure 1 (bottom). Published: Table 4.")
    assert text.index("Published: Table 4") < text.index("logit scales")


PAPER = Catalogue(CAPTIONS.parents[1]).experiment("paper").figures


@pytest.mark.parametrize("name", [name for name in PAPER if name.startswith("figure-")])
def test_the_papers_captions_say_number_tables_and_what_is_published(name: str) -> None:
    caption = PAPER[name].caption
    number = name.removeprefix("figure-")
    assert caption.startswith(f"Figure {number}")
    assert "Table" in caption or number == "8"
    assert "ublished" in caption or "Points only" in caption
    assert _render(CAPTIONS / "figure.rst", "scatter", caption)
