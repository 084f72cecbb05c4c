"""The documentation: links in the repository's file view, redirects, the generated reference.

The site's own links are checked where it is built (`make docs`, in `.ci/run`).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.test_repository import ROOT, tracked
from tools.site.__main__ import write
from tools.site.api import api_pages
from tools.site.commands import commands_page
from tools.site.moved import MOVED, redirect
from typer.main import get_command

from wiseft.cli import app

LINK = re.compile(r"\]\((?!\w+:)([^)\s]*)\)")


def outside_code(text: str) -> str:
    """Return Markdown without fenced code, and without links in code spans."""
    text = re.sub(r"^( *)(```+).*?^\1\2 *$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", lambda found: found[0].replace("](", "] ("), text)


def anchors(text: str) -> set[str]:
    """Return the anchors that a file view gives a page: of headings, and those written out."""
    found: set[str] = set(re.findall(r'<a id="([^"]+)"', text))
    counts: dict[str, int] = {}
    without_fences = re.sub(r"^( *)(```+).*?^\1\2 *$", "", text, flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#{1,6} (.+)$", without_fences, flags=re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        seen = counts[anchor] = counts.get(anchor, -1) + 1
        found.add(f"{anchor}-{seen}" if seen else anchor)
    return found


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in LINK.findall(outside_code(page.read_text())):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists():
            broken.append(f"{link}: there is no such file")
        elif anchor and anchor not in anchors(target.read_text()):
            broken.append(f"{link}: {target.name} has no such heading")
    return broken


def test_links_lead_somewhere_in_the_file_view():
    pages = [path for path in tracked() if path.suffix in {".md", ".ipynb"}]
    assert len(pages) > 20
    broken = {page.relative_to(ROOT).as_posix(): broken_links(page) for page in pages}
    assert {page: links for page, links in broken.items() if links} == {}


@pytest.mark.parametrize("link", ["gone.md", "#gone", "there.md#gone"])
def test_a_link_that_leads_nowhere_is_found(tmp_path, link):
    (tmp_path / "there.md").write_text("# Two  words, `code`\n")
    page = tmp_path / "page.md"
    page.write_text(
        f"# Here\n\n[a]({link}) [b](there.md#two--words-code) [c](#here) `[d](gone.md)`\n"
    )
    assert [text.split(":")[0] for text in broken_links(page)] == [link]


def test_some_page_shows_every_figure():
    text = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    shown = set(re.findall(r"\(images/([^)]+)\)", text))
    assert shown == {path.name for path in (ROOT / "docs" / "images").iterdir()}


def test_old_addresses_lead_to_pages_that_are_there():
    for old, new in MOVED.items():
        assert not (ROOT / "docs" / f"{old}.md").exists()
        target = re.findall(r'url=([^"]+)"', redirect(old, new))[0]
        page = ((ROOT / "docs" / f"{old}.html").parent / target).resolve().with_suffix(".md")
        assert page.is_file() or (ROOT / f"{page.stem.upper()}.md").is_file(), old


def test_every_command_and_option_is_in_the_reference():
    page = commands_page()

    def check(name, command):
        for word, below in getattr(command, "commands", {}).items():
            check(f"{name} {word}", below)
        if not hasattr(command, "commands"):
            section = page.split(f"### {name} {{")[1].split("\n### ")[0]
            for parameter in command.params:
                shown = parameter.opts[0]
                assert shown in section or getattr(parameter, "metavar", None) in section, (
                    name,
                    shown,
                )

    check("wiseft", get_command(app))
    assert "```bash\nwiseft merge zeroshot.pt" in page
    assert "&lt;dataset&gt;" in page  # a sign of HTML in a help text is text


def test_every_module_with_documented_code_is_in_the_reference():
    pages = api_pages(ROOT)
    listed = set(re.findall(r"^::: (\S+)$", "\n".join(pages.values()), flags=re.MULTILINE))
    assert {
        "wiseft.base.alphas",
        "wiseft.combine.linear_combination",
        "wiseft.combine.recipes.fisher",
    } <= listed
    assert not any(name.startswith("wiseft.cli") for name in listed)
    assert {f"{name}.md" for name in pages if name != "index"} == set(
        re.findall(r"\]\(([^)]+)\)", pages["index"])
    )


def test_the_tree_has_what_its_pages_link_to_and_the_navigation_lists_it(tmp_path):
    """Without the anchors of modules, which only a build knows."""
    write(tmp_path / "tree")
    pages = {path.relative_to(tmp_path / "tree").as_posix() for path in tmp_path.rglob("*.md")}
    for name in pages:
        page = tmp_path / "tree" / name
        links = LINK.findall(outside_code(page.read_text()))
        paths = {link.partition("#")[0] for link in links if not name.startswith("files/")}
        assert {path for path in paths if not (page.parent / path).exists()} == set(), name
    nav = (ROOT / "mkdocs.yml").read_text().split("\nnav:\n")[1]
    assert sorted(re.findall(r": (\S+\.md)$", nav, flags=re.MULTILINE)) == sorted(
        name for name in pages if not name.startswith("files/")
    )
    claims = (tmp_path / "tree/files/config/claims.yaml.md").read_text()
    assert (ROOT / "config/claims.yaml").read_text() in claims
    assert "(files/config/claims.yaml.md)" in (tmp_path / "tree/claims.md").read_text()
    assert "search: {exclude: true}" in claims
