"""Icons: what sets are named, who may stand on which side, and what is drawn."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.data.conftest import ROOT
from tests.icon_package import use_listed, write_package

from wiseft.errors import WiseftError
from wiseft.images.store import open_split
from wiseft.study.config import Catalogue
from wiseft.study.data.builders import BUILDERS, Inputs, icon_sets
from wiseft.study.data.builders.icon_sets import IconSet, draw, phrase, read_sets
from wiseft.study.data.prepare import prepare_dataset


@pytest.fixture(autouse=True)
def forget_what_was_listed():
    yield
    icon_sets.listed.cache_clear()


@pytest.fixture
def package(tmp_path):
    return write_package(tmp_path / "icons.tgz")


@pytest.fixture
def options(monkeypatch, tmp_path):
    digest = use_listed(monkeypatch, tmp_path)
    return {"groups": {"train": ["train"], "test": ["test", "web"]}, "sha256": digest}


def make(package, options):
    inputs = Inputs("tiny", {"iconify-json": package}, {}, {"train": 0, "test": 0}, options)
    return BUILDERS["icons"](inputs)


def test_icons_are_those_that_are_called_what_a_class_is_called(package, options):
    made = make(package, options)
    assert made.class_names == [["bell"], ["home", "house"]]
    train, test = made.splits["train"], made.splits["test"]
    assert train.sample_ids == ["line-b/bell-filled/tiny", "line-b/house/tiny"]
    assert train.labels.tolist() == [0, 1]
    # Of `home` and `home-outline` the shorter name; nothing hidden, no brand, no shade of skin.
    assert test.sample_ids == [
        *("late/bell/tiny", "late/home/tiny", "line-a/home/tiny"),
        *("emoji/bell/tiny", "emoji/house/tiny"),
    ]
    assert test.base_ids[2] == "line-a/home"
    assert test.groups["set"] == ["late", "late", "line-a", "emoji", "emoji"]
    assert test.groups["title"][0] == "Late" and test.groups["designer"][2] == "anna"


def test_a_set_gives_as_many_icons_of_a_class_as_the_entry_says(package, options):
    options |= {"groups": {"train": ["web"], "test": ["test"]}, "each": {"train": 2}}
    train = make(package, options).splits["train"]
    assert train.sample_ids[:2] == ["line-a/home/tiny", "line-a/home-outline/tiny"]


def test_icons_are_drawn_in_black_or_their_colours_on_white(package, options):
    test = make(package, options).splits["test"]
    emoji = test.images[3]
    assert test.images.shape == (5, 32, 32, 3) and test.images.dtype == np.uint8
    assert emoji[0, 0].tolist() == [255] * 3 and emoji[16, 16].tolist() == [255, 0, 0]
    assert test.images[2][16, 16].tolist() == [0] * 3  # currentColor


def test_a_drawing_stands_in_the_middle_of_its_square(monkeypatch, tmp_path):
    use_listed(monkeypatch, tmp_path)
    data = {"width": 20, "height": 10, "icons": {}}
    body = '<path d="M0 0h20v10H0z"/>'
    image = draw(icon_sets._svg(data, {"body": body}), 20)
    rows = np.flatnonzero((image < 128).all((1, 2)))
    assert rows.tolist() == list(range(5, 15))


@pytest.mark.parametrize("licence", ["CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "GPL-3.0", None])
def test_a_set_whose_licence_is_not_free_for_every_use_is_refused(options, tmp_path, licence):
    package = write_package(tmp_path / "other.tgz", {"late": licence})
    with pytest.raises(WiseftError, match="late has the licence"):
        make(package, options)


def test_other_lists_than_the_entry_was_made_with_are_refused(package, options):
    with pytest.raises(WiseftError, match="not the files"):
        make(package, options | {"sha256": "0" * 64})


def test_what_is_left_out_is_in_no_split(package, monkeypatch, tmp_path):
    digest = use_listed(monkeypatch, tmp_path, left_out={"line-a": ["home"], "late": ["bell"]})
    groups = {"train": ["train"], "test": ["test", "web"]}
    test = make(package, {"groups": groups, "sha256": digest}).splits["test"]
    assert test.sample_ids[:2] == ["late/home/tiny", "line-a/home-outline/tiny"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("home-outline", "home"),
        ("arrow-up-2", "arrow up"),
        ("clock3", "clock"),
        ("home-24px", "home"),
        ("tree-broken", "tree"),
        ("heart_fill", "heart"),
        ("brand-github", ""),
        ("flag-france", ""),
        ("boy-dark-skin-tone", ""),
        ("24", ""),
    ],
)
def test_names_lose_what_says_how_an_icon_looks(name, text):
    assert phrase(name, ["broken"]) == text


def test_a_dataset_of_icons_is_prepared_with_its_class_names(package, options, tmp_path):
    folder = tmp_path / "config"
    (folder / "datasets").mkdir(parents=True)
    (folder / "prompts").mkdir()
    (folder / "prompts/plain.yaml").write_text('name: plain\ntemplates: ["{c}"]\n')
    pin = hashlib.sha256(package.read_bytes()).hexdigest()
    entry = {
        "name": "tiny",
        "title": "Tiny",
        "licence": "MIT",
        "citation": "-",
        "layout": "arrays",
        "builder": "icons",
        "packages": ["iconify-json"],
        "class_names": "files",
        "classes": 2,
        "prompts": "plain",
        "splits": {"train": 2, "test": 5},
        "evaluate": ["test"],
        "clusters": "set",
        "options": options,
    }
    (folder / "datasets/tiny.yaml").write_text(yaml.safe_dump(entry))
    pinned = {"project": "@x/y", "version": "1.0.0", "file": package.name, "registry": "npm"}
    pinned |= {"sha256": pin, "size": 1, "licence": "MIT", "why": "-"}
    (folder / "packages.yaml").write_text(yaml.safe_dump({"packages": {"iconify-json": pinned}}))
    manifest = tmp_path / "datasets/tiny/manifest.json"
    prepare_dataset(Catalogue(tmp_path), "tiny", manifest, [package])
    test = open_split(manifest, "test")
    assert len(test) == 5 and test.groups["group_set"].tolist()[0] == "late"
    entry["classes"] = 3
    (folder / "datasets/tiny.yaml").write_text(yaml.safe_dump(entry))
    with pytest.raises(WiseftError, match="has 2 classes, but `classes` says 3"):
        prepare_dataset(Catalogue(tmp_path), "tiny", manifest, [package])


# ------------------------------------------------------------------------- the lists of the project

EVALUATION = {"web": "web", "train": "train", "held-out": "held-out"}
VENDORS = ("emoji-train", "emoji-held-out", "emoji-test")


def listed():
    icon_sets.listed.cache_clear()
    return icon_sets.listed()


def test_a_designer_is_on_one_side_and_a_set_in_one_group():
    sides, of_b, places = defaultdict(set), defaultdict(set), defaultdict(list)
    for group, families in listed()["groups"].items():
        for family in families:
            sides[family["designer"]].add(EVALUATION.get(group, "evaluation"))
            if group in VENDORS:
                of_b[family["designer"]].add(group)
            for key in family["sets"]:
                places[key].append(group)
    assert {designer for designer, on in sides.items() if len(on) > 1} == set()
    assert {designer for designer, groups in of_b.items() if len(groups) > 1} == set()
    assert {key for key, groups in places.items() if len(groups) > 1} == set()


def test_styles_that_are_called_unseen_are_in_no_group_of_pre_training():
    entries = Catalogue(ROOT)
    model = entries.model("icons-rn-s0")[0]
    unseen = entries.dataset("icons-styles").options["groups"]["test"]
    sets = [key for group in unseen for f in listed()["groups"][group] for key in f["sets"]]
    assert model.pretrain.icons.groups == ["web"]
    assert "web" not in unseen and len(sets) >= 10 and len(unseen) >= 4
    designers = entries.dataset("icons-designers").options["groups"]["test"]
    both = [key for g in (*unseen, *designers) for f in listed()["groups"][g] for key in f["sets"]]
    assert len(both) == len(set(both)) >= 15


def test_every_name_belongs_to_one_class():
    lists = [*icon_sets.class_names("classes"), *icon_sets.class_names("other_classes")]
    names = [icon_sets.joined(name) for several in lists for name in several]
    assert len(names) == len(set(names))
    assert len(icon_sets.class_names("classes")) >= 250


@pytest.mark.parametrize("file", sorted(Path(ROOT, "config/datasets").glob("icons*.yaml")))
def test_entries_are_made_with_the_lists_as_they_are(file):
    entry = Catalogue(ROOT).dataset(file.stem)
    icon_sets.check_listed(entry.options["sha256"])
    assert entry.classes == len(icon_sets.class_names(entry.options.get("classes", "classes")))


def test_sets_are_read_from_the_archive_in_one_pass(package, options):
    sets = read_sets(package, ["web", "test"])
    assert [each.key for each in sets["web"]] == ["line-a", "emoji"]
    assert isinstance(sets["test"][0], IconSet)
    with pytest.raises(WiseftError, match="no group nobody"):
        read_sets(package, ["nobody"])
