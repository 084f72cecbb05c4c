"""The page of datasets says of every entry how to get it and how its numbers come about."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from wiseft.study.config import Catalogue
from wiseft.study.config.dataset_checks import check_dataset
from wiseft.study.plan.datasets_page import datasets_page

REPOSITORY = Path(__file__).parents[2]

BIRDS: dict[str, Any] = {
    "name": "birds",
    "title": "Birds",
    "licence": "CC0 | ours",
    "citation": "A. Uthor (2020)",
    "access": "registration",
    "layout": "image-folder",
    "files": [
        {
            "file": "birds.tar",
            "urls": ["https://birds.example/birds.tar", "https://mirror.example/birds.tar"],
            "size": 2_500_000_000,
            "sha256": "a" * 64,
            "md5": "b" * 32,
            "splits": ["train"],
            "into": "train",
        },
        {
            "file": "test.tar",
            "unpinned": "nobody publishes one",
            "how": "Ask A. Uthor",
            "splits": ["test"],
            "into": "test",
        },
    ],
    "class_names": ["jay", "robin", "wren"],
    "prompts": "plain",
    "splits": {"train": 5900, "held-out": 100, "test": 30},
    "held_out": {"of": "train", "count": 100, "seed": 4},
    "evaluate": ["held-out", "test"],
    "views": [
        {"metric": "accuracy", "where": "anchor"},
        {"name": "f1", "metric": "macro-f1"},
        {"name": "worst", "metric": "worst-group-accuracy", "group": "site", "ignore": ["x"]},
        {"name": "pm", "metric": "all-frames-accuracy"},
    ],
    "border": 2,
    "disk_gb": 3,
    "notes": "Mostly\nbrown",
}


def page(project: Path, **entries: dict[str, Any]) -> str:
    for name, content in entries.items():
        (project / f"config/datasets/{name}.yaml").write_text(
            yaml.safe_dump(content, sort_keys=False)
        )
    return datasets_page(Catalogue(project))


def row(text: str, title: str) -> list[str]:
    """Return the cells of a dataset's row in the overview."""
    text = text.replace("\u00a0", " ")
    line = next(line for line in text.split("\n") if line.startswith(f"| [{title}]"))
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def section(text: str, name: str) -> str:
    return text.replace("\u00a0", " ").split(f'<a id="{name}"></a>', 1)[1].split("<a id=", 1)[0]


def test_the_overview_has_a_row_for_every_dataset(project: Path) -> None:
    text = page(project, birds=BIRDS)
    assert row(text, "Birds") == [
        "[Birds](#birds)",
        "3",
        "train 5,900<br>held-out 100<br>test 30",
        "accuracy of anchors<br>macro F1<br>worst site accuracy<br>all frames right",
        "its own classes",
        r"CC0 \| ours",
        "registration",
        "> 2.5",
        "3.0",
    ]
    assert row(text, "Shift")[4] == "Toy's classes"
    assert row(text, "Toy")[7] == "< 0.01"


def test_a_section_says_where_files_are_from_and_how_numbers_come_about(project: Path) -> None:
    text = section(page(project, birds=BIRDS), "birds")
    for expected in (
        "### Birds: `birds`",
        "A. Uthor (2020). Licence: CC0 | ours.",
        "train 5,900, held-out 100, test 30; evaluated: held-out, test",
        "100 samples of train, drawn with seed 4",
        "2 pixels are cropped off every side",
        "Mostly brown.",
        "`all` (accuracy): share of samples that are predicted right; only samples marked anchor",
        "`worst` (worst-group-accuracy): lowest accuracy of a site (x left out)",
        "| `birds.tar` | 2.5 GB | sha256, md5 | train | [birds.example](https://birds.example/bir",
        ", else [mirror.example](https://mirror.example/birds.tar) |",
        "| `test.tar` | not published | none: nobody publishes one | test | you |",
        "`test.tar`: Ask A. Uthor.",
    ):
        assert expected in text, expected


def test_what_nobody_gives_is_listed_with_its_place(project: Path) -> None:
    text = page(project, birds=BIRDS)
    assert (
        "| [Birds](#birds) | `datasets/.archives/birds/test.tar` | not published | never |" in text
    )
    assert ".archives/birds/birds.tar" not in text
    assert "What you may have to bring\n\nPut" not in datasets_page(Catalogue(project / "none"))


def test_a_repository_is_named_with_its_owner(project: Path) -> None:
    url = "https://raw.githubusercontent.com/owner/birds/0123/data/birds.tar"
    files = [{**BIRDS["files"][0], "urls": [url]}, BIRDS["files"][1]]
    text = section(page(project, birds={**BIRDS, "files": files}), "birds")
    assert f"[github.com/owner/birds]({url})" in text


def test_datasets_stand_with_the_reference_that_scores_them(project: Path, edit) -> None:
    few = {"reference": "birds", "by": "class-ids"}
    entry = {**BIRDS, "class_names": ["jay", "wren"], "class_ids": ["n1", "n3"], "label_map": few}
    del entry["held_out"]
    few_birds = {**entry, "name": "few", "title": "Few birds"}
    mapped = {**few_birds, "name": "mapped", "title": "Mapped", "label_map": {**few, "by": "files"}}
    text = page(project, birds=BIRDS, few=few_birds, mapped=mapped)
    order = re.findall(r'<a id="([^"]+)"', text)
    assert order == ["birds", "few", "mapped", "toy", "shift"]
    assert row(text, "Few birds")[4] == "2 of Birds's classes"
    assert row(text, "Mapped")[4] == "largest of the mapped Birds classes"
    assert "those of Birds with the same ids; the logits of all others are left out" in text


def test_the_example_of_a_new_dataset_is_accepted(project: Path) -> None:
    text = (REPOSITORY / "docs/datasets.md").read_text()
    (project / "config/prompts/imagenet.yaml").write_text("name: imagenet\nlibrary: imagenet\n")
    (project / "config/datasets/birds.yaml").write_text(
        text.split("```yaml\n", 1)[1].split("```", 1)[0]
    )
    check_dataset("birds", Catalogue(project))
    assert Catalogue(project).dataset("birds").display_names == ["jay", "robin", "wren"]


def test_the_page_has_every_dataset_and_prompt_set_of_this_project() -> None:
    text = (REPOSITORY / "docs/datasets.md").read_text()
    catalogue = Catalogue(REPOSITORY)
    for name in catalogue.names("datasets"):
        assert f'<a id="{name}"></a>' in text
        assert f"](#{name}) |" in text
    for name in catalogue.names("prompts"):
        assert f"| `{name}` |" in text
