"""Write the site as a plain tree of Markdown pages: `python -m tools.site`, into build/site-pages.

Links between the repository's pages become links between the places of the site. A link to a file
that is no page, such as an entry of `config`, or to a folder leads to a page that shows it. What
leads nowhere stays as it is, and fails the build (`mkdocs build --strict`).
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from tools.site.api import api_pages
from tools.site.commands import commands_page
from tools.site.moved import MOVED, redirect
from tools.site.notebook import NOTEBOOK, markdown

ROOT = Path(__file__).resolve().parents[2]
TREE = ROOT / "build/site-pages"
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "config/README.md": "config/index.md",
    "benchmarks/README.md": "benchmarks.md",
    "examples/sentiment/README.md": "sentiment.md",
}
"""Pages that do not lie in docs/, and their places on the site."""
BOOSTS = {
    "reference/api/": 0.001,
    "reference/": 0.01,
    "CHANGELOG.md": 0.1,
    "docs/icons-sets.md": 0.1,
    "config/": 0.3,
    "docs/design.md": 0.5,
    "docs/sweep.md": 2,
    "docs/running.md": 2,
    "CONTRIBUTING.md": 2,
}
"""Weights of pages in the search, by how their source begins; all others have 1."""
UNLISTED = "---\nsearch: {exclude: true}\nhide: [navigation, toc]\n---\n"
LANGUAGES = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".py": "python", ".toml": "toml"}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)#\s]+)(?=[)#])")


def write(tree: Path = TREE) -> None:
    """Write the tree anew: the files of docs/, other pages, generated ones and old addresses."""
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(ROOT / "docs", tree)
    files = [path for path in sorted((ROOT / "docs").rglob("*")) if path.is_file()]
    places = {
        path.relative_to(ROOT).as_posix(): str(path.relative_to(ROOT / "docs")) for path in files
    }
    places |= OUTSIDE
    texts = {name: (ROOT / name).read_text("utf-8") for name in places if name.endswith(".md")}
    made = {f"reference/api/{name}.md": text for name, text in api_pages(ROOT).items()}
    made["reference/commands.md"] = commands_page()
    made[f"{NOTEBOOK}.md"] = markdown(ROOT / NOTEBOOK, "../wiseft.ipynb")
    places |= {NOTEBOOK: f"{NOTEBOOK}.md"} | {name: name for name in made}
    written = {f"{old}.html": redirect(old, new) for old, new in MOVED.items()}
    written["site.css"] = Path(__file__).with_name("site.css").read_text("utf-8")
    for name, text in (texts | made).items():
        written[places[name]] = _page(name, text, places, written)
    for place, text in written.items():
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        (tree / place).write_text(text, "utf-8")


def _page(name: str, text: str, places: dict[str, str], written: dict[str, str]) -> str:
    """Return a page as the site has it: its links, its weight in the search, lists by four."""

    def replace(match: re.Match[str]) -> str:
        _show(target := _path(name, match[1]), places, written)
        start = Path(places[name]).parent
        return os.path.relpath(places[target], start) if target in places else match[1]

    boosts = [boost for start, boost in BOOSTS.items() if name.startswith(start)]
    head = f"---\nsearch: {{boost: {boosts[0]}}}\n---\n" if boosts else ""
    return head + _four_blanks(LINK.sub(replace, text))


def _four_blanks(markdown: str) -> str:
    """Indent what belongs to an item of a list by four, which the file view does not need.

    Where an item has paragraphs, the next one gets the empty line before it that it needs.
    """
    lines, width, fenced, paragraphs = [""], 0, False, False
    for line in markdown.split("\n"):
        item = re.match(r"(- |\d\. )", line)
        fenced ^= line.startswith("```")
        if fenced or (line and not line.startswith(" ") and not item):
            width = 0
        elif item:
            if width and paragraphs and lines[-1]:
                lines.append("")
            paragraphs = paragraphs and width > 0
            width = len(item[1])
        elif width and line.startswith(" " * width):
            paragraphs |= not lines[-1]
            line = " " * (4 - width) + line
        lines.append(line)
    return "\n".join(lines[1:])


def _path(page: str, link: str) -> str:
    """Return what a link of a page leads to, relative to the repository; `..` is followed."""
    parts: list[str] = []
    for part in [*page.split("/")[:-1], *link.split("/")]:
        if part == ".." and parts:
            parts.pop()
        elif part not in ("", ".", ".."):
            parts.append(part)
    return "/".join(parts)


def _show(path: str, places: dict[str, str], written: dict[str, str]) -> None:
    """Add the page that shows a file or a folder, if there is such a file and no page yet."""
    target = ROOT / path
    if path in places or not path or not target.exists():
        return
    places[path] = f"files/{path}" + ("/index.md" if target.is_dir() else ".md")
    if target.is_dir():
        inside = [file.name for file in sorted(target.iterdir()) if file.suffix in LANGUAGES]
        text = f"# {path}\n\n" + "\n".join(f"- [{name}]({name}.md)" for name in inside)
        for name in inside:
            _show(f"{path}/{name}", places, written)
    else:
        language = LANGUAGES.get(target.suffix, "text")
        text = f"# {path}\n\n````{language}\n{target.read_text(encoding='utf-8')}\n````\n"
    written[places[path]] = UNLISTED + text


if __name__ == "__main__":
    write()
