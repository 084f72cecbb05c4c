"""Image classifiers of transformers: all that AutoModelForImageClassification loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from wiseft.foreign import processors
from wiseft.foreign.forms import Described
from wiseft.models.towers import transformers_models
from wiseft.thetas.tensor_views import floating


def describe(config: Mapping[str, Any], files: Mapping[str, Path], where: str) -> Described:
    """Return the architecture, and what a processor's file says."""
    said = processors.preprocessing_in(files, str(config.get("model_type")))
    return transformers_models.describe(config), said


def module_names(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the name that each floating tensor of the module has among some, which may be named as
    in its files.

    Raises:
        WiseftError: if it is no model of this configuration.
    """
    classes = len(config.get("id2label") or {}) or 2
    architecture = transformers_models.model_of(config)
    return transformers_models.names_in(architecture, floating(tensors), classes)[0]
