"""AlignModel and SiglipModel of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wiseft.foreign import processors
from wiseft.foreign.forms import Described
from wiseft.foreign.forms.open_clip import pack_tokenizer
from wiseft.models import towers


def describe(config: Mapping[str, Any], files: Mapping[str, Path], where: str) -> Described:
    """Return the architecture with its tokenizer, and what a processor's file says."""
    kind = str(config["model_type"])
    architecture = towers.of_family(kind).describe(config, pack_tokenizer(files))
    return architecture, processors.preprocessing_in(files, kind)
