"""Models of open_clip, whose `open_clip_config.json` is what open_clip builds them from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wiseft.foreign import processors
from wiseft.foreign.forms import Described
from wiseft.models.towers import open_clip_models, tokenizers

_CLIP_VOCABULARY = 49408


def describe(config: Mapping[str, Any], files: Mapping[str, Path], where: str) -> Described:
    """Return the architecture, and what the configuration or else a processor's file says.

    Raises:
        WiseftError: if the configuration lacks one of the keys that open_clip needs.
    """
    architecture = open_clip_models.checked_config(config["model_cfg"], where)
    if "preprocess_cfg" in config:
        said = open_clip_models.preprocessing(config["preprocess_cfg"])
    else:
        said = processors.preprocessing_in(files)
    return with_tokenizer(architecture, files), said


def with_tokenizer(architecture: dict[str, Any], files: Mapping[str, Path]) -> dict[str, Any]:
    """Return an architecture with the tokenizer among files, if it has one of its own.

    CLIP's own tokenizer comes with open_clip and needs no files.
    """
    text = architecture["text_cfg"]
    needs = text.get("hf_tokenizer_name") or text.get("vocab_size") != _CLIP_VOCABULARY
    if needs and (packed := pack_tokenizer(files)):
        return architecture | {"tokenizer": {"files": packed}}
    return architecture


def pack_tokenizer(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the packed files of a tokenizer; nothing if there is none."""
    return tokenizers.pack(files[name] for name in tokenizers.FILES if name in files)
