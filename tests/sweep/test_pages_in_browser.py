"""Pages of an own evaluation and of several sweeps in Chromium: at every width, dark, printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file
from tests.figures.browser import Browser, find_browser
from tests.figures.test_page_browser import READY, TEXTS, overlapping
from tests.sweep.own import GRID, ROLES, ends

import wiseft
from wiseft.tool.side_by_side import page_of

pytestmark = pytest.mark.skipif(
    find_browser() is None,
    reason="no Chromium on the path (make test-page installs one, CHROMIUM names one)",
)
PAGES = ["samples", "losses", "both"]
CUT = """[document.documentElement, ...document.querySelectorAll('.scroll, .chart, section')]
  .filter((each) => each.scrollWidth > each.clientWidth + 1)
  .map((each) => each.outerHTML.slice(0, 80))"""
CONTRAST = """(() => {
  const light = (color) => { const [r, g, b] = color.match(/[0-9.]+/g).map((c) => { c /= 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const look = getComputedStyle(document.body), ink = light(look.color);
  const paper = light(look.backgroundColor);
  return [paper, (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05)];
})()"""


def evaluation(score: Callable[[float], float]) -> Callable[[Path], Iterator[dict[str, Any]]]:
    """Return an evaluation that scores every sample of the two models of `ends`."""

    def evaluate(path: Path) -> Iterator[dict[str, Any]]:
        for name, values in load_file(path).items():
            for number, value in enumerate(values):
                yield {"set": name, "id": f"s{number}", "score": score(float(value))}

    return evaluate


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, str]:
    """Addresses: samples that are right or wrong, losses (without a chart), two sweeps on one."""
    root = tmp_path_factory.mktemp("pages")
    results = {}
    for seed, name in enumerate(("samples", "other-samples", "losses")):
        (root / name).mkdir()
        score = evaluation((lambda value: -10 * value) if name == "losses" else lambda v: v > 0)
        out = root / f"from-zero-shot-to-fine-tuned-{name}"
        given = ends(root / name, seed)
        results[name] = wiseft.sweep_with(*given, score, out, **ROLES, **GRID)
    both = root / "both.html"
    both.write_text(page_of([results[n].folder for n in ("samples", "other-samples")], both))
    found = {name: results[name].page for name in ("samples", "losses")} | {"both": both}
    return {name: path.resolve().as_uri() for name, path in found.items()}


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    opened = Browser(str(find_browser()), tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()
    assert opened.problems == []


def show(browser: Browser, url: str, name: str, width: int = 1200) -> None:
    browser.emulate("light")
    browser.resize(width, 900)
    ready = READY if name != "losses" else "document.querySelector('img').complete"
    browser.open(url, f"document.URL === '{url}' && {ready}")
    browser.evaluate(
        "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
    )
    browser.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


@pytest.mark.parametrize("width", [400, 900, 1400])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_cut_and_no_text_lies_on_another(browser, pages, name, width):
    show(browser, pages[name], name, width)
    boxes = browser.evaluate(TEXTS)
    assert len(boxes) > 30
    assert overlapping(boxes) == []
    assert [box for box in boxes if box["size"] < 12] == []
    room = browser.evaluate("document.documentElement.clientWidth")
    assert [box for box in boxes if box["left"] < 0 or box["right"] > room] == []
    assert browser.evaluate(CUT) == []


@pytest.mark.parametrize("name", PAGES)
def test_they_can_be_read_in_the_dark_and_printed(browser, pages, name):
    show(browser, pages[name], name)
    papers = []
    for scheme in ("light", "dark"):
        browser.emulate(scheme)
        paper, contrast = browser.evaluate(CONTRAST)
        assert contrast >= 4.5
        papers.append(paper)
    assert papers[0] > 0.9 and papers[1] < 0.05
    browser.emulate("dark", "print")
    assert browser.evaluate(CONTRAST)[0] == pytest.approx(1)
    browser.emulate("light")
    assert browser.print_pdf().startswith(b"%PDF")


@pytest.mark.parametrize("name", PAGES)
def test_tables_are_reached_by_the_keyboard_and_have_names(browser, pages, name):
    show(browser, pages[name], name)
    named = "[...document.querySelectorAll('.scroll')].every((each) => each.tabIndex === 0"
    named += " && document.getElementById(each.getAttribute('aria-labelledby')))"
    assert browser.evaluate("document.querySelectorAll('.scroll').length") > 0
    assert browser.evaluate(named)
    said = browser.evaluate("document.querySelector('.answer').innerText")
    assert "α = " in said, "the answer leads"
