"""Properties that hold for all configurations."""

from __future__ import annotations

import json
import string
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from wiseft.base.loading import load_entry, parse_settings
from wiseft.base.names import split_run_name
from wiseft.base.validation import validate
from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue, ExperimentEntry, FinetuneSettings, paths
from wiseft.study.config.methods import MethodEntry

REPOSITORY = Path(__file__).parents[2]
DIGITS = yaml.safe_load((REPOSITORY / "config/experiments/digits.yaml").read_text())

positive = st.floats(min_value=1e-12, max_value=1e6)
finetune_settings = st.builds(
    FinetuneSettings,
    init=st.sampled_from(["zero-shot", "random"]),
    train_samples=st.none() | st.integers(1, 10**7),
    epochs=st.integers(1, 1000),
    batch_size=st.integers(1, 2**16),
    learning_rate=positive,
    weight_decay=st.floats(0, 10),
    betas=st.tuples(st.floats(0, 0.999), st.floats(0, 0.9999)),
    eps=positive,
    warmup_steps=st.integers(0, 10**5),
    warmup_max_fraction=st.none() | st.floats(0, 1),
    clip_norm=st.none() | positive,
    batch_norm=st.sampled_from(["eval", "train"]),
    augment=st.sampled_from(["none", "polarity"]),
)


@given(finetune_settings)
def test_settings_survive_json(value: FinetuneSettings) -> None:
    """As the workflow passes settings to a command."""
    assert parse_settings(FinetuneSettings, json.dumps(value.model_dump(mode="json"))) == value


@given(finetune_settings)
def test_settings_survive_yaml(value: FinetuneSettings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "settings.yaml"
        path.write_text(yaml.safe_dump(value.model_dump(mode="json")))
        assert load_entry(FinetuneSettings, path, "settings") == value


@given(finetune_settings, finetune_settings)
def test_a_full_variant_replaces_the_method(
    method: FinetuneSettings, variant: FinetuneSettings
) -> None:
    entry = MethodEntry.model_validate(
        {
            "name": "m",
            "title": "M",
            "paper": "2",
            "settings": method.model_dump(),
            "variants": {"empty": {}, "full": variant.model_dump()},
        }
    )
    assert entry.resolve("empty") == entry.resolve(None) == method
    assert entry.resolve("full") == variant


@given(st.text(string.ascii_lowercase + "_", min_size=1, max_size=20))
def test_unknown_keys_are_refused_by_name(key: str) -> None:
    for model, data in ((FinetuneSettings, {}), (ExperimentEntry, DIGITS)):
        if key in model.model_fields:
            continue
        with pytest.raises(WiseftError) as caught:
            validate(model, {**data, key: None}, "file.yaml")
        assert f"file.yaml: unknown key `{key}`; " in str(caught.value)


@given(st.sampled_from(sorted(FinetuneSettings.model_fields)), st.integers(0, 30))
def test_a_slip_of_one_letter_finds_the_key(key: str, position: int) -> None:
    position %= len(key)
    slip = key[:position] + key[position + 1 :]
    if slip in FinetuneSettings.model_fields or len(key) < 5:
        return
    with pytest.raises(WiseftError, match="did you mean") as caught:
        validate(FinetuneSettings, {slip: 1}, "file.yaml")
    assert key in str(caught.value)


@given(st.sets(st.integers(1, 999), max_size=20), st.randoms())
def test_any_grid_of_thousandths_is_an_alpha_list(inner: set[int], random) -> None:
    grid = [n / 1000 for n in {0, 500, 1000, *inner}]
    random.shuffle(grid)
    entry = validate(ExperimentEntry, {**DIGITS, "alphas": grid}, "file.yaml")
    assert entry.alpha_names == sorted(f"{alpha:.3f}" for alpha in grid)
    assert entry.alpha_names[0] == "0.000"
    assert entry.alpha_names[-1] == "1.000"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_other_numbers_are_no_alphas(number: float) -> None:
    is_alpha = 0 <= number <= 1 and round(number, 3) == number
    data = {**DIGITS, "alphas": [0, 0.5, number, 1]}
    if is_alpha and number not in (0, 0.5, 1):
        assert f"{number:.3f}" in validate(ExperimentEntry, data, "file.yaml").alpha_names
    else:
        with pytest.raises(WiseftError, match=r"file\.yaml: key `alphas`"):
            validate(ExperimentEntry, data, "file.yaml")


name = st.from_regex(r"[A-Za-z0-9]+([-.][A-Za-z0-9]+){0,2}", fullmatch=True).filter(str.isascii)


@given(name, name, name, st.none() | name)
def test_run_names_are_unambiguous(
    model: str, reference: str, method: str, variant: str | None
) -> None:
    method_id = f"{method}__{variant}" if variant else method
    run = paths.run_name(model, reference, method_id)
    assert split_run_name(run) == (model, reference, method, variant or "")


@settings(max_examples=20)
@given(st.integers(0, 2**31 - 1))
def test_any_seed_names_a_model(seed: int) -> None:
    entry, found = Catalogue(REPOSITORY).model(f"digits-rn-s{seed}")
    assert (entry.name, found) == ("digits-rn", seed)
