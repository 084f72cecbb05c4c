"""Settings of fine-tuning: their identity, which must not change, and what makes no sense."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from wiseft.study.config import Catalogue, FinetuneSettings
from wiseft.study.config.methods import FIRST_KEYS, MethodEntry

REPOSITORY = Path(__file__).parents[2]

# What the runs of the embedded experiment were made with, byte for byte: header, rule parameter
# and identity of their artifacts.
DIGITS = {
    "end-to-end__digits": (
        '{"trainable":"all","init":"zero-shot","train_samples":5000,"epochs":4,"batch_size":128,'
        '"learning_rate":0.003,"weight_decay":0.1,"betas":[0.9,0.999],"eps":1e-8,'
        '"warmup_steps":100,"warmup_max_fraction":0.1,"clip_norm":1.0,"batch_norm":"eval",'
        '"label_smoothing":0.0,"augment":"none","precision":"fp32","checkpoint_every":40}'
    ),
    "end-to-end__digits-smoke": (
        '{"trainable":"all","init":"zero-shot","train_samples":512,"epochs":4,"batch_size":64,'
        '"learning_rate":0.002,"weight_decay":0.1,"betas":[0.9,0.999],"eps":1e-8,'
        '"warmup_steps":100,"warmup_max_fraction":0.1,"clip_norm":1.0,"batch_norm":"eval",'
        '"label_smoothing":0.0,"augment":"none","precision":"fp32","checkpoint_every":4}'
    ),
    "linear-classifier__digits": (
        '{"trainable":"head","init":"zero-shot","train_samples":5000,"epochs":20,"batch_size":128,'
        '"learning_rate":0.03,"weight_decay":0.1,"betas":[0.9,0.999],"eps":1e-8,'
        '"warmup_steps":100,"warmup_max_fraction":0.1,"clip_norm":1.0,"batch_norm":"eval",'
        '"label_smoothing":0.0,"augment":"none","precision":"fp32","checkpoint_every":200}'
    ),
    "from-scratch__n5000-polarity": (
        '{"trainable":"all","init":"random","train_samples":5000,"epochs":10,"batch_size":128,'
        '"learning_rate":0.003,"weight_decay":0.1,"betas":[0.9,0.999],"eps":1e-8,'
        '"warmup_steps":100,"warmup_max_fraction":0.1,"clip_norm":1.0,"batch_norm":"train",'
        '"label_smoothing":0.0,"augment":"polarity","precision":"fp32","checkpoint_every":200}'
    ),
}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue(REPOSITORY)


@pytest.mark.parametrize("method_id", DIGITS)
def test_settings_of_the_first_results_keep_their_bytes(catalogue, method_id):
    assert catalogue.method_settings(method_id).model_dump_json() == DIGITS[method_id]


def test_a_later_key_is_in_a_dump_only_where_it_differs_from_its_default():
    assert set(FinetuneSettings().model_dump()) == FIRST_KEYS
    changed = FinetuneSettings(optimiser="sgd", ema={"decay": 0.9})
    assert set(changed.model_dump()) == FIRST_KEYS | {"optimiser", "ema"}
    assert json.loads(changed.model_dump_json())["ema"] == {"decay": 0.9, "start": "zeros"}
    assert FinetuneSettings.model_validate(changed.model_dump()) == changed
    assert FinetuneSettings(steps=None, l1=0.0).model_dump() == FinetuneSettings().model_dump()


def test_every_later_key_has_a_default_to_be_left_out_by():
    later = {k: f for k, f in FinetuneSettings.model_fields.items() if k not in FIRST_KEYS}
    assert later
    assert all(
        not field.is_required() and field.default_factory is None for field in later.values()
    )


def method(settings, **variants) -> MethodEntry:
    about = {"name": "m", "title": "M", "paper": "2"}
    return MethodEntry.model_validate({**about, "settings": settings, "variants": variants})


def test_a_variant_overrides_back_to_the_default_too():
    entry = method(
        {"augment": "crop", "ema": {"decay": 0.9}}, plain={"augment": "none", "ema": None}
    )
    assert entry.resolve("plain") == FinetuneSettings()
    assert entry.resolve(None).augment == "crop"


def test_a_variant_that_makes_no_sense_is_refused_by_name():
    with pytest.raises(ValidationError, match="variant few: train_samples is 10 and samples_per"):
        method({"train_samples": 10}, few={"samples_per_class": 2})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"trainable": "head", "init": "random"}, "must start from zero-shot features"),
        ({"init": "random", "distillation": 0.5}, "distillation needs a zero-shot model"),
        ({"init": "random", "l2_to_start": 1.0}, "l2_to_start needs a zero-shot model"),
        ({"init": "random", "head_init": "random"}, "head_init needs a zero-shot model"),
        ({"init": "random", "loss": "contrastive"}, "loss needs a zero-shot model"),
        ({"train_samples": 5, "samples_per_class": 1}, "give one of them"),
        (
            {"trainable": "head", "linear_probe": {"epochs": 1, "learning_rate": 1.0}},
            "linear_probe is given and trainable is head",
        ),
        ({"search": {"regulariser": "l1"}}, "search is given and trainable is all"),
        (
            {"trainable": "head", "search": {"regulariser": "l1"}, "ema": {"decay": 0.9}},
            "search is given with ema",
        ),
        (
            {"ema": {"decay": 0.9}, "early_stopping": {"after": 1}},
            "ema and early_stopping are both given",
        ),
        ({"trainable": "head", "lipsum": {}}, "an image tower that is trained beside a head"),
        ({"loss": "contrastive", "lipsum": {}}, "an image tower that is trained beside a head"),
        ({"init": "random", "lipsum": {}}, "lipsum needs a zero-shot model"),
        ({"loss": "sigmoid", "label_smoothing": 0.1}, "label_smoothing is given and loss is sigm"),
        ({"loss": "sigmoid", "distillation": 0.1}, "distillation is given and loss is sigmoid"),
        ({"loss": "contrastive", "trainable": "head"}, "trainable is given and loss is contrast"),
        ({"loss": "contrastive", "head_init": "random"}, "head_init is given and loss is contrast"),
        (
            {"trainable": "head", "search": {"regulariser": "l1"}, "train_on_held_out": True},
            "train_on_held_out is given with search",
        ),
        ({"early_stopping": {"every": 5}, "train_on_held_out": True}, "train_on_held_out is given"),
        ({"from_search": ["search-none"]}, "from_search is given with search or trainable: all"),
        ({"optimiser": "lbfgs", "steps": 9}, "it is for trainable: head with a number of `steps`"),
        ({"optimiser": "lbfgs", "trainable": "head"}, "with a number of `steps`"),
        (
            {"optimiser": "lbfgs", "trainable": "head", "steps": 9, "l1": 1.0},
            "l1 is given and optimiser is lbfgs",
        ),
        ({"early_stopping": {}}, "give one of them"),
        ({"early_stopping": {"every": 2, "after": 3}}, "give one of them"),
        ({"ema": {"decay": 1.0}}, "less than 1"),
        ({"distillation": 1.5}, "less than or equal to 1"),
    ],
)
def test_settings_that_make_no_sense_together_are_refused(settings, sentence):
    with pytest.raises(ValidationError, match=sentence):
        FinetuneSettings.model_validate(settings)


def test_a_sigmoid_loss_from_scratch_is_allowed():
    assert FinetuneSettings(init="random", loss="sigmoid").loss == "sigmoid"


def test_the_papers_recipe_and_its_studies_are_variants(catalogue):
    recipe = catalogue.method_settings("end-to-end")
    assert (recipe.learning_rate, recipe.epochs, recipe.augment) == (3e-5, 10, "crop")
    names = set(catalogue.method("end-to-end").variants)
    grid = {name for name in names if name.startswith("epochs-")}
    rates = {catalogue.method_settings(f"end-to-end__{name}").learning_rate for name in grid}
    assert len(grid) == 17  # 3 x 6 without the recipe itself
    assert rates == {1e-7, 1e-6, 3e-6, 1e-5, 2e-5, 3e-5}
    for name in grid:
        settings = catalogue.method_settings(f"end-to-end__{name}")
        assert name.startswith(f"epochs-{settings.epochs}-lr-")
    averages = {n: catalogue.method_settings(f"end-to-end__{n}").ema for n in names if "ema-" in n}
    assert all(n.endswith(f"-{ema.decay:.8g}") for n, ema in averages.items() if ema)
    assert all(("biased" in n) == (ema.start == "theta_0") for n, ema in averages.items() if ema)


def test_the_named_variants_of_the_linear_classifier_are_what_their_names_say(catalogue):
    entry = catalogue.method("linear-classifier")
    for name in entry.variants:
        settings = entry.resolve(name)
        if name.startswith("distill-"):
            assert settings.distillation == float(name.removeprefix("distill-"))
        if name.startswith("l2-to-start-"):
            assert settings.l2_to_start == float(name.removeprefix("l2-to-start-"))
        if settings.samples_per_class:
            assert str(settings.samples_per_class) in name or name == "coop"
        assert ("all-images" in name) == settings.train_on_held_out
        for variant in settings.from_search:
            assert entry.resolve(variant).search
        assert ("random-init" in name) == (settings.head_init == "random")
        search = bool(settings.search or (settings.from_search and settings.train_on_held_out))
        assert ("search" in name) == search or name.startswith("shots-")
        if name.startswith(("distill-", "l2-to-start-")):
            assert len(settings.from_search) == 4, "the best of all searches, as in the paper"
    assert sum(name.startswith("distill-") for name in entry.variants) == 20
    assert sum(name.startswith("l2-to-start-") for name in entry.variants) == 22


@pytest.mark.parametrize("name", ["end-to-end", "linear-classifier", "lp-ft", "contrastive"])
def test_variants_of_the_embedded_experiment_fit_it(catalogue, name):
    entry = catalogue.method(name)
    digits = [v for v in entry.variants if v.startswith("digits")]
    assert digits
    for variant in digits:
        settings = entry.resolve(variant)
        assert (settings.train_samples or 10 * (settings.samples_per_class or 0)) <= 5000
