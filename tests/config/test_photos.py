"""The experiment on photographs: its label map, its entries, and what it plans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wiseft.base import library
from wiseft.study.config import Catalogue
from wiseft.study.targets import Targets

ROOT = Path(__file__).parents[2]
CATALOGUE = Catalogue(ROOT)
MAP = json.loads((ROOT / "config/models/efficientnet-lite0-cifar10.json").read_text())


def test_the_map_names_the_classes_of_imagenet() -> None:
    names = dict(zip(library.class_ids("imagenet"), library.class_names("imagenet"), strict=True))
    assert list(MAP) == CATALOGUE.dataset("cifar10-upper").display_names
    for members in MAP.values():
        assert members == {identifier: names[identifier] for identifier in members}
    taken = [identifier for members in MAP.values() for identifier in members]
    assert len(taken) == len(set(taken))


def test_the_map_has_all_birds_and_dogs_and_no_foreign_vehicle() -> None:
    """ImageNet has 59 birds and 118 dogs; its railway carriage is no automobile."""
    assert len(MAP["bird"]) == 59 and "great grey owl" in MAP["bird"].values()
    assert len(MAP["dog"]) == 118
    foreign = {"railroad car", "pickup truck"}
    assert not foreign & {name for members in MAP.values() for name in members.values()}


@pytest.mark.parametrize("name", ["photos", "photos-full"])
def test_every_method_is_tuned_on_images_that_nothing_reports(name: str) -> None:
    experiment = CATALOGUE.experiment(name)
    assert experiment.held_out is not None
    assert experiment.held_out.dataset == experiment.reference
    assert experiment.reference.startswith("cifar10-upper")
    shifts = [other for other in experiment.datasets if other != experiment.reference]
    assert all(CATALOGUE.dataset(other).evaluate == ["test"] for other in shifts)


def test_photos_plans_the_jobs_that_its_protocol_names() -> None:
    planned = Targets.read(ROOT, {"experiment": "photos"}).jobs
    jobs, stages = planned.by_rule(), planned.by_stage()
    assert jobs["finetune"] == 4 * 3 and jobs["baseline"] == 2
    of_others = 3 + 4  # LiNeS of each seed, and four recipes of all three
    assert jobs["evaluate_cifar10-sides"] == 4 * 3 + 2 + of_others
    assert jobs["weights"] == jobs["zeroshot_supervised"] == 1
    assert jobs["data_fetch"] == 1, "the weights' package"
    assert stages["data_prepare"] == 5 and stages["data_prepare_files"] == 1


def test_weights_from_a_package_are_pinned_by_the_list_of_packages() -> None:
    for model in ("efficientnet-lite0", "efficientnet-lite1"):
        entry, _ = CATALOGUE.model(model)
        assert entry.package and CATALOGUE.package(entry.package.key).licence == "Apache-2.0"
        assert entry.preprocessing.mean == (127 / 255,) * 3
        assert entry.preprocessing.std == (128 / 255,) * 3
    plain, _ = CATALOGUE.model("clip-vit-b-32")
    assert "package" not in plain.model_dump(), "a key of others would fetch weights again"
