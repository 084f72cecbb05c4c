"""Styles and captions: seeded, in range, and true of the image."""

from __future__ import annotations

import open_clip
import pytest
import torch

from wiseft.study.pretrain.style import COLOURS, NAMES, PHRASES, CaptionTable, style


def _styled(glyphs, seed: int, n: int = 400):
    masks = torch.from_numpy(glyphs.masks)[torch.arange(n) % len(glyphs.masks)]
    return style(masks, 32, torch.Generator().manual_seed(seed))


def test_images_are_in_range_and_follow_the_seed(glyphs):
    first, again, other = (_styled(glyphs, seed) for seed in (0, 0, 1))
    assert first.images.shape == (400, 3, 32, 32)
    assert float(first.images.min()) >= 0
    assert float(first.images.max()) <= 1
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)


def test_phrases_are_true_of_the_image(glyphs):
    styled = _styled(glyphs, 2, 2000)
    has = {phrase: styled.attributes[:, i] for i, phrase in enumerate(PHRASES)}
    clean = ~has["noisy"]
    white = has["on a white background"] & has["in black ink"] & clean
    black = has["on a black background"] & has["in white ink"] & clean
    corners = styled.images[:, :, :2, :2].flatten(1).median(1).values
    # Colour jitter and textures stay away from the plain styles, which are the majority here.
    assert float((corners[white] > 0.8).float().mean()) > 0.9
    assert float((corners[black] < 0.2).float().mean()) > 0.9
    for colour in COLOURS:
        both = has[f"on a {colour} background"] & has[f"in {colour} ink"]
        assert not both.any(), f"{colour} on {colour} cannot be read"
    assert not (has["in bold strokes"] & has["in thin strokes"]).any()
    assert not (has["small"] & has["large"]).any()


def test_every_phrase_occurs(glyphs):
    assert _styled(glyphs, 3, 3000).attributes.any(0).all()


@pytest.fixture(scope="module")
def table() -> CaptionTable:
    return CaptionTable(open_clip.SimpleTokenizer(context_length=20))


def test_a_caption_names_its_digit_and_only_true_phrases(table):
    tokenizer = open_clip.SimpleTokenizer(context_length=20)
    digits = torch.arange(10).repeat(30)
    attributes = torch.zeros(300, len(PHRASES), dtype=torch.bool)
    attributes[:, PHRASES.index("noisy")] = True
    attributes[:10] = False
    tokens = table.draw(digits, attributes, torch.Generator().manual_seed(0))
    end = "<end_of_text>"
    texts = [tokenizer.decode(row[row > 0].tolist()).split(end)[0].split() for row in tokens]
    for digit, words in zip(digits.tolist(), texts, strict=True):
        assert {str(digit), NAMES[digit]} & set(words)
    noisy = ["noisy" in words for words in texts]
    assert not any(noisy[:10])
    assert 0.3 < sum(noisy[10:]) / 290 < 0.7
    others = {word for phrase in PHRASES if phrase != "noisy" for word in phrase.split()}
    assert not any((others - {"a", "on", "in"}) & set(words) for words in texts)


def test_no_caption_is_cut(table):
    end = int(table.tokens.max())
    assert (table.tokens == end).any(-1).all()
