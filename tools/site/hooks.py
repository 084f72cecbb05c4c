"""What mkdocs is told: pages are where the repository has them, so that links work in both places.

A link to a file that is no page, such as an entry of `config`, or to a folder leads to a page that
shows it. Links that lead nowhere fail the build (`mkdocs build --strict`).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from mkdocs.structure.files import File, Files, InclusionLevel  # noqa: E402
from tools.site.api import api_pages  # noqa: E402
from tools.site.commands import commands_page  # noqa: E402
from tools.site.moved import MOVED, redirect  # noqa: E402
from tools.site.notebook import NOTEBOOK, markdown  # noqa: E402

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
MODULES = {"Modules": "reference/api/index.md"}
UNLISTED = "---\nsearch: {exclude: true}\nhide: [navigation, toc]\n---\n"
LANGUAGES = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".py": "python", ".toml": "toml"}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)#\s]+)(?=[)#])")
shown: dict[str, str] = {NOTEBOOK: ".md"}
"""Pages that show a file or a folder, by the path of what they show."""


def on_config(config: Any) -> Any:
    """Complete the navigation: pages of the modules, and pages of docs that it does not list."""
    listed = set(re.findall(r"docs/[\w/.-]+\.md", str(config.nav)))
    for path in sorted((ROOT / "docs").rglob("*.md")):
        if (name := path.relative_to(ROOT).as_posix()) not in listed:
            next(section["Guides"] for section in config.nav if "Guides" in section).append(name)
    names = [name for name in api_pages(ROOT) if name != "index"]
    modules = [
        {"Overview": "reference/api/index.md"},
        *(
            {"import wiseft" if name == "library" else f"wiseft.{name}": f"reference/api/{name}.md"}
            for name in names
        ),
    ]
    for section in config.nav:
        for pages in section.values():
            if isinstance(pages, list):
                pages[:] = [{"Modules": modules} if page == MODULES else page for page in pages]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Return the pages under the paths that they have in the repository."""
    result = Files([file for file in files if file.src_dir != config.docs_dir])
    for file in files:
        if file.src_dir == config.docs_dir:
            result.append(_file(f"docs/{file.src_uri}", file.src_uri, config))
    for name, place in OUTSIDE.items():
        result.append(_file(name, place, config))
    result.append(_file("tools/site/site.css", "site.css", config))
    generated = {"reference/commands.md": commands_page()}
    generated |= {f"reference/api/{name}.md": text for name, text in api_pages(ROOT).items()}
    generated[f"{NOTEBOOK}.md"] = markdown(ROOT / NOTEBOOK, "../wiseft.ipynb")
    for name, text in generated.items():
        result.append(File.generated(config, name, content=text))
    for old, new in MOVED.items():
        result.append(File.generated(config, f"{old}.html", content=redirect(old, new)))
    for file in list(result):
        if file.is_documentation_page() and file.abs_src_path:
            _show_targets(file.src_uri, result, config)
    return result


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links to files that are no pages into links to the pages that show them, and let the
    search find guides before references.
    """
    boosts = [boost for start, boost in BOOSTS.items() if page.file.src_uri.startswith(start)]
    if boosts and "search" not in page.meta:
        page.meta["search"] = {"boost": boosts[0]}

    def replace(match: re.Match[str]) -> str:
        target = shown.get(_path(page.file.src_uri, match[1]))
        return match[1].rstrip("/") + target if target else match[1]

    return _four_blanks(LINK.sub(replace, markdown))


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


def _file(path: str, place: str, config: Any) -> File:
    dest = place.removesuffix(".md") + ".html" if place.endswith(".md") else place
    return File(path, str(ROOT), config.site_dir, config.use_directory_urls, dest_uri=dest)


def _path(page: str, link: str) -> str:
    """Return what a link of a page leads to, relative to the repository; `..` is followed."""
    parts: list[str] = []
    for part in [*page.split("/")[:-1], *link.split("/")]:
        if part == ".." and parts:
            parts.pop()
        elif part not in ("", ".", ".."):
            parts.append(part)
    return "/".join(parts)


def _show_targets(page: str, files: Files, config: Any) -> None:
    for match in LINK.finditer((ROOT / page).read_text(encoding="utf-8")):
        _show(_path(page, match[1]), files, config)


def _show(path: str, files: Files, config: Any) -> None:
    """Add the page that shows a file or a folder, if there is such a file and no page yet."""
    target = ROOT / path
    if path in shown or files.get_file_from_path(path) or not target.exists() or not path:
        return
    shown[path] = "/index.md" if target.is_dir() else ".md"
    if target.is_dir():
        inside = [file for file in sorted(target.iterdir()) if file.suffix in LANGUAGES]
        text = f"# {path}\n\n" + "\n".join(f"- [{file.name}]({file.name})" for file in inside)
        for file in inside:
            _show(f"{path}/{file.name}", files, config)
    else:
        language = LANGUAGES.get(target.suffix, "text")
        text = f"# {path}\n\n````{language}\n{target.read_text(encoding='utf-8')}\n````\n"
    page = File.generated(
        config, path + shown[path], content=UNLISTED + text, inclusion=InclusionLevel.NOT_IN_NAV
    )
    files.append(page)
