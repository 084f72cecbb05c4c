"""Prompt sets: of an entry, of a library, and of a pinned file that is downloaded and parsed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from tests.data.fetching.http_server import Server

from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue, PromptsEntry
from wiseft.study.data.fetching.prompts import fetch_prompts, read_templates

REPOSITORY = Path(__file__).parents[3]
FACTS = [
    folder / "shared/data/prompts/templates.json" for folder in (REPOSITORY, REPOSITORY.parent)
]
"""Places of the published templates as data: compared with where they are, no part of the project.
"""

PYTHON = """\
from .utils import append_proper_article, get_plural

raise SystemExit("this file must not run")

others = [lambda c: f"{c}"]
views = [
    lambda c : f"satellite photo of a {c}.",
    lambda c: f"aerial photo of {append_proper_article(c)} in asia.",
    lambda name: f"{name}.",
]
"""


def entry_of(content: bytes, file: str, key: str, **changes: object) -> PromptsEntry:
    source = {
        "file": file,
        "urls": ["http://127.0.0.1:9/" + file],
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        **changes,
    }
    return PromptsEntry.model_validate({"name": "birds", "file": source, "key": key})


def test_lambdas_are_parsed_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "views.py").write_text(PYTHON)
    assert read_templates(tmp_path / "views.py", "views") == [
        "satellite photo of a {c}.",
        "aerial photo of {a_c} in asia.",
        "{c}.",
    ]


@pytest.mark.parametrize(
    ("item", "found"),
    [
        ('lambda c: "a photo of a " + c', "line 1"),
        ('lambda c: f"a {c.upper()}"', "c.upper()"),
        ('lambda c: f"a {get_plural(c)}"', "get_plural(c)"),
        ('lambda c: f"a {append_proper_article(d)}"', "append_proper_article(d)"),
        ('lambda c: f"a {d}"', "{d}"),
        ('lambda c: f"a {c!r}"', "!r"),
        ('lambda c: f"a {c:>9}"', ":>9"),
        ('lambda c: f"{{c}} {c}"', "{{c}}"),
        ('lambda c, d: f"a {c}"', "c, d"),
        ('lambda c: __import__("os").getcwd()', "__import__"),
        ('"a photo of a {c}"', "'a photo of a {c}'"),
    ],
)
def test_anything_but_a_plain_lambda_is_refused(tmp_path: Path, item: str, found: str) -> None:
    (tmp_path / "views.py").write_text(f"views = [{item}]")
    with pytest.raises(WiseftError, match=r"views\.py, line 1: expected a template") as caught:
        read_templates(tmp_path / "views.py", "views")
    assert found in str(caught.value)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("a.py", "views = [", "is not valid Python"),
        ("a.py", "birds = []", "expected a list called views, found birds"),
        ("a.py", "views = 3", "expected a list called views, found none"),
        ("a.py", "views = []", "views is empty"),
        ("a.py", 'views = [lambda c: f"a photo"]', r"'a photo' must be a sentence with \{c\}"),
        ("a.json", '{"views": [', "is not valid JSON"),
        ("a.json", '{"birds": []}', "expected a mapping with the key views, found birds"),
        ("a.json", '["a {c}"]', "expected a mapping with the key views"),
        ("a.json", '{"views": "a {c}"}', "expected a list of texts under views"),
        ("a.json", '{"views": ["a {c}", 3]}', "expected a list of texts under views"),
        ("a.json", '{"views": []}', "views is empty"),
        ("a.json", '{"views": ["a photo"]}', "'a photo' must be a sentence with"),
        ("a.json", '{"views": ["a {c}", "a {c}"]}', "holds 'a {c}' twice"),
    ],
)
def test_other_files_are_refused_by_name(
    tmp_path: Path, file: str, text: str, message: str
) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(WiseftError, match=message) as caught:
        read_templates(tmp_path / file, "views")
    assert str(tmp_path / file) in str(caught.value)


def test_templates_of_an_entry_and_of_a_library_need_no_download(tmp_path: Path) -> None:
    typed = PromptsEntry.model_validate({"name": "a", "templates": ["a {c}"]})
    assert fetch_prompts(typed, tmp_path / "a.json") == ["a {c}"]
    assert json.loads((tmp_path / "a.json").read_text()) == ["a {c}"]
    known = PromptsEntry.model_validate({"name": "imagenet", "library": "imagenet"})
    assert len(fetch_prompts(known, tmp_path / "b.json")) == 80
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]


def test_a_file_that_was_put_there_is_used(tmp_path: Path) -> None:
    content = PYTHON.encode()
    (tmp_path / "views.py").write_bytes(content)
    entry = entry_of(content, "views.py", "views")
    assert len(fetch_prompts(entry, tmp_path / "birds.json")) == 3
    assert json.loads((tmp_path / "birds.json").read_text())[0] == "satellite photo of a {c}."


def test_a_file_that_is_another_one_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "views.py").write_text(PYTHON.replace("asia", "asiA"))
    with pytest.raises(WiseftError, match=r"views\.py: expected sha256 .* found"):
        fetch_prompts(entry_of(PYTHON.encode(), "views.py", "views"), tmp_path / "birds.json")
    assert [path.name for path in tmp_path.iterdir()] == ["views.py"]


def test_an_entry_without_address_says_where_to_put_the_file(tmp_path: Path) -> None:
    entry = entry_of(b"x", "views.py", "views", urls=[], how="ask the authors")
    with pytest.raises(WiseftError, match="ask the authors") as caught:
        fetch_prompts(entry, tmp_path / "birds.json")
    assert str(tmp_path / "views.py") in str(caught.value)


def test_the_output_must_not_replace_the_file(tmp_path: Path) -> None:
    content = b'{"birds": ["a {c}"]}'
    (tmp_path / "birds.json").write_bytes(content)
    with pytest.raises(WiseftError, match="write them to another one"):
        fetch_prompts(entry_of(content, "birds.json", "birds"), tmp_path / "birds.json")
    assert (tmp_path / "birds.json").read_bytes() == content


def test_the_file_is_downloaded_from_the_mirror_and_verified(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b'{"birds": ["a {c}"]}'
    server.serve("all.json", content)
    entry = entry_of(content, "all.json", "birds")
    monkeypatch.setenv("WISEFT_MIRROR_BIRDS", server.url)
    assert fetch_prompts(entry, tmp_path / "new/birds.json") == ["a {c}"]
    assert (tmp_path / "new/all.json").read_bytes() == content
    # What is there is not fetched again, and another file of the same address is refused.
    fetch_prompts(entry, tmp_path / "new/birds.json")
    assert len(server.log) == 1
    server.serve("all.json", content.replace(b"a {c}", b"b {c}"))
    with pytest.raises(WiseftError, match="sha256"):
        fetch_prompts(entry, tmp_path / "other/birds.json")
    assert not (tmp_path / "other/birds.json").exists()


def published() -> dict[str, list[str]]:
    path = next((path for path in FACTS if path.is_file()), None)
    if path is None:
        pytest.skip("the published templates are not at hand")
    return json.loads(path.read_text())


def test_the_library_has_the_published_templates() -> None:
    assert Catalogue(REPOSITORY).prompts("imagenet").ready == published()["imagenet1k"]
