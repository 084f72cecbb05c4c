"""Models of timm, as timm saves them for its hub."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wiseft.errors import WiseftError
from wiseft.foreign.forms import Described
from wiseft.models import towers
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


def check(config: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuse tensors that timm cannot load into the model that the configuration describes.

    timm loads them without values. What cannot be built here is not checked: a model of another
    version, or one that does not go without values.
    """
    import timm

    said = (config.get(key) for key in ("model_args", "pretrained_cfg"))
    options, pretrained = ({**each} if isinstance(each, Mapping) else {} for each in said)
    numbers = {"num_classes": config.get("num_classes") or pretrained.get("num_classes")}
    numbers |= {"input_size": pretrained.get("input_size")}
    # With these timm takes the tensors, whatever places of weights it knows.
    overlay = {"source": "", "state_dict": {k: v.to("meta") for k, v in tensors.items()}}
    overlay |= {key: value for key, value in numbers.items() if value}
    name = str(config["architecture"]).split(".")[0]
    if not timm.is_model(name) or options.keys() & signature(timm.create_model).parameters.keys():
        return
    try:
        with towers.for_weights(options, tensors), torch.device("meta"):
            timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except WiseftError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        if error.__cause__ is None or reason.startswith("Error(s) in loading"):
            raise WiseftError(
                f"{where} has tensors that timm does not load into the model of its config.json "
                f"({reason[:200]}); correct architecture and model_args there"
            ) from None
