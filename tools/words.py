"""Check how this project writes: sentence lengths and turns of phrase that are hard to read.

`python -m tools.words` checks pages, CHANGELOG, the notebook, help texts, captions, templates of
texts and pages, strings of the code, and docstrings of the public library. It lists each problem
with its place. `python -m tools.words FILE ...` checks
these pages alone.

A page must have at most 25 words per sentence on average, and no sentence over 40. A message has at
most 40 words per sentence, and so has a docstring. A page that uses a term of the glossary
explains it in italics or bold, or links to the glossary. Code, formulas and headings are not
counted; a table cell counts as a sentence.

Pages that people write are at most 16, and have at most 35,000 words together. These are words of
hand-written Markdown, tables and lists included; headings, code, generated pages, CHANGELOG and the
notebook are not counted. READMEs beside benchmarks and examples add words, but are no pages.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tools.site import notebook

ROOT = Path(__file__).parents[1]
LONGEST, MEAN = 40, 25
_LABEL = r"(?!(?:\S+ ){0,4}\S+:)"  # "What you need: ..." is plain enough
BANNED = {
    r"\b(?:is|are|was|were) told\b(?! apart)": "say who tells whom",
    r"\b(?:is|are|was|were) said\b": "say it",
    r"\bwas forecast and came\b": "This was forecast, and it happened",
    r"^Of (?!course\b)": "begin with the subject",
    r"; of (?:these|those|several|two)\b": "begin with the subject",
    rf"^Who {_LABEL}[^?]*$": "name who does it",
    rf"^What (?!to\b){_LABEL}(?:\S+ ){{3,}}[^?]*$": "name the thing",
    r"\bto \w+ belongs\b": "say what has it",
    r"\bdiffers? from what (?:is|was)\b": "name the thing",
    r"\blikewise\b": "say it in full",
    r"\bgo(?:es)? on (?:with|where|from where)\b": "continues, resumes",
    r"\bstands? (?:in (?!for\b)|below\b|above\b|beside\b|behind\b)": "is",
}
"""Patterns of turns of phrase that are hard to read, in a sentence, and what to do instead."""
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "config/README.md", "benchmarks/README.md")
GENERATED = frozenset(
    {"config/README.md"}
    | {f"docs/{name}.md" for name in ("cells", "claims", "costs", "datasets", "icons-sets")}
)
"""Pages that a command writes."""
MOST_PAGES, MOST_WORDS = 16, 35_000
NOTEBOOK = ROOT / "docs" / "wiseft.ipynb"
GLOSSARY = "design.md#words"
TERMS = ("alpha", "theta", "reference", "rendition", "shift", "suite", "view")
"""Terms that a reader does not know from elsewhere; the glossary has more."""
PUBLIC = ("__init__", "errors", "trainer_callback", "lightning_callback", "tabulate/selection")
PUBLIC += ("tool/api", "tool/sweep", "tool/own_sweep", "tool/record")
"""Modules of the names that `import wiseft` offers, and of the callbacks."""
ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|cf|vs|al|etc|Fig|no|approx|St)\.$")
KEPT = ("Who has them puts them where this one is missing.", "Of an unpacked copy, the folders of")
"""Begins of sentences that stay: they are keys of datasets that the identity of data contains."""


class Problem(NamedTuple):
    """A sentence that breaks a rule."""

    place: str
    rule: str
    text: str


def prose(markdown: str) -> Iterator[tuple[int, str]]:
    """Yield a line number and text for each paragraph, list item and table cell of a page."""
    text = re.sub(r"<!--.*?-->", lambda m: "\n" * m[0].count("\n"), markdown, flags=re.DOTALL)
    block: list[str] = []
    start, fenced = 0, False
    for number, line in enumerate([*text.splitlines(), ""], 1):
        stripped = line.strip()
        if stripped.startswith(("```", "~~~")):
            fenced = not fenced
        code = fenced or stripped.startswith("```") or (line.startswith("    ") and not block)
        item = re.match(r"\s*(?:[-*+]|\d+\.)\s+", line)
        ends = code or not stripped or stripped[0] in "#|!<" or item
        if ends and block:
            yield start, " ".join(block)
            block = []
        if code or not stripped or stripped[0] in "#!<":
            continue
        if stripped.startswith("|"):
            yield from ((number, cell.strip()) for cell in stripped.strip("|").split("|"))
            continue
        if not block:
            start = number
        block.append(line[item.end() :] if item else stripped)


def plain(text: str) -> str:
    """Return prose without markup: a link is its text, code a single word."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]*`", "CODE", text)
    text = re.sub(r"\$[^$]*\$", "FORMULA", text)
    return re.sub(r"[*_]{1,3}(\S(?:.*?\S)?)[*_]{1,3}", r"\1", text)


def sentences(text: str) -> list[str]:
    """Return the sentences of plain prose; what follows a colon or semicolon is part of its own."""
    parts: list[str] = []
    for part in re.split(r"(?<=[.!?])[)\"']?\s+(?=[A-Z0-9(\"'α-ω])", text):
        if parts and ABBREVIATION.search(parts[-1]):
            parts[-1] += f" {part}"
        else:
            parts.append(part)
    return [part.strip() for part in parts if part.strip()]


def words(sentence: str) -> int:
    """Return how many words a sentence has: runs that hold a letter."""
    return sum(any(letter.isalpha() for letter in word) for word in sentence.split())


def of_text(place: str, text: str) -> Iterator[Problem]:
    """Yield the problems of plain prose, but for its mean."""
    for sentence in sentences(text):
        if sentence.startswith(KEPT):
            continue
        if (count := words(sentence)) > LONGEST:
            yield Problem(place, f"{count} words, at most {LONGEST}", sentence)
        for pattern, advice in BANNED.items():
            if re.search(pattern, sentence):
                yield Problem(place, advice, sentence)


def of_page(path: Path) -> Iterator[Problem]:
    """Yield the problems of a Markdown page."""
    lengths: list[int] = []
    name = str(path.resolve().relative_to(ROOT))
    whole = path.read_text(encoding="utf-8") if path.suffix == ".md" else notebook.markdown(path)
    yield from undefined(name, whole)
    for line, block in prose(whole):
        text = plain(block)
        yield from of_text(f"{name}:{line}", text)
        lengths += [count for each in sentences(text) if (count := words(each)) > 3]
    if lengths and (mean := sum(lengths) / len(lengths)) > MEAN:
        yield Problem(name, f"{mean:.1f} words a sentence, at most {MEAN}", "")


def undefined(name: str, page: str) -> Iterator[Problem]:
    """Yield each term of the glossary that a page uses and neither explains nor links."""
    text = " ".join(plain(block) for _, block in prose(page))
    for term in TERMS:
        explained = re.search(rf"\*{term}s?\*", page, re.IGNORECASE) or GLOSSARY in page
        if not explained and re.search(rf"\b(?:the|an?) {term}\b", text, re.IGNORECASE):
            yield Problem(name, f"explain {term!r}, or link to the glossary ({GLOSSARY})", "")


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of each paragraph and entry in the docstrings of public code."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, kinds) or getattr(node, "name", "").startswith("_"):
            continue
        text = ast.get_docstring(node) or ""
        for block in re.split(r"\n\s*\n|\n {4}(?=[\w*]+: )|(?<=:)\n", text):
            yield getattr(node, "lineno", 1), re.sub(r"^[\w*]+: ", "", block.strip())


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of each string in a Python file that is no docstring: a message may be
    given to a variable first.

    A value that is filled in counts as one word.
    """
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    other = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    other |= {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if isinstance(node, ast.expr) and id(node) not in other:
            yield from ((node.lineno, text) for text in _filled(node))


def of_template(path: Path) -> Iterator[Problem]:
    """Yield the problems of a caption of the report, or of a template of a text or page.

    A value that is filled in counts as one word. A branch or a tag that is no part of a line ends a
    sentence; both branches of a choice within one may make it look long.
    """
    text = path.read_text(encoding="utf-8")
    text = text.replace("``", "`") if path.suffix == ".rst" else text
    ends = r"<(style|script|pre)\b.*?</\1>|\{#.*?#\}|^```.*?^```|"
    ends += r"\{%-?\s*(?:else|elif|for|endfor|macro|set)\b.*?%\}"
    text = re.sub(ends, "\n\n", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\{\{.*?\}\}", "value", text, flags=re.DOTALL)
    text = re.sub(r"\{%.*?%\}|</?(?:b|i|a|em|strong|code|span|sub|sup)\b[^>]*>", "", text)
    for line, block in prose(re.sub(r"<[^>]*>", "\n\n", text)):
        yield from of_text(f"{path.relative_to(ROOT)} (about line {line})", plain(block))


def _filled(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.JoinedStr):
        parts = [v.value if isinstance(v, ast.Constant) else "value" for v in node.values]
        yield "".join(map(str, parts))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def of_helps() -> Iterator[Problem]:
    """Yield the problems of the commands' help texts."""
    import typer.main

    from wiseft.cli import app

    def walk(command: Any, name: str) -> Iterator[tuple[str, str]]:
        yield f"{name} --help", command.help or ""
        for parameter in command.params:
            yield f"{name} {parameter.opts[0]}", str(getattr(parameter, "help", None) or "")
        for each, found in getattr(command, "commands", {}).items():
            yield from walk(found, f"{name} {each}")

    for place, text in walk(typer.main.get_command(app), "wiseft"):
        for block in re.split(r"\n\s*\n", text):
            yield from of_text(place, plain(" ".join(block.split())))


def of_captions() -> Iterator[Problem]:
    """Yield the problems of the captions that drawings have."""
    from wiseft.base import plugins
    from wiseft.study import DRAWINGS
    from wiseft.study.config.drawings import drawing_text

    for name in plugins.names(DRAWINGS):
        for block in drawing_text(name).split("\n\n"):
            yield from of_text(f"drawing {name}", plain(" ".join(block.split())))


def pages() -> list[Path]:
    """Return the pages that people wrote."""
    written = [ROOT / page for page in PAGES]
    written += sorted((ROOT / "docs").rglob("*.md")) + sorted((ROOT / "examples").rglob("*.md"))
    return [page for page in written if not page.name.startswith("reference")] + [NOTEBOOK]


def templates() -> list[Path]:
    """Return the report's captions, and the templates of texts and pages."""
    package = ROOT / "src" / "wiseft"
    found = (*package.rglob("*.j2"), *package.rglob("*.html"))
    return sorted([*(ROOT / "workflow" / "report").glob("*.rst"), *found])


def of_all(written: dict[str, str]) -> Iterator[Problem]:
    """Yield the problems of all pages together, by name: their number and their words."""
    by_hand = {name: text for name, text in written.items() if name not in GENERATED}
    own = [name for name in by_hand if name.startswith("docs/") or "/" not in name]
    count = sum(words(plain(block)) for text in by_hand.values() for _, block in prose(text))
    if len(own) > MOST_PAGES:
        yield Problem(
            "pages", f"{len(own)} are written by hand, at most {MOST_PAGES}", "merge some"
        )
    if count > MOST_WORDS:
        yield Problem("pages", f"{count:,} words, at most {MOST_WORDS:,}", "shorten some")


def main(arguments: list[str]) -> int:
    """Print all problems; return 1 if there are any."""
    found: list[Problem] = []
    chosen = [Path(name) for name in arguments]
    for page in chosen or pages():
        found += of_page(page)
    if not chosen:
        for line, block in prose((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")):
            found += of_text(f"CHANGELOG.md:{line}", plain(block))
        for file in templates():
            found += of_template(file)
        for file in sorted((ROOT / "src").rglob("*.py")):
            place = str(file.relative_to(ROOT))
            for line, text in literals(file):
                found += of_text(f"{place}:{line}", " ".join(plain(text).split()))
        for name in PUBLIC:
            file = ROOT / "src" / "wiseft" / f"{name}.py"
            for line, text in docstrings(file):
                place = f"{file.relative_to(ROOT)}:{line}"
                found += of_text(place, " ".join(plain(text).split()))
        texts = {str(page.relative_to(ROOT)): page.read_text() for page in pages()}
        texts.pop(str(NOTEBOOK.relative_to(ROOT)))
        found += [*of_helps(), *of_captions(), *of_all(texts)]
    for problem in found:
        print(f"{problem.place}: {problem.rule}: {problem.text}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
