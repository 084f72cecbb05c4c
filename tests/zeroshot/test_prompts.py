"""Templates: reading them, and filling them with class names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiseft.cli.options import parse_templates
from wiseft.errors import WiseftError
from wiseft.zeroshot.prompts import fill_templates, with_article


def test_templates_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "fmow.json"
    path.write_text(json.dumps(["a {c}.", "over {a_c}."]))
    assert parse_templates(f"@{path}") == ["a {c}.", "over {a_c}."]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a {c}", "--prompts is not valid JSON .* give JSON, or @ and the name of a file"),
        ('["a photo"]', r"'a photo' must be a sentence with \{c\} or \{a_c\}"),
        ('["a {b}"]', r"'a \{b\}' must be a sentence with"),
        ("[{}]", r"key `0` is \{\}, but must be text"),
        ('["a {a_c}", "a {a_c}"]', "occurs twice"),
    ],
)
def test_bad_templates_are_refused(text: str, message: str) -> None:
    with pytest.raises(WiseftError, match=message):
        parse_templates(text)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WiseftError, match=r"file of --prompts .*none\.json does not exist"):
        parse_templates(f"@{tmp_path / 'none.json'}")
    (tmp_path / "bytes.json").write_bytes(b'["\xff {c}"]')
    with pytest.raises(WiseftError, match=r"bytes\.json is not UTF-8 text"):
        parse_templates(f"@{tmp_path / 'bytes.json'}")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("airport", "an airport"),
        ("office_building", "an office building"),
        ("zoo", "a zoo"),
        # The authors' rule looks at the letter, not at the sound or a capital.
        ("university", "an university"),
        ("Eagle", "a Eagle"),
        ("hour", "a hour"),
    ],
)
def test_the_article_follows_the_authors_rule(name: str, expected: str) -> None:
    assert with_article(name) == expected


def test_both_slots_are_filled() -> None:
    templates = ["a {c} from above", "{a_c}, {a_c} and the {c}"]
    assert fill_templates([["oil_or_gas_facility"], ["zoo"]], templates) == [
        [
            "a oil_or_gas_facility from above",
            "an oil or gas facility, an oil or gas facility and the oil_or_gas_facility",
        ],
        ["a zoo from above", "a zoo, a zoo and the zoo"],
    ]


def test_a_class_name_is_never_taken_for_a_slot() -> None:
    assert fill_templates([["{a_c}"]], ["a {c}"]) == [["a {a_c}"]]


@given(st.text(st.characters(exclude_characters="{}"), min_size=1, max_size=20))
def test_filling_keeps_the_rest_of_the_template(name: str) -> None:
    [[filled]] = fill_templates([[name]], ["<{c}|{a_c}>"])
    assert filled == f"<{name}|{with_article(name)}>"
