"""Datasets in an experiment: label maps, previews, class names from files, data alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue
from wiseft.study.config.catalogue import check_catalogue
from wiseft.study.config.dataset_checks import check_dataset
from wiseft.study.config.datasets import DatasetEntry
from wiseft.study.config.layouts import LAYOUTS, check_options
from wiseft.study.targets.resolve import resolve

REPOSITORY = Path(__file__).parents[2]
MINI, TOY, SHIFT = "experiments/mini", "datasets/toy", "datasets/shift"
MAP = {"reference": "toy", "by": "files"}


def message(project: Path) -> str:
    with pytest.raises(WiseftError) as caught:
        Catalogue(project).experiment("mini")
    return str(caught.value)


def add(project: Path, kind: str, name: str, content: dict[str, Any]) -> None:
    path = project / "config" / kind / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))


# -------------------------------------------------------------------------- one file is one dataset


def birds(**changes: Any) -> dict[str, Any]:
    """Return an entry of the layout `image-folder` with classes of its own."""
    entry = {
        "name": "birds",
        "title": "Birds",
        "licence": "none",
        "citation": "nobody",
        "layout": "image-folder",
        "root": "/data/birds",
        "class_names": ["jay", "robin", "wren"],
        "prompts": "plain",
        "splits": {"train": 60, "held-out": 6, "test": 30},
        "evaluate": ["held-out", "test"],
    }
    return {**entry, **changes}


def problems(project: Path) -> list[str]:
    """Return the sentences of a check of the whole project."""
    try:
        check_catalogue(project)
    except WiseftError as error:
        return str(error).split("\n")
    return []


def test_a_dataset_is_one_file_and_nothing_else(project: Path, edit) -> None:
    add(project, "datasets", "birds", birds())
    assert problems(project) == []
    for key, value in (
        ("reference", "birds"),
        ("datasets", ["birds"]),
        ("held_out.dataset", "birds"),
        ("averages", {}),
        ("figures", {}),
    ):
        edit(MINI, key, value)
    resolved = resolve(project, "mini")
    assert resolved["datasets"]["birds"]["splits"] == {"train": 60, "held-out": 6, "test": 30}
    assert resolved["runs"][0] == "tiny-s3__birds__tune__short/seed-0"


def test_a_subset_of_imagenet_is_its_wnids(project: Path) -> None:
    few = ["n02165105", "n01440764"]
    add(project, "datasets", "few", birds(name="few", class_names="imagenet", class_ids=few))
    entry = Catalogue(project).dataset("few")
    assert (entry.display_names, entry.ids) == (["tiger beetle", "tench"], few)
    add(project, "datasets", "few", birds(name="few", class_names="imagenet-a", class_ids=few))
    assert "class_ids lists n02165105, no class of imagenet-a" in problems(project)[0]


# --------------------------------------------------------------------------------- classes that fit


def test_other_classes_need_a_label_map_of_the_reference(project: Path, edit) -> None:
    edit(SHIFT, "class_names", ["a", "b", "c"])
    text = message(project)
    assert "datasets lists shift, whose class_names are not those of the reference toy" in text
    assert "unless a label_map with reference: toy" in text
    edit(SHIFT, "label_map", MAP)
    Catalogue(project).experiment("mini")


def test_a_label_map_of_another_reference_is_refused(project: Path, edit) -> None:
    add(project, "datasets", "birds", birds())
    edit(SHIFT, "class_names", ["a", "b", "c"])
    edit(SHIFT, "label_map", {**MAP, "reference": "birds"})
    assert "whose classes follow from those of birds, but the reference is toy" in message(project)


def test_the_same_names_need_no_map_even_if_there_is_another(project: Path, edit) -> None:
    add(project, "datasets", "birds", birds())
    edit(SHIFT, "label_map", {**MAP, "reference": "birds"})
    Catalogue(project).experiment("mini")


@pytest.mark.parametrize("key", ["toy", "shift"])
def test_names_from_files_are_compared_by_number_until_they_are_known(
    project: Path, edit, key: str
) -> None:
    edit(f"datasets/{key}", "class_names", "files")
    edit(f"datasets/{key}", "classes", 2)
    Catalogue(project).experiment("mini")
    edit(f"datasets/{key}", "classes", 3)
    assert "whose class_names are not those of the reference toy" in message(project)


def test_a_reference_with_names_from_files_fits_itself(project: Path, edit) -> None:
    edit(TOY, "class_names", "files")
    edit(TOY, "classes", 5)
    edit(MINI, "datasets", ["toy"])
    edit(MINI, "averages", {})
    edit(MINI, "figures", {})
    assert Catalogue(project).experiment("mini").datasets == ["toy"]
    assert resolve(project, "mini")["datasets"]["toy"]["class_names"] == "files"


# ---------------------------------------------------------------------------- a dataset by itself


@pytest.mark.parametrize(
    ("entry", "changes", "expected"),
    [
        (SHIFT, {"label_map": {**MAP, "reference": "tyo"}}, "`label_map.reference`: unknown datas"),
        (SHIFT, {"label_map": {**MAP, "reference": "shift"}}, "must be another dataset, no previe"),
        (SHIFT, {"label_map": {**MAP, "reference": "toy-limit5"}}, "must be another dataset, no p"),
        (SHIFT, {"label_map": {**MAP, "by": "class-ids"}}, "label_map goes by class-ids, but the"),
        (
            SHIFT,
            {"class_ids": ["n1", "n2"], "label_map": {**MAP, "by": "class-ids"}},
            "toy, which has no class with the id n1 (2 of 2 ids are not among its own)",
        ),
        (TOY, {"held_out": {"of": "train", "count": 30}}, "held_out.count is 30 and splits.held-o"),
        (TOY, {"held_out": {"of": "held-out", "count": 20}}, "must be drawn from another split"),
        (
            SHIFT,
            {"held_out": {"of": "test", "count": 3}},
            "draws `held-out` from test, but the spl",
        ),
        (
            TOY,
            {
                "held_out": {"of": "train", "count": 20},
                "files": [
                    {"file": "a.zip", "unpinned": "x", "how": "y", "splits": ["train", "held-out"]}
                ],
            },
            "file a.zip is for split held-out, which is drawn from train; name train instead",
        ),
        (TOY, {"views": [{"ignore": ["x"]}]}, "view all ignores groups, but has no `group`"),
        (TOY, {"views": [{"metric": "worst-group-accuracy"}]}, "view all has metric worst-group"),
        (TOY, {"prompts": "plian"}, "unknown prompt set plian; did you mean plain?"),
        (TOY, {"packages": ["toy-dat"]}, "unknown package toy-dat; did you mean toy-data?"),
        (TOY, {"depends": ["shfit"]}, "unknown dataset shfit; did you mean shift?"),
    ],
)
def test_each_problem_of_a_dataset_is_one_sentence(
    project: Path, edit, entry: str, changes: dict[str, Any], expected: str
) -> None:
    for key, value in changes.items():
        edit(entry, key, value)
    name = entry.removeprefix("datasets/")
    with pytest.raises(WiseftError) as caught:
        check_dataset(name, Catalogue(project))
    lines = [line for line in str(caught.value).split("\n") if expected in line]
    assert len(lines) == 1, str(caught.value)
    assert f"config/datasets/{name}.yaml: " in lines[0]
    # Nobody needs an experiment to learn of it, and in one it is told as well.
    assert lines[0] in problems(project)
    assert lines[0] in message(project)


def test_a_label_map_does_not_lead_on_to_another(project: Path, edit) -> None:
    add(project, "datasets", "birds", birds(label_map=MAP))
    edit(SHIFT, "label_map", {**MAP, "reference": "birds"})
    with pytest.raises(WiseftError, match="whose classes follow from toy; name that one"):
        check_dataset("shift", Catalogue(project))


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (
            {"metric": "worst-group-accuracy", "group": "regoin"},
            "view all has group: regoin, but the groups of the dataset are region, anchor",
        ),
        ({"where": "anchors"}, "view all has where: anchors, but the groups of the dataset are"),
    ],
)
def test_views_go_by_groups_that_the_table_has(
    project: Path, view: dict[str, Any], expected: str
) -> None:
    options: dict[str, Any] = {"file": "a.csv", "path": "file", "label": "class"}
    options["groups"] = {"region": "continent", "anchor": "is_anchor"}
    good = {"metric": "worst-group-accuracy", "group": "region", "where": "anchor"}
    for views, fits in (([good], True), ([view], False)):
        add(project, "datasets", "birds", birds(layout="csv", options=options, views=views))
        found = problems(project)
        assert (found == []) is fits
    assert expected in found[0]


# ----------------------------------------------------------------------------------------- previews


def test_a_preview_is_a_dataset_of_its_own(project: Path) -> None:
    catalogue = Catalogue(project)
    preview = catalogue.dataset("toy-limit30")
    assert (preview.name, preview.bare_name, preview.limit) == ("toy-limit30", "toy", 30)
    assert preview.splits == {"train": 30, "held-out": 20, "test": 30}
    assert "limit 30" in preview.title
    assert (preview.depends, preview.packages) == (["toy"], [])
    assert catalogue.dataset_closure(["toy-limit30"]) == ["toy", "toy-limit30"]
    assert catalogue.dataset("toy").limit is None


def test_an_experiment_may_be_made_of_previews(project: Path, edit) -> None:
    edit(SHIFT, "class_names", ["a", "b", "c"])
    edit(SHIFT, "label_map", MAP)
    edit(MINI, "reference", "toy-limit70")
    edit(MINI, "datasets", ["toy-limit70", "shift-limit5"])
    edit(MINI, "held_out.dataset", "toy-limit70")
    edit(MINI, "averages", {"shifts": ["shift-limit5"]})
    entry = Catalogue(project).experiment("mini")
    assert entry.datasets == ["toy-limit70", "shift-limit5"]
    resolved = resolve(project, "mini")
    assert list(resolved["datasets"]) == ["toy", "toy-limit70", "shift", "shift-limit5"]
    assert resolved["datasets"]["shift-limit5"]["splits"] == {"test": 5}
    edit(MINI, "averages", {"shifts": ["shift"]})
    assert "averages.shifts lists shift, but must list only datasets" in message(project)


def test_a_preview_may_be_too_small_to_train_on(project: Path, edit) -> None:
    edit(MINI, "reference", "toy-limit30")
    edit(MINI, "datasets", ["toy-limit30", "shift"])
    edit(MINI, "held_out.dataset", "toy-limit30")
    assert "the train split of toy-limit30 holds only 30" in message(project)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "tyo-limit5",
            "unknown dataset tyo in tyo-limit5, which names a preview of 5 samples a sp",
        ),
        ("tyo-limit5", "did you mean toy?"),
        ("toy-limit0", "unknown dataset toy-limit0; valid: shift, toy"),
        ("toy-limit", "unknown dataset toy-limit; valid: shift, toy"),
        ("toy-limit5-limit3", "unknown dataset toy-limit5 in toy-limit5-limit3"),
    ],
)
def test_a_wrong_preview_names_the_dataset(project: Path, name: str, expected: str) -> None:
    with pytest.raises(WiseftError) as caught:
        Catalogue(project).dataset(name)
    assert expected in str(caught.value)


def test_no_dataset_is_called_like_a_preview(project: Path) -> None:
    add(project, "datasets", "birds-limit5", birds(name="birds-limit5"))
    with pytest.raises(WiseftError, match="must not end in -limit<number>, which marks a preview"):
        check_catalogue(project)


# --------------------------------------------------------------------------------------- data alone


def data_alone(**changes: Any) -> dict[str, Any]:
    """Return an experiment without models; `birds` and `toy` differ in their classes."""
    entry = {
        "experiment": "alone",
        "title": "Data alone",
        "reference": "toy",
        "datasets": ["toy", "shift", "birds", "birds-limit3"],
    }
    return {**entry, **changes}


def test_an_experiment_about_data_alone_lists_any_datasets(project: Path) -> None:
    add(project, "datasets", "birds", birds())
    add(project, "experiments", "alone", data_alone())
    entry = Catalogue(project).experiment("alone")
    assert entry.data_only
    assert not Catalogue(project).experiment("mini").data_only
    resolved = resolve(project, "alone")
    assert (resolved["runs"], resolved["models"], resolved["methods"]) == ([], {}, {})
    assert set(resolved["datasets"]) == {"toy", "shift", "birds", "birds-limit3"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"figures": {"a": {"draw": "robustness"}}}, "figures needs trained models, but models"),
        ({"interpolate": [0.5]}, "interpolate needs trained models, but models and methods are"),
        ({"models": ["brought"]}, "models lists brought, but methods is empty and baselines is"),
        ({"methods": ["tune"]}, "models is empty, but methods need at least one model"),
        ({"test_split": "val"}, "test_split is val, but dataset birds evaluates only"),
        ({"datasets": ["shift"]}, "reference is toy, but must be one of datasets: shift"),
        (
            {"held_out": {"dataset": "x", "split": "held-out"}},
            "held_out.dataset is x, but must be one of datasets",
        ),
        (
            {"held_out": {"dataset": "shift", "split": "held-out"}},
            "held_out.split is held-out, but must be one of the evaluated splits of shift: test",
        ),
    ],
)
def test_what_an_experiment_about_data_alone_must_not_ask_for(
    project: Path, changes: dict[str, Any], expected: str
) -> None:
    add(project, "datasets", "birds", birds())
    add(project, "experiments", "alone", data_alone(**changes))
    with pytest.raises(WiseftError) as caught:
        Catalogue(project).experiment("alone")
    assert expected in str(caught.value)


@pytest.mark.parametrize("key", ["models", "methods", "seeds", "alphas", "held_out"])
def test_where_a_model_is_trained_nothing_is_left_to_a_default(project: Path, key: str) -> None:
    path = project / "config/experiments/mini.yaml"
    content = yaml.safe_load(path.read_text())
    del content[key]
    path.write_text(yaml.safe_dump(content))
    text = message(project)
    assert (
        f"mini.yaml: key `{key}` is missing, but must be given where a model is trained (" in text
    )


def test_a_null_held_out_is_as_good_as_none(project: Path, edit) -> None:
    edit(MINI, "held_out", None)
    assert "key `held_out` is null, but must be given where a model is trained" in message(project)


# ------------------------------------------------------------------------------ prompts and layouts


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, "gives no source, but must give exactly one of templates, library, file"),
        ({"templates": ["a {c}"], "library": "imagenet"}, "gives templates and library, but must"),
        ({"library": "imagenet21k"}, "library is imagenet21k, but must be one of imagenet"),
        ({"library": "imagenet", "key": "x"}, "`file` and `key` belong together"),
        ({"file": {"file": "a.json", "unpinned": "x", "how": "y"}}, "`file` and `key` belong"),
        (
            {"file": {"file": "a.txt", "unpinned": "x", "how": "y"}, "key": "x"},
            "file.file is a.txt, but must end in .json or .py",
        ),
        ({"file": {"file": "a.json", "how": "y"}, "key": "x"}, "needs either a checksum"),
        ({"templates": ["a {a_c}", "a {b}"]}, "'a {b}' must be a sentence with {c} or {a_c}"),
        ({"templates": []}, "`templates` is [], but must be a collection of at least 1"),
    ],
)
def test_a_prompt_set_has_one_source(project: Path, content: dict[str, Any], expected: str) -> None:
    add(project, "prompts", "plain", {"name": "plain", **content})
    with pytest.raises(WiseftError) as caught:
        Catalogue(project).prompts("plain")
    assert expected in str(caught.value)
    assert "config/prompts/plain.yaml: " in str(caught.value)


def test_templates_are_known_where_no_file_has_to_be_downloaded(project: Path) -> None:
    add(project, "prompts", "known", {"name": "known", "library": "imagenet"})
    file = {"file": "a.json", "urls": ["https://example.org/a.json"], "sha256": "0" * 64}
    add(project, "prompts", "later", {"name": "later", "file": file, "key": "x"})
    catalogue = Catalogue(project)
    assert catalogue.prompts("plain").ready == ["a photo of {c}"]
    known = catalogue.prompts("known").ready
    assert known is not None
    assert len(known) == 80
    assert known[0] == "a bad photo of a {c}."
    assert catalogue.prompts("later").ready is None


def test_resolve_shows_what_templates_are_known(project: Path, edit) -> None:
    file = {"file": "a.json", "urls": ["https://example.org/a.json"], "sha256": "0" * 64}
    add(project, "prompts", "later", {"name": "later", "file": file, "key": "x"})
    edit(SHIFT, "prompts", "later")
    assert resolve(project, "mini")["prompts"] == {
        "later": {"file": file, "key": "x"},
        "plain": ["a photo of {c}"],
    }


def test_every_layout_has_options_and_a_place_in_the_reference() -> None:
    readme = (REPOSITORY / "config/README.md").read_text()
    for layout, model in LAYOUTS.items():
        section = readme.split(f"### `{layout}`\n", 1)[1].split("\n#", 1)[0]
        for name, field in model.model_fields.items():
            assert field.description, (layout, name)
            assert f"| `{name}` |" in section
            assert field.description.replace("|", "\\|") in section


def test_every_entry_has_options_that_its_layout_knows() -> None:
    catalogue = Catalogue(REPOSITORY)
    for name in catalogue.names("datasets"):
        entry = catalogue.dataset(name)
        assert isinstance(entry, DatasetEntry)
        check_options(entry.layout, entry.options)
