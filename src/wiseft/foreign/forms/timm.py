"""Models of timm, as timm saves them for its hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wiseft.errors import WiseftError
from wiseft.foreign.forms import Described
from wiseft.models.towers import timm_models


def describe(config: Mapping[str, Any], files: Mapping[str, Path], where: str) -> Described:
    """Return the architecture, and what timm evaluates the weights with.

    Raises:
        WiseftError: if the model reads images of another size than they were trained on.
    """
    pretrained = config["pretrained_cfg"]
    options = {k: v for k, v in (config.get("model_args") or {}).items() if k != "num_classes"}
    architecture = timm_models.describe(
        str(config["architecture"]),
        num_classes=config.get("num_classes") or pretrained.get("num_classes"),
        ids=config.get("label_names") or pretrained.get("label_names"),
        options=options,
    )
    said = timm_models.preprocessing(pretrained)
    sized = timm_models.at_size(architecture, said["size"])
    if sized["image_size"] != said["size"]:
        raise WiseftError(
            f"{where}: by its config.json the input_size is {said['size']}, but the model reads "
            f"images of {sized['image_size']} pixels; correct input_size, or img_size in model_args"
        )
    return sized, said
