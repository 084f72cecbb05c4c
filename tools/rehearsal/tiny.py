"""Tiny towers of the families that are rehearsed, and a tokenizer that is made here."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import transformers

from wiseft.models.towers import align_models, tokenizers

VIT = {"image_size": 32, "patch_size": 16, "layers": 1, "width": 16, "head_width": 8}
RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}
WORDS = ["a", "an", "the", "of", "photo", "blurry", "bright", "on", "paper", "number", "seven"]
WORDS += ["eight", "with", "tail", "bird", ".", ",", "7"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def write_word_pieces(folder: Path) -> None:
    """Write the files of a BERT tokenizer of a few words into a folder."""
    letters = [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    letters += list("abcdefghijklmnopqrstuvwxyz0123456789")
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "vocab.txt").write_text("\n".join([*SPECIAL, *WORDS, *letters]) + "\n")
        transformers.BertTokenizer.from_pretrained(name).save_pretrained(folder)


@cache
def _word_pieces() -> tuple[tuple[str, str], ...]:
    with tempfile.TemporaryDirectory() as name:
        write_word_pieces(Path(name))
        return tuple(tokenizers.pack(Path(name).iterdir()).items())


def word_pieces() -> dict[str, str]:
    """Return a packed BERT tokenizer of a few words."""
    return dict(_word_pieces())


def align() -> dict[str, Any]:
    """Return an ALIGN with a BERT of two layers and an EfficientNet of one block a stage."""
    config = {
        "model_type": "align",
        "projection_dim": 24,
        "temperature_init_value": 0.05,
        "text_config": {
            "vocab_size": 100,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 64,
        },
        "vision_config": {
            "image_size": 32,
            "width_coefficient": 0.25,
            "depth_coefficient": 0.1,
            "kernel_sizes": [3, 3, 5],
            "in_channels": [32, 16, 24],
            "out_channels": [16, 24, 96],
            "strides": [1, 2, 2],
            "num_block_repeats": [1, 1, 1],
            "expand_ratios": [1, 2, 2],
            "hidden_dim": 24,
        },
    }
    tokenizer = word_pieces()
    return align_models.describe(config, tokenizer)
