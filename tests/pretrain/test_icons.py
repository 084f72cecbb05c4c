"""Pre-training on named icons: an open vocabulary, and the same weights whenever it is killed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from tests.icon_package import LISTED, use_listed, write_package

from wiseft.errors import WiseftError
from wiseft.models import towers
from wiseft.models.towers.open_clip_models import open_clip_model
from wiseft.study.config import Catalogue, PretrainSettings
from wiseft.study.config.entries import IconSettings
from wiseft.study.data.builders import icon_sets
from wiseft.study.pretrain.glyphs import save_drawings
from wiseft.study.pretrain.icons import TEMPLATES, build_icons, load_drawn
from wiseft.study.pretrain.pretrain import pretrain, source_of
from wiseft.study.pretrain.pretrain_samples import draw_pretrain_samples
from wiseft.thetas.resume_state import Checkpoints
from wiseft.zeroshot.head import build_head
from wiseft.zeroshot.prompts import fill_templates

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(monkeypatch, tmp_path):
    digest = use_listed(monkeypatch, tmp_path)
    icons = IconSettings(groups=["web", "train"], each=2, shift=1, sha256=digest)
    yield PretrainSettings(
        steps=5, batch_size=6, glyph_size=32, icons=icons, checkpoint_every=2, learning_rate=1e-2
    )
    icon_sets.listed.cache_clear()


@pytest.fixture
def icons(settings, tmp_path):
    package = write_package(tmp_path / "icons.tgz")
    return build_icons([package], settings.glyph_size, settings.icons)


def test_every_icon_with_a_name_is_there_with_its_own_words(icons):
    assert icons.names == ("bell", "cup of tea", "home", "house")
    assert len(icons.grey) == 5 and len(icons.colour) == 2
    named = [icons.names[place] for place in icons.phrases]
    assert sorted(named) == ["bell", "bell", "cup of tea", "home", "home", "house", "house"]
    assert (np.diff(icons.sets) >= 0).all()


def test_names_that_one_designer_uses_may_be_left_out(settings, icons, tmp_path):
    chosen = settings.icons.model_copy(update={"designers": 2})
    shared = build_icons([tmp_path / "icons.tgz"], 32, chosen)
    assert shared.names == ("bell", "house") and "home" in icons.names  # `line-a`'s alone


def test_no_list_of_classes_has_a_part_in_captions(settings, icons, monkeypatch, tmp_path):
    other = LISTED.replace("classes: {home: [house], bell: []}", "classes: {cloud: [rain]}")
    digest = use_listed(monkeypatch, tmp_path, other)
    chosen = settings.icons.model_copy(update={"sha256": digest})
    again = build_icons([tmp_path / "icons.tgz"], 32, chosen)
    assert again.names == icons.names and np.array_equal(again.phrases, icons.phrases)


def test_captions_are_the_icons_names_in_several_templates(settings, icons):
    source = source_of(icons, settings, 32, 16)
    tokenizer = open_clip.SimpleTokenizer(context_length=16)
    seen = set()
    for step in range(20):
        batch = source.batch(0, step)
        for concept, tokens in zip(batch.concepts.tolist(), batch.captions, strict=True):
            texts = [template.format(c=icons.names[concept]) for template in TEMPLATES]
            match = (tokenizer(texts) == tokens).all(1)
            assert match.sum() == 1
            seen.add(int(match.nonzero()))
    assert seen == set(range(len(TEMPLATES)))


def test_a_batch_is_a_function_of_seed_and_step(settings, icons):
    source = source_of(icons, settings, 32, 16)
    one, same, other = source.batch(1, 7), source.batch(1, 7), source.batch(2, 7)
    assert torch.equal(one.images, same.images) and torch.equal(one.captions, same.captions)
    assert not torch.equal(one.images, other.images)
    assert one.images.shape == (6, 3, 32, 32) and 0 <= one.images.min() <= one.images.max() == 1


def test_icons_are_moved_by_a_few_pixels_and_else_as_they_are(icons):
    rng, places = np.random.default_rng(0), np.array([0, 5])
    still = icons.read(places, rng, 0)
    assert np.array_equal(still[0, ..., 0], icons.grey[0])
    assert np.array_equal(still[1], icons.colour[0])
    moved = icons.read(np.array([0] * 30), rng, 2)
    inside = [np.roll(still[0], (-d, -r), (0, 1)) for d in range(-2, 3) for r in range(-2, 3)]
    assert all(any(np.array_equal(image, one) for one in inside) for image in moved)
    assert len({image.tobytes() for image in moved}) > 5


def test_what_is_stored_is_read_as_it_was(settings, icons, tmp_path):
    path = tmp_path / "glyphs.safetensors"
    save_drawings(path, icons)
    again = load_drawn(path, settings)
    for name in ("grey", "colour", "phrases", "sets"):
        assert np.array_equal(getattr(again, name), getattr(icons, name))
    assert again.names == icons.names
    with pytest.raises(WiseftError, match="holds icons, no glyphs"):
        load_drawn(path, settings.model_copy(update={"icons": None}))


def test_a_killed_pre_training_goes_on_and_both_towers_learn(
    settings, icons, architecture, preprocessing, tmp_path
):
    def train(state, checkpoints=None):
        kept = checkpoints or Checkpoints(tmp_path / state, "x")
        return pretrain(icons, architecture, preprocessing, settings, 3, kept)

    whole, curve = train("a")
    killed = Checkpoints(tmp_path / "b", "x")
    saved = killed.save

    def die(step, tensors):
        saved(step, tensors)
        raise KeyboardInterrupt

    killed.save = die
    with pytest.raises(KeyboardInterrupt):
        train("b", killed)
    again, _ = train("b")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert curve[-1].held_out_accuracy is None
    start = open_clip_model(architecture, 3).state_dict()
    for name in ("visual.conv1.weight", "token_embedding.weight", "text_projection"):
        assert not torch.equal(whole[name], start[name])


def test_dumps_of_a_pre_training_on_digits_say_nothing_of_icons():
    assert "icons" not in PretrainSettings().model_dump(mode="json")


def test_a_panel_shows_icons_over_their_captions(settings, icons, tmp_path):
    output = tmp_path / "panel.png"
    draw_pretrain_samples(icons, settings, 32, 0, [output])
    assert output.stat().st_size > 1000


def test_heads_are_made_by_the_text_tower_that_was_trained(
    settings, icons, architecture, preprocessing, tmp_path
):
    weights, _ = pretrain(
        icons, architecture, preprocessing, settings, 3, Checkpoints(tmp_path / "s", "x")
    )
    clip = open_clip_model(architecture, 0).eval()
    clip.load_state_dict(clip.state_dict() | weights)
    templates = [lambda name: f"{name} icon", lambda name: f"an icon of {name}"]
    tokenizer = open_clip.SimpleTokenizer(context_length=20)
    theirs = open_clip.build_zero_shot_classifier(clip, tokenizer, ["home", "bell"], templates)
    model = towers.build(architecture, seed=1)
    model.load(weights, "the weights")
    head = build_head(model, [["home"], ["bell"]], ["{c} icon", "an icon of {c}"])
    expected = theirs.T * clip.logit_scale.exp()
    torch.testing.assert_close(head, expected.detach(), atol=1e-5, rtol=0)


def test_every_prompt_of_the_experiment_fits_the_text_tower():
    catalogue = Catalogue(ROOT)
    icon_sets.listed.cache_clear()
    text = json.loads((ROOT / "config/models/icons-rn.json").read_text())["text_cfg"]
    tokenizer = open_clip.SimpleTokenizer()
    names = [*icon_sets.class_names("classes"), *icon_sets.class_names("other_classes")]
    for prompts in ("icons", "icons-one"):
        for templates in fill_templates(names, catalogue.prompts(prompts).ready):
            assert all(len(tokenizer.encode(p)) + 2 <= text["context_length"] for p in templates)
