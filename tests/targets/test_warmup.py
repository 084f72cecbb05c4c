"""What is said of warm-up before anything runs, and what the small trainings of the paper get."""

from __future__ import annotations

from pathlib import Path

import pytest

from wiseft.study.config import Catalogue, FinetuneSettings, paths
from wiseft.study.finetune.schedule import long_warmup, training_samples
from wiseft.study.plan import PEAKS, Assumptions, estimate
from wiseft.study.targets import Targets

ROOT = Path(__file__).parents[2]
RECIPE = Catalogue(ROOT).method_settings("end-to-end")


@pytest.mark.parametrize(
    ("samples", "steps", "rate"),
    # DTD, Cars, SUN397 and CoOp by the recipe that the paper prints for every dataset.
    [(1880, 40, "8%"), (7144, 140, "28%"), (17865, 350, "70%"), (16000, 320, "64%")],
)
def test_a_warm_up_longer_than_a_third_is_said_with_the_highest_rate(samples, steps, rate):
    said = long_warmup(samples, RECIPE)
    assert said.startswith(f"trains for {steps} steps with a warm-up of 500")
    assert f"its highest learning rate is {rate} of the recipe's" in said
    assert long_warmup(samples, RECIPE.model_copy(update={"warmup_max_fraction": 0.1})) == ""


def test_a_third_is_not_more_than_a_third():
    settings = FinetuneSettings(steps=1500)
    assert long_warmup(1000, settings) == ""
    assert "highest learning rate is 100%" in long_warmup(1000, FinetuneSettings(steps=1499))


def test_it_is_among_the_notes_of_a_dry_run_and_of_a_plan():
    targets = Targets.read(ROOT, {"experiment": "transfer-cifar100"})
    (said, of_all) = targets.jobs.long_warmups()
    assert said.startswith("end-to-end on cifar100 trains for 880 steps with a warm-up of 500")
    assert of_all.startswith("end-to-end__all-images on cifar100 trains for 980 steps")
    assert {said, of_all} <= set(targets.jobs.notes())
    assert {said, of_all} <= set(estimate(targets, Assumptions("a100", PEAKS["a100"])).notes)


@pytest.mark.parametrize(
    "name", ["transfer-cars", "transfer-dtd", "transfer-sun397", "coop", "few-shot-dtd", "digits"]
)
def test_small_trainings_reach_the_rate_of_their_recipe(name):
    said = Targets.read(ROOT, {"experiment": name}).jobs.long_warmups()
    printed = ["end-to-end"] if name.startswith("transfer-") else []
    assert [sentence.split(" on ")[0] for sentence in said] == printed


@pytest.mark.parametrize(
    ("name", "images"),
    [("cars", 8144), ("dtd", 3760), ("sun397", 19850), ("cifar100", 50000), ("food101", 75750)],
)
def test_one_run_of_a_transfer_trains_on_all_images(name, images):
    targets = Targets.read(ROOT, {"experiment": f"transfer-{name}"})
    (method,) = targets.trained_on_held_out
    settings = targets.catalogue.method_settings(method)
    assert training_samples(settings, targets.data.entries[name]) == images
    assert f'"trained_on_held_out": ["{method}"]' in targets.told.statistics()
    assert targets.data.splits(name)[:2] == ["train", "held-out"]


def test_distillation_waits_for_all_searches_of_its_seed():
    targets = Targets.read(ROOT, {"experiment": "linear-alternatives"})
    (model,) = targets.models
    trials = targets.trials(model, "linear-classifier__distill-0.50", "0")
    kinds = ("none", "weight-decay", "l1", "label-smoothing")
    run = f"{model}__imagenet__linear-classifier__search-"
    assert trials == [paths.trials_path(f"{run}{kind}", 0) for kind in kinds]
    told = targets.told.training("linear-classifier__distill-0.50", trials)
    assert FinetuneSettings.model_validate_json(told).from_search == [str(t) for t in trials]
    assert targets.trials(model, "linear-classifier__search-none", "0") == []


def test_each_video_set_has_a_head_of_its_own_names():
    targets = Targets.read(ROOT, {"experiment": "further-shifts-video"})
    (model, method), files = (targets.models[0], targets.methods[0]), targets.files
    for name in ("imagenet-vid-robust", "ytbb-robust"):
        own = paths.theta_0_own_head_path(model, "imagenet", name)
        assert files.theta_0(model, method, name) == [own]
        assert str(own) in files.wanted("zeroshot")
    assert files.theta_0(model, method, "imagenet") == [paths.theta_0_path(model, "imagenet")]
    assert targets.jobs.by_rule()["zeroshot_own_head"] == 2
