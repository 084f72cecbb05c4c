"""The family of timm: classifiers pre-trained on a label set (the paper's JFT case, C.7.2).

There is no text tower: the head of theta_0 is made of the classifier's rows. An architecture is
`{"family": "timm", "model": name, "embed_dim": d, "normalise": false, "image_size": S,
"classifier": "head", "num_classes": n, "options": {...}}` with `label_set`, a name that timm knows,
or `labels`, a list of n ids.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from wiseft.errors import WiseftError
from wiseft.models.towers import IMAGE, ZeroShotModel, explained, prefixed, seeded, with_prefix

IMAGE_NAMES = ("", IMAGE)
_CROP_MODES = {"center": "shortest", "squash": "squash"}
"""How timm calls what is done to an image that is not square."""


class TimmModel(ZeroShotModel):
    """An image tower of timm beside the classifier that it was pre-trained with."""

    normalise = False

    def __init__(self, architecture: Mapping[str, Any], image: nn.Module):
        super().__init__(architecture, image, image)
        self.classifier = nn.Linear(
            int(architecture["embed_dim"]), int(architecture["num_classes"])
        ).to(self.device)

    @property
    def logit_scale(self) -> Tensor:
        """Zero: the classifier's rows have their scale in them."""
        return torch.zeros((), device=self.device)

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Raise WiseftError: there is no text tower."""
        raise _no_text(self.architecture)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Raise WiseftError: there is no text tower."""
        raise _no_text(self.architecture)

    def tensors(self) -> dict[str, Tensor]:
        """Return the floating tensors of image tower and classifier by timm's names."""
        own = self.classifier.state_dict()
        name = self.architecture["classifier"]
        return super().tensors() | with_prefix(own, f"{name}.")

    def load(self, weights: Mapping[str, Tensor], where: str, share: bool = False) -> None:
        """Put weights in place, the classifier's included. Raises as every family does."""
        super().load(weights, where, share)
        own = prefixed(weights, f"{self.architecture['classifier']}.")
        self.classifier.load_state_dict(own)


def build(architecture: Mapping[str, Any], seed: int | None = None) -> TimmModel:
    """Return a model in eval mode, with random weights drawn from `seed`.

    Raises:
        WiseftError: if timm cannot build it.
    """
    with seeded(seed):
        return TimmModel(architecture, _create(architecture).eval())


def build_image(architecture: Mapping[str, Any], seed: int | None = None) -> nn.Module:
    """Return the image tower alone. Raises as `build` does."""
    with seeded(seed):
        return _create(architecture)


def image_size(architecture: Mapping[str, Any]) -> int:
    """Return the edge in pixels of the images that the model was trained on."""
    return int(architecture["image_size"])


def classifier_names(architecture: Mapping[str, Any]) -> tuple[str, str]:
    """Return the names of the classifier's weight (n, width) and bias (n)."""
    name = architecture["classifier"]
    return f"{name}.weight", f"{name}.bias"


def labels(architecture: Mapping[str, Any]) -> list[str]:
    """Return the ids of the classes that the classifier was pre-trained on, n of them.

    Raises:
        WiseftError: if they are unknown, or not n.
    """
    ids: list[str] | None = architecture.get("labels")
    if ids is None and (name := architecture.get("label_set")):
        from timm.data import ImageNetInfo

        ids = list(ImageNetInfo(name).label_names())
    expected = architecture["num_classes"]
    if ids is None or len(ids) != expected:
        raise WiseftError(
            f"the classifier of {architecture['model']} has {expected} classes, but "
            f"{'no ids' if ids is None else f'{len(ids)} ids'} of them are known; list them "
            "in a file and give it as `labels`"
        )
    return ids


def describe(
    name: str,
    *,
    num_classes: int | None = None,
    ids: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the architecture of a timm model.

    Args:
        name: such as `vit_base_patch16_224` or, with a tag, `vit_base_patch16_224.augreg_in21k`.
        num_classes: of the classifier; None: as the tag says.
        ids: of these classes; None: of the ImageNet label set that has so many, if there is one.
        options: of timm's `create_model`.

    Raises:
        WiseftError: if there is no such model, or no one linear classifier in it.
    """
    from timm.data import infer_imagenet_subset
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(name)
    classes = num_classes or (config.num_classes if config else 0)
    draft: dict[str, Any] = {"model": name, "options": dict(options or {})}
    with torch.device("meta"):  # only its shape is asked for
        model = cast(Any, _create(draft))
    classifier = model.default_cfg.get("classifier")
    if not isinstance(classifier, str) or not classes:
        raise WiseftError(
            f"timm's {name} has the classifier {classifier} with {classes} classes; a model with "
            "one linear classifier is needed"
        )
    usual = config.input_size if config else model.default_cfg["input_size"]  # that of the tag
    size = draft["options"].get("img_size") or usual
    described = {
        "family": "timm",
        "model": name.split(".")[0],
        "embed_dim": int(model.head_hidden_size),
        "normalise": False,
        "image_size": int(size if isinstance(size, int) else size[-1]),
        "classifier": classifier,
        "num_classes": int(classes),
        "options": draft["options"],
    }
    if ids is not None:
        return described | {"labels": list(ids)}
    known = infer_imagenet_subset({"num_classes": classes})
    return described | ({"label_set": known} if known else {})


def at_size(architecture: Mapping[str, Any], size: int) -> dict[str, Any]:
    """Return an architecture for images of another edge, in pixels; where the tower takes one size
    alone, as vision transformers do (but for `dynamic_img_size`), as it is.
    """
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(architecture["model"])
    fixed = config is None or config.fixed_input_size
    fixed = fixed and not architecture["options"].get("dynamic_img_size")
    return {**architecture} if fixed else {**architecture, "image_size": size}


def preprocessing(pretrained_cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of `Preprocessing` that timm evaluates a model with.

    Args:
        pretrained_cfg: timm's configuration of the weights.

    Raises:
        WiseftError: if its crop mode is not modelled.
    """
    from timm.data import resolve_data_config

    config = resolve_data_config({}, pretrained_cfg=dict(pretrained_cfg))
    size, mode = int(config["input_size"][-1]), config["crop_mode"]
    if mode not in _CROP_MODES:
        raise WiseftError(f"crop_mode is {mode}, but must be one of {', '.join(_CROP_MODES)}")
    return {
        "size": size,
        "mean": list(config["mean"]),
        "std": list(config["std"]),
        "resize_mode": _CROP_MODES[mode],
        "interpolation": config["interpolation"],
        "resize_size": math.floor(size / config["crop_pct"]),
    }


def _create(architecture: Mapping[str, Any]) -> nn.Module:
    import timm

    name = architecture["model"].split(".")[0]
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        raise WiseftError(f"timm has no model {name}; near: {', '.join(near) or 'none'}")
    options = architecture.get("options", {})
    if "checkpoint_path" in options:
        raise WiseftError(f"the options of {name} name a checkpoint_path; weights come from a file")
    with explained(f"timm cannot build {name}", "check its options"):
        return timm.create_model(name, pretrained=False, num_classes=0, **options)


def _no_text(architecture: Mapping[str, Any]) -> WiseftError:
    return WiseftError(
        f"{architecture['model']} has no text tower; its head is made of the classifier's rows, "
        "by the ids of the classes"
    )
