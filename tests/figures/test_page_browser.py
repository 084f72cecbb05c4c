"""The interactive page in Chromium: what a reader sees and does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.figures import paper_table
from tests.figures.browser import Browser, find_browser

from wiseft.figures.page import PageSettings, build_page
from wiseft.study.config import Catalogue
from wiseft.study.paper.context import page_context
from wiseft.tool.flips import section

pytestmark = pytest.mark.skipif(
    find_browser() is None,
    reason="no Chromium on the path (make test-page installs one, CHROMIUM names one)",
)

READY = "document.documentElement.dataset.ready === 'yes'"
RINGED = """[...document.querySelectorAll('.chart path[aria-label]')]
  .filter((mark) => mark.getAttribute('fill') === 'transparent')
  .map((mark) => [mark.getAttribute('aria-label'), mark.getAttribute('transform')])"""
EVIL = "document.documentElement.dataset.evil = 'yes'"
HOSTILE = {
    "clip-vit-l-14-336": f"<!--<script>{EVIL}</script>",
    "imagenet-a": f"</script><script>{EVIL}</script>",
    "imagenet-r": f"'] || ({EVIL}) || ['\"\\",
    "imagenet-sketch": f'<img src=x onerror="{EVIL}">',
}
"""Names of somebody else's table."""


class Reader:
    """What a reader does with the page."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser, self.url = browser, url

    def reload(self) -> None:
        self.browser.emulate("light")
        self.browser.resize(1200, 900)
        self.browser.open(self.url, READY)
        # The slider speaks through a promise: wait until the chart has followed.
        self.settle()

    def settle(self) -> None:
        frames = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        self.browser.evaluate(frames)

    def cells(self, dataset: str) -> list[str]:
        rows = self.browser.evaluate(
            "[...document.querySelectorAll('#table tbody tr')]"
            ".map((row) => [...row.cells].map((cell) => cell.innerText.replace(/\\s+/g, ' ')))"
        )
        # Methods that have no room beside the others stand in a table below.
        return [cell for row in rows if row[0] == dataset for cell in row[1:]]

    def text(self, name: str) -> str:
        return str(self.browser.evaluate(f"document.getElementById('{name}').innerText"))

    def slide(self, place: int) -> None:
        self.browser.evaluate(
            f"(() => {{ const s = document.getElementById('alpha'); s.value = {place};"
            " s.dispatchEvent(new Event('input')); })()"
        )
        self.settle()

    def choose(self, model: str) -> None:
        self.browser.evaluate(
            f"(() => {{ const m = document.getElementById('model'); m.value = {model!r};"
            " m.dispatchEvent(new Event('change')); })()"
        )
        self.settle()

    def ringed(self) -> list[list[str]]:
        return list(self.browser.evaluate(RINGED))


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    program = find_browser()
    assert program is not None
    found = Browser(program, tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


def write_page(folder: Path, experiment: str, table: pd.DataFrame, name: str = "") -> str:
    catalogue = Catalogue(paper_table.ROOT)
    about = page_context(catalogue.experiment(experiment), catalogue)
    if name:
        about["datasets"] = [HOSTILE.get(one, one) for one in about["datasets"]]
    page = folder / f"{name or experiment}.html"
    page.write_text(build_page(table, PageSettings.model_validate(about), page))
    return page.resolve().as_uri()


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, str]:
    """Addresses of the paper's page, and of one with measured numbers beside published ones."""
    folder = tmp_path_factory.mktemp("pages")
    published = paper_table.published()
    beside = pd.concat([paper_table.measured(), published], ignore_index=True)
    return {
        "paper": write_page(folder, "paper", published),
        "imagenet": write_page(folder, "imagenet", beside),
        "hostile": write_page(folder, "paper", published.replace(HOSTILE), "hostile"),
    }


@pytest.fixture
def reader(browser: Browser, pages: dict[str, str]) -> Reader:
    found = Reader(browser, pages["paper"])
    browser.problems.clear()
    browser.requests.clear()
    found.reload()
    return found


@pytest.fixture(autouse=True)
def nothing_goes_wrong(request: pytest.FixtureRequest) -> Iterator[None]:
    """After whatever a test did: no message of the console, no request but for the page."""
    yield
    browser: Any = request.getfixturevalue("browser")
    assert browser.problems == []
    assert browser.foreign_requests() == []


def test_the_slider_changes_numbers_and_the_ringed_points(reader):
    assert reader.text("alpha-text") == "0.5"
    assert reader.cells("ImageNet")[0].startswith("86.8 [")
    before = reader.ringed()
    reader.slide(20)
    assert reader.text("alpha-text") == "1"
    assert reader.cells("ImageNet")[:3] == [reader.cells("ImageNet")[0], "+9.6", "0.0"]
    assert reader.cells("ImageNet")[0].startswith("86.2 [")
    assert reader.cells("ImageNet-A")[0].startswith("65.4 [")
    after = reader.ringed()
    # Two methods on six panels that have both, one on the two video sets.
    assert len(before) == len(after) == 14
    assert all("alpha 0.5:" in label for label, _ in before)
    assert all("alpha 1:" in label for label, _ in after)
    assert all(a[1] != b[1] for a, b in zip(before, after, strict=True))
    assert "ImageNet 86.2 %" in reader.text("status")
    reader.browser.evaluate("document.getElementById('half').click()")
    assert reader.text("alpha-text") == "0.5"


def test_the_keyboard_is_enough(reader):
    browser = reader.browser
    order = []
    for _ in range(7):
        browser.press("Tab", 9)
        order.append(
            browser.evaluate("document.activeElement.id || document.activeElement.className")
        )
    assert order == ["skip", "model", "alpha", "half", "table", "save", ""]
    browser.evaluate("document.getElementById('alpha').focus()")
    browser.press("ArrowRight", 39)
    assert reader.text("alpha-text") == "0.55"
    browser.press("Home", 36)
    assert reader.text("alpha-text") == "0"
    assert reader.cells("ImageNet")[0].startswith("76.6 [")
    style = "getComputedStyle(document.activeElement).outlineStyle"
    assert browser.evaluate(style) == "solid"
    reader.reload()
    browser.press("Tab", 9)
    browser.press("Enter", 13)
    assert browser.evaluate("document.activeElement.id") == "numbers"


def test_every_control_and_the_table_have_names(reader):
    tree = reader.browser.command("Accessibility.getFullAXTree")["nodes"]
    named = {}
    for node in tree:
        if not node.get("ignored"):
            name = node.get("name", {}).get("value", "")
            named.setdefault(node["role"]["value"], []).append(name)
    assert named["slider"] == ["alpha, the share of the fine-tuned model"]
    assert named["combobox"] == ["Model"]
    assert named["button"] == ["α = 0.5", "Save all numbers of this page (CSV)"]
    assert "Accuracy in percent at α = 0.5, clip-vit-l-14-336" in named["table"]
    assert all(named["link"])
    spoken = "document.getElementById('alpha').getAttribute('aria-valuetext')"
    assert reader.browser.evaluate(spoken) == "alpha 0.5"
    headers = "[...document.querySelectorAll('#table th')].every((cell) => cell.scope)"
    assert reader.browser.evaluate(headers)


def test_another_model_has_its_own_numbers_axes_and_gaps(reader):
    reader.choose("basic-l")
    assert reader.cells("ImageNet")[0].startswith("87.9 [")
    assert len(reader.ringed()) == 6
    words = "[...document.querySelectorAll('.chart text')].map((text) => text.textContent)"
    absent = "no numbers of this model"
    assert reader.browser.evaluate(words).count(absent) == 2
    assert "ImageNet-Vid-Robust" not in reader.text("table")
    # The place of alpha is kept from model to model.
    reader.slide(20)
    reader.choose("align")
    assert reader.text("alpha-text") == "1"


def test_a_point_says_what_it_is(reader):
    place = reader.browser.evaluate(
        "(() => { const mark = [...document.querySelectorAll('#chart path[aria-label]')]"
        ".find((mark) => mark.getAttribute('aria-label').includes('ImageNet-V2, alpha 0.2:'));"
        " mark.scrollIntoView({block: 'center'}); const box = mark.getBoundingClientRect();"
        " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    for shift in (-1, 0):
        reader.browser.command(
            "Input.dispatchMouseEvent", type="mouseMoved", x=place[0] + shift, y=place[1]
        )
    reader.browser.wait("document.querySelector('#vg-tooltip-element.visible')")
    said = reader.text("vg-tooltip-element")
    assert "0.2" in said and "WiSE-FT, end-to-end" in said and "%" in said and "[" in said


def test_published_stands_beside_measured(browser, pages):
    reader = Reader(browser, pages["imagenet"])
    reader.reload()
    measured, _, _, published, difference = reader.cells("ImageNet")[:5]
    assert measured.startswith("86.0 [") and published.startswith("86.8 [")
    assert difference == "−0.8"
    assert reader.text("table").count("published (%)") == 2
    assert len(reader.ringed()) == 24


TEXTS = """(() => {
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const element = node.parentElement, range = document.createRange();
    if (!node.textContent.trim() || element.closest('script, style, option, noscript')) continue;
    if (element.closest('.skip, .unseen')) continue;
    if (!element.checkVisibility({visibilityProperty: true})) continue;
    range.selectNodeContents(node);
    const size = parseFloat(getComputedStyle(element).fontSize);
    for (const box of range.getClientRects()) {
      if (box.width > 1) found.push({text: node.textContent.trim(), size,
        left: box.left, right: box.right, top: box.top, bottom: box.bottom});
    }
  }
  return found;
})()"""
ON_CURVES = """(() => {
  const found = [], points = [];
  for (const path of document.querySelectorAll('#lead .mark-line path')) {
    const matrix = path.getScreenCTM();
    for (let at = 0; at <= path.getTotalLength(); at += 3)
      points.push(path.getPointAtLength(at).matrixTransform(matrix));
  }
  for (const text of document.querySelectorAll('#lead .mark-text.role-mark text')) {
    const box = text.getBoundingClientRect();
    const inside = (p) => p.x > box.left && p.x < box.right && p.y > box.top && p.y < box.bottom;
    if (box.width && points.some(inside)) found.push(text.textContent);
  }
  return found;
})()"""


def overlapping(boxes: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the texts whose boxes share more than a pixel in both directions."""
    return [
        (one["text"], other["text"])
        for place, one in enumerate(boxes)
        for other in boxes[:place]
        if min(one["right"], other["right"]) - max(one["left"], other["left"]) > 1
        and min(one["bottom"], other["bottom"]) - max(one["top"], other["top"]) > 1
    ]


@pytest.mark.parametrize("width", [400, 900, 1400])
@pytest.mark.parametrize("name", ["paper", "imagenet", "chosen", "swept"])
def test_nothing_is_cut_and_no_text_lies_on_another(browser, pages, chosen, swept, name, width):
    reader = Reader(browser, (pages | {"chosen": chosen, "swept": swept})[name])
    reader.reload()
    browser.resize(width, 900)
    browser.wait(f"innerWidth === {width}")
    reader.settle()
    browser.evaluate(
        "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
    )
    reader.settle()
    boxes = browser.evaluate(TEXTS)
    assert len(boxes) > 100
    assert overlapping(boxes) == []
    assert [box for box in boxes if box["size"] < 12] == []
    room = browser.evaluate("document.documentElement.clientWidth")
    assert [box for box in boxes if box["left"] < 0 or box["right"] > room] == []
    wide = (
        "[document.documentElement, ...document.querySelectorAll('.scroll, .chart, section')]"
        ".filter((each) => each.scrollWidth > each.clientWidth + 1)"
        ".map((each) => each.outerHTML.slice(0, 80))"
    )
    assert browser.evaluate(wide) == []
    assert browser.evaluate(ON_CURVES) == []
    lead, page = (
        browser.evaluate(f"document.querySelector('{each}').getBoundingClientRect().width")
        for each in ("#lead svg", "main")
    )
    assert 0.97 * page < lead <= page, "the large panel has the page's width"


def test_the_answer_and_the_large_panel_are_on_the_first_screen(browser, swept):
    for width in (400, 1400):
        reader = Reader(browser, swept)
        reader.reload()
        browser.resize(width, 900)
        reader.settle()
        top = "document.getElementById('%s').getBoundingClientRect().%s"
        answer, panel = (
            browser.evaluate(top % each) for each in (("answer", "bottom"), ("lead", "bottom"))
        )
        assert answer < 300 and panel < 900, (width, answer, panel)


def test_the_large_panel_has_intervals_and_names_the_chosen_alpha(browser, chosen):
    reader = Reader(browser, chosen)
    reader.reload()
    rules = "document.querySelectorAll('#lead .mark-rule.role-mark line').length"
    shown = browser.evaluate(rules)
    assert shown == 2 * (21 - 1) + 2 * 6, "of the first curve, and of the ringed point of each"
    texts = "[...document.querySelectorAll('#lead .mark-text.role-mark text')]"
    names = f"{texts}.map((text) => text.textContent)"
    assert sorted(filter(None, browser.evaluate(names))) == ["fine-tuned", "zero-shot", "α = 0.8"]
    reader.slide(3)
    assert browser.evaluate(rules) == shown


def test_panels_stand_side_by_side_where_there_is_room(reader):
    panels = "document.querySelectorAll('#chart [class*=concat_][class*=_group] > g > .background')"
    across = f"new Set([...{panels}].map((p) => Math.round(p.getBoundingClientRect().x))).size"
    wide = "document.documentElement.scrollWidth <= innerWidth"
    for width, columns in ((1200, 3), (800, 2), (390, 1), (1200, 3)):
        reader.browser.resize(width, 900)
        reader.browser.wait(f"{across} === {columns}")
        assert reader.browser.evaluate(wide), f"the page is wider than its window of {width} px"


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> str:
    """The address of a page as a sweep has it: one method, three shifts, few images, an answer."""
    table = paper_table.table(paper_table.sweep(method="end-to-end"))
    shifts = ["imagenet-r", "imagenet-a", "objectnet"]
    table = table[table["dataset"].isin(["imagenet", *shifts])]
    settings = PageSettings(
        experiment="sweep",
        title="fine-tuned-for-long-on-our-own-photographs-2026-11-30.safetensors, zero to one",
        about="Recommended. " + "It is the smallest alpha. " * 9,
        details="Made with commit " + "c" * 70 + ".",
        reference="imagenet",
        datasets=shifts,
        titles={
            "imagenet": "reference",
            "imagenet-r": "a-folder-of-a-very-long-name-that-breaks-nowhere",
        },
        recommended=0.4,
    )
    frame = pd.DataFrame(
        {
            "set": "sketches",
            "split": "test",
            "image": f"bird/{'photo' * 12}{n}.png",
            "label": "bird",
        }
        | {
            f"prediction/{a}": "bird" if n % k else "tail"
            for k, a in ((2, "0.000"), (3, "0.400"), (5, "1.000"))
        }
        for n in range(30)
    )
    page = tmp_path_factory.mktemp("swept") / "index.html"
    page.write_text(build_page(table, settings, page, flips=section(frame, 0.4)))
    return page.resolve().as_uri()


@pytest.fixture(scope="module")
def chosen(tmp_path_factory) -> str:
    """The address of a page with six methods, and an alpha that held-out images chose."""
    swept = [
        paper_table.table(paper_table.sweep(method="end-to-end", variant=f"variant-{at}"))
        for at in range(6)
    ]
    first = swept[0]
    picked = first[(first["alpha"] == 0.8) & (first["dataset"] == "imagenet")]
    picked = picked.assign(selection="held-out-1se")
    table = pd.concat([*swept, picked], ignore_index=True)
    return write_page(tmp_path_factory.mktemp("chosen"), "imagenet", table)


def test_the_recommended_alpha_is_marked_and_the_ends_are_named(browser, chosen):
    reader = Reader(browser, chosen)
    reader.reload()
    assert reader.text("recommended") == "recommended: α = 0.8"
    browser.evaluate("document.getElementById('recommended').click()")
    assert reader.text("alpha-text") == "0.8"
    texts = "[...document.querySelectorAll('#chart text')].map((text) => text.textContent)"
    panels = "document.querySelectorAll('#chart [class*=concat_][class*=_group] > g > .background')"
    said, n = browser.evaluate(texts), browser.evaluate(f"{panels}.length")
    assert said.count("zero-shot") == said.count("fine-tuned") == 0 < n, "shapes say it there"
    assert browser.evaluate("document.getElementById('key').innerText").count("zero-shot") == 1
    assert "Diamonds: the recommended" in browser.evaluate("document.body.innerText")


@pytest.mark.parametrize("width", [1300, 1400])
def test_no_table_is_cut_and_the_legend_stands_above(browser, chosen, width):
    reader = Reader(browser, chosen)
    reader.reload()
    browser.resize(width, 900)
    browser.wait("document.querySelectorAll('#table table').length > 1")
    assert browser.evaluate(
        "(() => { const box = document.getElementById('table');"
        " return box.scrollWidth <= box.clientWidth; })()"
    )
    assert len(reader.cells("ImageNet")) == 6 * 3, "every method has its numbers"
    top = "document.querySelector('%s').getBoundingClientRect().top"
    assert browser.evaluate(f"{top % '#key'} < {top % '#lead .mark-symbol.role-mark'}")
    shown = browser.evaluate("document.getElementById('key').innerText")
    assert all(f"variant-{at}" in shown for at in range(6))


def test_light_and_dark_can_both_be_read(reader):
    lightness = (
        "((color) => { const [r, g, b] = color.match(/[0-9.]+/g).map((c) => { c /= 255;"
        " return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; });"
        " return 0.2126 * r + 0.7152 * g + 0.0722 * b; })(getComputedStyle(%s).%s)"
    )
    found = {}
    for scheme in ("light", "dark"):
        reader.browser.emulate(scheme)
        paper = reader.browser.evaluate(lightness % ("document.body", "backgroundColor"))
        for name in ("body", ".note", "#chart .role-axis-label text", "button"):
            node = f"document.querySelector('{name}')"
            side = "fill" if "text" in name else "color"
            ink = reader.browser.evaluate(lightness % (node, side))
            contrast = (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05)
            assert contrast >= 4.5, f"{name} in {scheme}: {contrast:.1f}"
        found[scheme] = paper
    assert found["light"] > 0.9 and found["dark"] < 0.05


def test_a_print_has_chart_and_numbers_without_controls(reader):
    shown = "getComputedStyle(document.querySelector('%s')).display"
    reader.browser.emulate("dark", "print")
    assert reader.browser.evaluate(shown % ".controls") == "none"
    assert reader.browser.evaluate(shown % "#chart") != "none"
    paper = "getComputedStyle(document.body).backgroundColor"
    assert reader.browser.evaluate(paper) == "rgb(255, 255, 255)"
    reader.browser.emulate("light")
    assert reader.browser.print_pdf().startswith(b"%PDF")


def test_the_numbers_can_be_saved(reader, tmp_path):
    reader.browser.command("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    reader.browser.evaluate("document.getElementById('save').click()")
    saved = tmp_path / "paper-page.csv"
    for _ in range(200):
        if saved.exists() and saved.stat().st_size:
            break
        reader.settle()
    table = pd.read_csv(saved)
    chosen = table[(table["model"] == "clip-vit-l-14-336") & (table["dataset"] == "imagenet")]
    chosen = chosen[(chosen["alpha"] == 0.5) & chosen["method"].str.endswith("end-to-end")]
    assert chosen["percent"].tolist() == [86.8]
    assert set(table["source"]) == {"published"}


def test_names_are_text_whatever_they_hold(browser, pages):
    reader = Reader(browser, pages["hostile"])
    reader.reload()
    reader.choose(HOSTILE["clip-vit-l-14-336"])
    for name in HOSTILE.values():
        if name != HOSTILE["clip-vit-l-14-336"]:
            assert reader.cells(name)[0].endswith("]"), name
    assert len(reader.ringed()) == 14
    reader.slide(20)
    assert reader.cells("ImageNet")[0].startswith("86.2 [")
    assert browser.evaluate("document.documentElement.dataset.evil") is None


def test_the_policy_keeps_other_code_and_styles_out(reader):
    """What the page's own scripts and style are is said by their sums; nothing else runs."""
    for put in (
        "Object.assign(document.createElement('script'), {textContent: \"EVIL\"})",
        "Object.assign(document.createElement('img'), {src: 'x', onerror: \"EVIL\"})",
        "Object.assign(document.createElement('style'), {textContent: 'body {color: red}'})",
    ):
        code = put.replace("EVIL", EVIL)
        reader.browser.evaluate(f"void document.body.append({code})")
    assert reader.browser.evaluate("document.documentElement.dataset.evil") is None
    assert reader.browser.evaluate("getComputedStyle(document.body).color") != "rgb(255, 0, 0)"
    refused = [text for text in reader.browser.problems if "Content Security Policy" in text]
    assert len(refused) >= 3
    reader.browser.problems.clear()
    reader.browser.requests.clear()
