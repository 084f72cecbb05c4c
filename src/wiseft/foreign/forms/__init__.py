"""Forms of folders, one file each: what its configuration and the files beside it say of a model.

Each has `describe(config, files, where)`, which returns what `wiseft.models.towers` builds the
model from and the keys of `Preprocessing` that are known. A form is imported when a folder has it,
so that a merge of weights takes no library along.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from wiseft.errors import WiseftError

Described = tuple[dict[str, Any], dict[str, Any]]
"""Architecture, tokenizer included, and preprocessing."""


def described(config: Mapping[str, Any], files: Mapping[str, Path], where: str) -> Described:
    """Return what a folder or repository says of its model.

    Args:
        config: the content of its configuration.
        files: beside it, by name.
        where: names it in messages.

    Raises:
        WiseftError: if it is of another library, or says what is not modelled.
    """
    if (form := form_of(config)) is None:
        raise WiseftError(
            f"{where}: its configuration is none of CLIPModel, SiglipModel, AlignModel or an image "
            "classifier of transformers, of open_clip, or of timm; give a file of weights and its "
            "architecture instead"
        )
    found: Described = form.describe(config, files, where)
    return found


def module_names(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the name among some tensors that each tensor of a model's module has, where its
    library saves them under others; else nothing.
    """
    names = getattr(form_of(config), "module_names", None)
    return names(config, tensors) if names else {}


def form_of(config: Mapping[str, Any]) -> ModuleType | None:
    """Return the form of a configuration; None: it is of another library."""
    classes = config.get("architectures")
    if "model_cfg" in config:
        form = "open_clip"
    elif isinstance(classes, list) and str(classes[:1]).endswith("ForImageClassification']"):
        form = "classifier"
    elif config.get("model_type") in ("align", "clip", "siglip"):
        form = "clip" if config["model_type"] == "clip" else "align"
    elif {"pretrained_cfg", "architecture"} <= config.keys():
        form = "timm"
    else:
        return None
    return import_module(f"{__name__}.{form}")
