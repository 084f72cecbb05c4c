"""Pre-training: exact resume, seeds, and a rendering thread that changes nothing."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor

from wiseft.errors import WiseftError
from wiseft.study.pretrain import pretrain as module
from wiseft.study.pretrain.pretrain import Row, pretrain
from wiseft.study.pretrain.pretrain_samples import draw_pretrain_samples
from wiseft.study.pretrain.style import NAMES, CaptionTable
from wiseft.thetas.resume_state import Checkpoints

Run = Callable[..., tuple[dict[str, Tensor], list[Row]]]


@pytest.fixture
def run(glyphs, architecture, preprocessing, settings, tmp_path: Path) -> Run:
    """Train the tiny model; keyword arguments replace settings."""

    def run(seed: int = 3, overlap: bool = False, state: str = "state", **changes: Any):
        chosen = settings.model_copy(update=changes)
        checkpoints = Checkpoints(tmp_path / state, chosen.model_dump_json())
        arguments = (glyphs, architecture, preprocessing, chosen, seed, checkpoints)
        return pretrain(*arguments, overlap=overlap)

    return run


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    different = [key for key in a if not torch.equal(a[key], b[key])]
    assert not different


def test_same_seed_same_weights_bitwise_and_another_seed_differs(run: Run):
    first, curve = run(state="a")
    again, _ = run(state="b")
    other, _ = run(seed=4, state="c")
    assert_equal(first, again)
    assert not torch.equal(first["visual.conv1.weight"], other["visual.conv1.weight"])
    assert curve[-1].step == 7
    assert 0 <= curve[-1].held_out_accuracy <= 1
    assert {"logit_scale", "text_projection"} <= first.keys()
    assert not any("num_batches_tracked" in key for key in first)


def test_rendering_beside_the_step_changes_nothing(run: Run):
    assert_equal(run(state="a")[0], run(overlap=True, state="b")[0])


@pytest.mark.parametrize("kill_at", [1, 2, 5, 6])
def test_a_killed_run_ends_with_the_same_weights(run: Run, monkeypatch, kill_at: int):
    whole, curve = run(state="whole")
    original = module._Trainer.step

    class Killed(Exception):
        pass

    def step(self, batch):
        if self.done == kill_at:
            raise Killed
        return original(self, batch)

    monkeypatch.setattr(module._Trainer, "step", step)
    with pytest.raises(Killed):
        run(state="killed")
    taken: list[int] = []

    def counting(self, batch):
        taken.append(self.done)
        return original(self, batch)

    monkeypatch.setattr(module._Trainer, "step", counting)
    resumed, resumed_curve = run(state="killed")
    assert_equal(whole, resumed)
    assert resumed_curve == curve
    assert taken[0] == kill_at // 2 * 2, "it starts at the last state, not at the beginning"


def test_a_state_of_other_settings_is_not_used(run: Run, monkeypatch):
    original = module._Trainer.step

    def step(self, batch):
        if self.done == 5:
            raise KeyboardInterrupt
        return original(self, batch)

    monkeypatch.setattr(module._Trainer, "step", step)
    with pytest.raises(KeyboardInterrupt):
        run(learning_rate=1e-3)
    monkeypatch.setattr(module._Trainer, "step", original)
    mixed, _ = run(learning_rate=2e-3)
    clean, _ = run(learning_rate=2e-3, state="clean")
    assert_equal(mixed, clean)


def test_a_loss_that_is_not_finite_names_the_key(run: Run):
    with pytest.raises(WiseftError, match=r"loss is (nan|inf) in step \d.*learning_rate"):
        run(learning_rate=1e30, clip_norm=1e30, steps=30)


def test_without_typefaces_the_settings_are_named(run: Run):
    with pytest.raises(WiseftError, match="font_packages"):
        run(held_out_families=["face/a", "face/b"])


def test_held_out_type_that_is_trained_on_under_another_name_is_named(glyphs, settings):
    masks = glyphs.masks.copy()
    masks[glyphs.select(["face/b"])[0]] = masks[glyphs.select(["face/a"])[0]]
    twins = dataclasses.replace(glyphs, masks=masks)
    captions = CaptionTable(open_clip.SimpleTokenizer(context_length=20))
    with pytest.raises(WiseftError, match=r"glyphs that other typefaces have too: face/b"):
        module.Web(twins, settings, captions, 32)


def test_a_model_that_cannot_read_held_out_type_fails_the_stage(run: Run):
    with pytest.raises(WiseftError, match=r"less than pretrain\.min_held_out_accuracy, 100 %"):
        run(min_held_out_accuracy=1.0)


def test_a_panel_shows_every_kind_of_glyph_with_the_captions_that_are_trained_on(
    glyphs, settings, tmp_path: Path
):
    panel = tmp_path / "samples.svg"
    draw_pretrain_samples(glyphs, settings, 32, 0, [panel])
    drawn = panel.read_text()
    assert drawn.count("<image") == 3 * 3 * 10, "three rows a kind, one column a digit"
    for kind in ("pens", "type", "held-out type"):
        assert f"<!-- {kind} -->" in drawn
    for digit, name in enumerate(NAMES):
        assert re.search(rf"(number|digit) ({digit}|{name})\b", drawn)
