"""The captions of the rendered "web": template x noun x name x a phrase that is true."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from wiseft.study.pretrain.style import PHRASES

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NOUNS = ("number", "digit")
TEMPLATES = (
    "a photo of the {noun} {c}",
    "a picture of the {noun} {c}",
    "an image of the {noun} {c}",
    "a drawing of the {noun} {c}",
    "a scan of the {noun} {c}",
    "a sign with the {noun} {c}",
    "the {noun} {c}",
    "{noun} {c}",
)


class CaptionTable:
    """All captions, tokenised once: int64 (digits, variants, phrases + 1, context length)."""

    def __init__(self, tokenizer: Callable[[list[str]], Tensor]):
        texts = [
            f"{template.format(noun=noun, c=name)} {phrase}".rstrip()
            for digit in range(10)
            for template in TEMPLATES
            for noun in NOUNS
            for name in (str(digit), NAMES[digit])
            for phrase in ("", *PHRASES)
        ]
        tokens = tokenizer(texts)
        self.tokens = tokens.view(10, -1, len(PHRASES) + 1, tokens.shape[-1])

    def bare(self) -> Tensor:
        """Return one plain caption a digit: int64 (10, context length)."""
        return self.tokens[:, 0, 0]

    def draw(self, digits: Tensor, attributes: Tensor, generator: torch.Generator) -> Tensor:
        """Draw one caption an image: half of them bare, half with a true phrase.

        Args:
            digits: int64 (n,).
            attributes: bool (n, len(PHRASES)): what is true of each image.

        Returns:
            Tokens, int64 (n, context length).
        """
        n = len(digits)
        weights = attributes.float()
        bare = torch.rand(n, generator=generator) < 0.5
        bare |= ~attributes.any(1)
        weights[bare] = 1.0  # any draw will do, it is not used
        phrase = torch.multinomial(weights, 1, generator=generator).squeeze(1) + 1
        phrase[bare] = 0
        variant = torch.randint(self.tokens.shape[1], (n,), generator=generator)
        return self.tokens[digits, variant, phrase]
