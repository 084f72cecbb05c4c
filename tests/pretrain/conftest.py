"""A pre-training that takes a second: a few glyphs and a tiny CLIP."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from wiseft.study.config import PretrainSettings
from wiseft.study.pretrain.glyphs import PEN_FAMILY, Glyphs
from wiseft.study.pretrain.pens import draw_pen_glyph


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def glyphs() -> Glyphs:
    """Forty pen glyphs, the second half of them posing as two typefaces."""
    rng = np.random.default_rng(0)
    digits = np.arange(40) % 10
    masks = np.stack([draw_pen_glyph(int(digit), 24, rng) for digit in digits])
    names = ("face/a", "face/b", PEN_FAMILY)
    families = np.repeat([2, 0, 1], [20, 10, 10]).astype(np.int32)
    return Glyphs(masks, digits.astype(np.uint8), families, names)


@pytest.fixture(scope="session")
def architecture() -> dict[str, Any]:
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}
    text = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    return {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}


@pytest.fixture(scope="session")
def preprocessing() -> dict[str, Any]:
    return {"size": 32, "mean": [0.5] * 3, "std": [0.25] * 3}


@pytest.fixture
def settings() -> PretrainSettings:
    return PretrainSettings(
        steps=7,
        batch_size=12,
        glyph_size=24,
        pen_glyphs=20,
        held_out_families=["face/b"],
        checkpoint_every=2,
    )
