"""Image classifiers of transformers: all that AutoModelForImageClassification loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wiseft.foreign import processors
from wiseft.foreign.forms import Described
from wiseft.models.towers import transformers_models


def describe(config: Mapping[str, Any], files: Mapping[str, Path], where: str) -> Described:
    """Return the architecture, and what a processor's file says."""
    said = processors.preprocessing_in(files, str(config.get("model_type")))
    return transformers_models.describe(config), said
