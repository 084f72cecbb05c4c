"""The family of ALIGN, by transformers' AlignModel (paper C.7.1; the open replica).

An architecture is `{"family": "align", "embed_dim": d, "config": {...AlignConfig...}}` with, where
prompts are to be read, `tokenizer: {"files": ...}` and `context_length`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn

from wiseft.errors import WiseftError
from wiseft.models.towers import IMAGE, ZeroShotModel, explained, seeded, tokenizers

CONTEXT_LENGTH = 64
"""Tokens that ALIGN reads, as transformers' conversion script sets it."""
IMAGE_NAMES = ("vision_model.", f"{IMAGE}vision_model.")
_VOLATILE = ("transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype")


class AlignImage(nn.Module):
    """ALIGN's image tower: EfficientNet to pooled features."""

    def __init__(self, vision_model: nn.Module):
        super().__init__()
        self.vision_model = vision_model

    def forward(self, pixels: Tensor) -> Tensor:
        """Map normalised pixels (n, 3, S, S) to features (n, width)."""
        return cast(Tensor, self.vision_model(pixel_values=pixels).pooler_output)


class Align(ZeroShotModel):
    """ALIGN; `module` is transformers' AlignModel."""

    def __init__(self, architecture: Mapping[str, Any], module: nn.Module):
        super().__init__(architecture, module, AlignImage(cast(nn.Module, module.vision_model)))

    @property
    def logit_scale(self) -> Tensor:
        """Minus the logarithm of ALIGN's temperature, which cosines are divided by."""
        return -cast(Tensor, self.module.temperature).log()

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Return int64 (n, context length), filled up with the padding token.

        Raises:
            WiseftError: if a prompt is longer, or the weights came without a tokenizer.
        """
        context = self.architecture.get("context_length", CONTEXT_LENGTH)
        return self._tokens(prompts, context, self._pad)

    def _tokens(self, prompts: Sequence[str], context: int, pad: int) -> Tensor:
        tokenizer = self._tokenizer
        tokens = cast(
            Tensor,
            tokenizer(
                list(prompts),
                padding="max_length",
                max_length=context,
                truncation=True,
                return_tensors="pt",
            )["input_ids"],
        )

        def count(prompt: str) -> int:
            return len(tokenizer([prompt], truncation=False)["input_ids"][0])

        tokenizers.refuse_long(prompts, tokens, count, pad)
        return tokens

    def lengths(self, tokens: Tensor) -> Tensor:
        """Return the tokens of every prompt: padding is masked in attention."""
        return (tokens != self._pad).sum(dim=-1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Map int64 (n, length) to features (n, width)."""
        mask = (tokens != self._pad).long()
        module = cast(Any, self.module)
        hidden = module.text_model(input_ids=tokens, attention_mask=mask)[0]
        return cast(Tensor, module.text_projection(hidden[:, 0, :]))

    @functools.cached_property
    def _tokenizer(self) -> Any:
        packed = self.architecture.get("tokenizer")
        if not packed:
            raise WiseftError(
                "the weights came without a tokenizer, so prompts can't be read; make them with "
                "`wiseft weights` from a folder or repository that has one"
            )
        with tokenizers.unpacked(packed["files"]) as folder:
            return tokenizers.load_hf(folder)

    @property
    def _pad(self) -> int:
        return int(cast(Any, self.module).config.text_config.pad_token_id or 0)


def build(architecture: Mapping[str, Any], seed: int | None = None) -> Align:
    """Return a model in eval mode, with random weights drawn from `seed`.

    Raises:
        WiseftError: if transformers is not installed or cannot build a model from the config.
    """
    return Align(architecture, built("Align", architecture, seed))


def built(name: str, architecture: Mapping[str, Any], seed: int | None) -> nn.Module:
    """Return transformers' `<name>Model` of an architecture's config. Raises as `build` does."""
    library = transformers_library(name)
    advice = f"compare the config with one of transformers' own {name}Config"
    with seeded(seed), explained(f"transformers cannot build {name}", advice):
        config = getattr(library, f"{name}Config")(**architecture["config"])
        return cast(nn.Module, getattr(library, f"{name}Model")(config).eval())


def build_image(architecture: Mapping[str, Any], seed: int | None = None) -> nn.Module:
    """Return the image tower alone. Raises as `build` does."""
    return build(architecture, seed).image


def image_size(architecture: Mapping[str, Any]) -> None:
    """Return None: the tower reads images of any size."""


def describe(config: Mapping[str, Any], tokenizer: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the architecture of a `config.json` and, if there is one, of a packed tokenizer.

    Raises:
        WiseftError: if the config is not one of ALIGN.
    """
    if config.get("model_type") != "align":
        raise WiseftError(
            f"expected a config of ALIGN (model_type align), found {config.get('model_type')}"
        )
    plain = without_volatile(config)
    width = transformers_library("ALIGN").AlignConfig(**plain).projection_dim
    described: dict[str, Any] = {"family": "align", "embed_dim": int(width), "config": plain}
    if tokenizer:
        described |= {"tokenizer": {"files": dict(tokenizer)}, "context_length": CONTEXT_LENGTH}
    return described


def without_volatile(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without what depends on who wrote it, and choices of kernels, which may be
    code of the hub.
    """
    return {
        key: without_volatile(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in _VOLATILE and "_implementation" not in str(key)
    }


def transformers_library(model: str) -> Any:
    """Return transformers.

    Raises:
        WiseftError: if it is not installed, which the model needs.
    """
    try:
        import transformers
    except ImportError:
        raise WiseftError(f"{model} {tokenizers.NEEDS_TRANSFORMERS}") from None
    return transformers
