"""Tiny random models of every kind of tower."""

from __future__ import annotations

import copy
from typing import Any

from tools.rehearsal.tiny import RESNET, VIT, align, word_pieces, write_word_pieces

from wiseft.models.towers import timm_models

__all__ = ["RESNET", "VIT", "align", "word_pieces", "write_word_pieces"]

TEXT = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
PREPROCESSING = {"size": 32, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}


def clip(image: dict[str, Any] = VIT, **more: Any) -> dict[str, Any]:
    """Return a CLIP with a causal text tower that pools at the end token."""
    return copy.deepcopy({"embed_dim": 16, "vision_cfg": image, "text_cfg": TEXT} | more)


def custom(**text: Any) -> dict[str, Any]:
    """Return a CLIP whose text tower is a module of its own."""
    return clip(text_cfg=TEXT | text, custom_text=True)


def siglip() -> dict[str, Any]:
    """Return a model that is built like SigLIP: no causal mask, last token, a bias, a tokenizer."""
    text = {"hf_tokenizer_name": "some/name", "tokenizer_kwargs": {"clean": "canonicalize"}}
    text |= {"no_causal_mask": True, "pool_type": "last", "proj_bias": True, "vocab_size": 100}
    packed = {"tokenizer": {"files": word_pieces()}}
    return custom(**text) | {"init_logit_bias": -10} | packed


def coca() -> dict[str, Any]:
    """Return a CoCa: its text tower appends a token and pools there."""
    decoder = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    pool = {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    return custom(embed_cls=True, output_tokens=True) | {
        "vision_cfg": VIT | pool,
        "multimodal_cfg": decoder | {"attn_pooler_heads": 2},
    }


def hf_text() -> dict[str, Any]:
    """Return a CLIP whose text tower is one of transformers."""
    config = {
        "model_type": "roberta",
        "architectures": ["RobertaModel"],
        "vocab_size": 100,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 40,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "type_vocab_size": 1,
    }
    text = {
        "hf_model_name": "some/name",
        "hf_tokenizer_name": "some/name",
        "hf_pooler_type": "mean_pooler",
        "hf_proj_type": "mlp",
        "context_length": 20,
        "hf_config": config,
    }
    return clip(text_cfg=text) | {"tokenizer": {"files": word_pieces()}}


def timm(classes: int = 6, ids: list[str] | None = None) -> dict[str, Any]:
    """Return a tiny vision transformer of timm with a classifier."""
    size = {"img_size": 32, "embed_dim": 16, "depth": 1, "num_heads": 2}
    ids = ids or [f"n{index:08d}" for index in range(classes)]
    name = "vit_tiny_patch16_224"
    return timm_models.describe(name, num_classes=classes, ids=ids, options=size)


CAUSAL = {
    "clip": clip,
    "resnet": lambda: clip(RESNET),
    "custom-argmax": custom,
    "custom-eos": lambda: custom(pool_type="eos", eos_id=49407),
}
"""Prompts may be cut to their length."""

FULL = {
    "custom-last": lambda: custom(pool_type="last"),
    "not-causal": lambda: custom(no_causal_mask=True),
    "siglip": siglip,
    "coca": coca,
    "hf-text": hf_text,
}
"""The whole context has to be seen."""

OPEN_CLIP = CAUSAL | FULL
WITH_TEXT = OPEN_CLIP | {"align": align}
