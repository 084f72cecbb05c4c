"""A panel of what pre-training sees: digits or icons with the captions that go with them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
from numpy.typing import NDArray

from wiseft.study.config import PretrainSettings
from wiseft.study.data.samples import draw_panel
from wiseft.study.pretrain.glyphs import Glyphs
from wiseft.study.pretrain.icons import Icons
from wiseft.study.pretrain.pretrain import source_of

_ROWS = 3  # of each kind of glyph
_WIDTH = 17  # letters in a line of a caption
_CONTEXT = 77  # CLIP's; captions are shorter than any


def draw_pretrain_samples(
    glyphs: Glyphs | Icons,
    settings: PretrainSettings,
    size: int,
    seed: int,
    outputs: Sequence[Path],
) -> None:
    """Draw pen strokes, type and held-out type, one column a digit, or icons in one colour and in
    several, each image over its caption.

    The captions are decoded from the tokens that the text tower gets, so that a wrong one shows.

    Args:
        size: side of the images in pixels.
        seed: draws glyphs, styles and captions.
        outputs: files whose suffixes say the format: .pdf, .png or .svg.
    """
    tokenizer = open_clip.SimpleTokenizer(context_length=_CONTEXT)
    web = source_of(glyphs, settings, size, _CONTEXT)
    labels: list[str] = []
    titles: list[list[str]] = []
    rows: list[NDArray[np.uint8]] = []
    for kind in [kind for kind, pool in web.pools.items() if len(pool)]:
        for row in range(_ROWS):
            batch = web.one_of_each(kind, seed * 1000 + len(rows))
            words = [tokenizer.decode(tokens[tokens > 0].tolist()) for tokens in batch.captions]
            bare = [
                text.removeprefix("<start_of_text>").split("<end_of_text>")[0] for text in words
            ]
            labels.append(kind if row == 0 else "")
            titles.append([textwrap.fill(text, _WIDTH) for text in bare])
            pixels = (batch.images.permute(0, 2, 3, 1) * 255).round().numpy().astype(np.uint8)
            rows.append(pixels)
    draw_panel(labels, titles, rows, outputs, shared=False)
