"""The checker of how this project writes finds what it forbids, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools import words

LONG = " ".join(["word"] * 41)


def rules(text: str) -> list[str]:
    return [problem.rule for problem in words.of_text("here", words.plain(text))]


@pytest.mark.parametrize(
    "text",
    [
        "A reader is told once.",
        "It ends here. Of the last points, all is the price.",
        "Make a list; of those the first is taken.",
        "Who reads a file raises an error.",
        "What is merged must be of one architecture.",
        "The rest is done likewise.",
        "The same command goes on where it stopped.",
        "The caption stands below the figure.",
    ],
)
def test_a_turn_of_phrase_is_found(text: str) -> None:
    assert len(rules(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "Of course it works.",
        "Who is it for? What does it do with my images?",
        "What you need: a checkpoint and images.",
        "What it does",
        "Lines are told apart by colour, and a proxy stands in for the model.",
        "`Of the code` nothing is checked, e.g. `is told`.",
        " ".join(["word"] * 40) + ".",
    ],
)
def test_plain_sentences_pass(text: str) -> None:
    assert rules(text) == []


def test_long_sentences_are_counted_without_markup() -> None:
    assert rules(f"{LONG}.") == ["41 words, at most 40"]
    assert rules(f"{LONG[:-10]} [`a`](b c d e f).") == []


def test_a_page_is_read_by_paragraphs_items_and_cells(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(words, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        f"# Of headings nothing is said\n\n```\n{LONG}\n```\n<!-- {LONG} -->\n"
        f"- An item that\n  is told.\n- {LONG}\n\n| cell | {LONG} |\n"
    )
    found = [(problem.place, problem.rule) for problem in words.of_page(page)]
    assert found == [
        ("page.md:7", "say who tells whom"),
        ("page.md:9", "41 words, at most 40"),
        ("page.md:11", "41 words, at most 40"),
        ("page.md", "29.0 words a sentence, at most 25"),
    ]


def test_strings_are_found_with_their_values_as_words(tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    file.write_text(
        '"""No string, but a docstring."""\n'
        "def check(name):\n"
        "    why = f'{name} is one'\n"
        "    log.warning('a warning %s', name)\n"
        "    raise ValueError(f'{name} is wrong: ' 'mend it')\n"
    )
    assert sorted(words.literals(file)) == [
        (3, "value is one"),
        (4, "a warning %s"),
        (5, "value is wrong: mend it"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("caption.rst", f"``code x``\n{LONG}.", ["42 words, at most 40"]),
        ("page.md.j2", f"{{{{ a }}}} {LONG[:-10]}.\n", []),
        (
            "page.md.j2",
            "{% if a %}Of a run.{% else %}A run.{% endif %}",
            ["begin with the subject"],
        ),
        ("page.md.j2", f"{{% if a %}}{LONG[:-10]}{{% else %}}{LONG[:-10]}{{% endif %}}", []),
        (
            "page.html",
            f"<style>{LONG}</style><p>A <b>reader</b> is told.</p>",
            ["say who tells whom"],
        ),
        ("page.md.j2", f"```yaml\n{LONG}\n```\n{{# {LONG} #}}", []),
    ],
)
def test_captions_and_templates_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, found: list[str]
) -> None:
    monkeypatch.setattr(words, "ROOT", tmp_path)
    (tmp_path / name).write_text(text)
    assert [problem.rule for problem in words.of_template(tmp_path / name)] == found


def test_all_kinds_of_files_are_listed() -> None:
    names = {str(file.relative_to(words.ROOT)) for file in words.templates()}
    assert {"workflow/report/page.rst", "src/wiseft/study/paper/summary.md.j2"} <= names
    assert "src/wiseft/figures/page/template.html" in names
    assert {"__init__", "tabulate/selection"} <= set(words.PUBLIC)


def test_help_texts_are_checked(monkeypatch) -> None:
    monkeypatch.setattr(words, "LONGEST", 3)
    places = {problem.place for problem in words.of_helps()}
    assert {"wiseft sweep --help", "wiseft data fetch --to", "wiseft merge --alpha"} <= places


@pytest.mark.parametrize(
    ("page", "terms"),
    [
        ("A theta is read, then the view.", ["theta", "view"]),
        ("A *theta* is a file. Read the theta.", []),
        ("- **view**: a way to count.\n\nThe view counts.", []),
        ("See the [glossary](design.md#words). The suite is small.", []),
        ("Run `the view` and preview it.", []),
        ("Take an alpha for the shift.", ["alpha", "shift"]),
    ],
)
def test_terms_of_the_glossary_are_explained_or_linked(page: str, terms: list[str]) -> None:
    found = [problem.rule.split("'")[1] for problem in words.undefined("page.md", page)]
    assert found == terms


def test_docstrings_are_read_by_paragraphs_and_entries(tmp_path) -> None:
    file = tmp_path / "code.py"
    file.write_text(
        '"""Module."""\n\n\ndef public(a, b):\n    """Do it.\n\n    Args:\n        a: one,\n'
        '            in two lines.\n        b: likewise.\n    """\n\n\n'
        'def _own():\n    """Hidden."""\n'
    )
    read = [" ".join(text.split()) for _, text in words.docstrings(file)]
    assert read == ["Module.", "Do it.", "Args:", "one, in two lines.", "likewise."]
    assert [rules(text) != [] for text in read] == [False] * 4 + [True]


def test_pages_and_words_by_hand_are_counted(monkeypatch) -> None:
    monkeypatch.setattr(words, "MOST_WORDS", 100)
    pages = {f"docs/{number}.md": "Six words\nand a table:\n\n| one |\n" for number in range(17)}
    generated = {"docs/costs.md": LONG, "benchmarks/README.md": "None."}
    assert [problem.rule for problem in words.of_all(pages | generated)] == [
        "17 are written by hand, at most 16",
        "103 words, at most 100",
    ]
