"""The family of SigLIP, by transformers' SiglipModel: SigLIP, and SigLIP 2 of one resolution.

An architecture is `{"family": "siglip", "embed_dim": d, "config": {...SiglipConfig...}}` and, for
prompts, `tokenizer: {"files": ...}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn

from wiseft.models.towers import explained
from wiseft.models.towers.align_models import IMAGE_NAMES as IMAGE_NAMES
from wiseft.models.towers.align_models import Align, built, transformers_library, without_volatile


class Siglip(Align):
    """SigLIP; `module` is transformers' SiglipModel."""

    @property
    def logit_scale(self) -> Tensor:
        """The logarithm of what cosines are multiplied by."""
        return cast(Tensor, self.module.logit_scale).reshape(())

    @property
    def logit_bias(self) -> Tensor:
        """What is added to every logit before the sigmoid."""
        return cast(Tensor, self.module.logit_bias).reshape(())

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Return int64 (n, context length). Raises as of ALIGN."""
        text = cast(Any, self.module).config.text_config
        return self._tokens(prompts, text.max_position_embeddings, pad=-1)

    def lengths(self, tokens: Tensor) -> None:  # type: ignore[override]
        """Return None: what fills up a row is read too."""

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Map int64 (n, context length) to features (n, width)."""
        mask, tokenizer = None, self._tokenizer
        if "attention_mask" in tokenizer.model_input_names:  # those that Google gave have none
            padding = tokens == tokenizer.pad_token_id
            if tokenizer.pad_token_id == tokenizer.eos_token_id:
                padding &= padding.cumsum(dim=-1) > 1
            mask = (~padding).long()
        text = cast(Any, self.module).text_model(input_ids=tokens, attention_mask=mask)
        return cast(Tensor, text.pooler_output)


def build(architecture: Mapping[str, Any], seed: int | None = None) -> Siglip:
    """Return a model in eval mode, with random weights drawn from `seed`.

    Raises:
        WiseftError: if transformers is not installed or cannot build a model from the config.
    """
    return Siglip(architecture, built("Siglip", architecture, seed))


def build_image(architecture: Mapping[str, Any], seed: int | None = None) -> nn.Module:
    """Return the image tower alone. Raises as `build` does."""
    return build(architecture, seed).image


def image_size(architecture: Mapping[str, Any]) -> int:
    """Return the edge in pixels of the images that the tower reads."""
    return int(architecture["config"].get("vision_config", {}).get("image_size", 224))


def describe(config: Mapping[str, Any], tokenizer: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the architecture of a `config.json` and, if there is one, of a packed tokenizer.

    Raises:
        WiseftError: if transformers is not installed or does not take the config.
    """
    plain, library = without_volatile(config), transformers_library("SigLIP")
    with explained(
        "transformers takes no such config of SigLIP", "compare it with the model's own"
    ):
        width = library.SiglipConfig(**plain).vision_config.hidden_size
    described: dict[str, Any] = {"family": "siglip", "embed_dim": int(width), "config": plain}
    return described | ({"tokenizer": {"files": dict(tokenizer)}} if tokenizer else {})
