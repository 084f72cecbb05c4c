"""The family of transformers' image classifiers: whatever its AutoModelForImageClassification knows
whose logits are one linear layer of pooled features. The library's own module is the tower.

An architecture is `{"family": "transformers", "model": class, "embed_dim": d, "normalise": false,
"image_size": S or null, "classifier": name, "config": {...}}`.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from wiseft.errors import WiseftError
from wiseft.models.towers import IMAGE, explained, for_weights, seeded, tokenizers
from wiseft.models.towers.align_models import without_volatile

IMAGE_NAMES = ("model.", f"{IMAGE}model.")
_LABELS = ("id2label", "label2id", "num_labels", "problem_type", "return_dict", "auto_map")
_MOST = 5000
"""Tensors that a model is expected to have, at most."""


class Features(nn.Module):
    """A classifier of transformers without its last layer: normalised pixels to features."""

    def __init__(self, model: nn.Module, classifier: str):
        super().__init__()
        model.set_submodule(classifier, nn.Identity())
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """Map normalised pixels (n, 3, S, S) to features (n, width)."""
        return cast(Tensor, self.model(pixel_values=pixels, return_dict=True).logits)


def build(architecture: Mapping[str, Any], seed: int | None = None) -> Any:
    """Raise WiseftError: there is no text tower."""
    raise WiseftError(f"{architecture['model']} has no text tower that reads prompts")


def build_image(architecture: Mapping[str, Any], seed: int | None = None) -> nn.Module:
    """Return the image tower alone.

    Raises:
        WiseftError: if transformers cannot build it.
    """
    with seeded(seed):
        return Features(_create(architecture), str(architecture["classifier"]))


def image_size(architecture: Mapping[str, Any]) -> int | None:
    """Return the edge in pixels of the images that the tower reads; None for any."""
    return cast("int | None", architecture["image_size"])


def describe(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the architecture of a `config.json` of an image classifier.

    The layer whose output the logits are is found without values, by the model's own forward.

    Raises:
        WiseftError: if transformers knows no such classifier or cannot build it, or its logits are
            not those of one linear layer.
    """
    architecture = model_of(config)
    name = architecture["model"]
    largest = dict.fromkeys(map(str, range(_MOST)), torch.empty(2**21, device="meta"))
    with for_weights(architecture, largest), torch.device("meta"):  # only shapes are asked for
        model = _create(architecture)
    usual = _usual_size(model)
    if (found := _classifier(model, usual)) is None:
        raise WiseftError(
            f"the logits of {name} are not those of one linear layer of an image's features, as is "
            "needed here; `wiseft merge` takes its weights"
        )
    fixed = _classifier(model, 2 * usual) is None
    sized = {"embed_dim": found[1], "image_size": usual if fixed else None}
    return architecture | sized | {"classifier": found[0]}


def model_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a configuration alone says of an architecture. Raises as `describe`."""
    own = {key: value for key, value in without_volatile(config).items() if key not in _LABELS}
    about = {"family": "transformers", "model": str(config["architectures"][0])}
    return about | {"normalise": False, "config": own}


def names_in(
    architecture: Mapping[str, Any], tensors: Mapping[str, Tensor], classes: int
) -> tuple[dict[str, str], list[str]]:
    """Return the tensor that each one of the module is loaded from, and those that none is.

    transformers saves tensors under older names than its modules have. Here it loads tensors that
    are filled with their own numbers.

    Args:
        tensors: floating ones, with no prefix of another program; any dtype and device.
        classes: rows of the classifier.

    Raises:
        WiseftError: if a tensor of the module is not made of one tensor alone.
    """
    names = list(tensors)
    marked = {n: torch.tensor(k + 1.0).expand(tensors[n].shape) for k, n in enumerate(names)}
    kind = _kind(architecture)
    config = copy.deepcopy(architecture["config"]) | {"num_labels": classes}
    what = f"transformers cannot load {architecture['model']}"
    with contextlib.redirect_stderr(io.StringIO()), explained(what, "compare its config.json"):
        model, said = kind.from_pretrained(
            None,
            config=kind.config_class.from_dict(config),
            state_dict=marked,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
        )
    other = {each[0] if isinstance(each, tuple) else each for each in said["mismatched_keys"]}
    found: dict[str, str] = {}
    for name, value in model.state_dict().items():
        if not value.is_floating_point() or name in other | set(said["missing_keys"]):
            continue
        number = int(value.flatten()[0])
        if not (0 < number <= len(names) and bool((value == number).all())):
            raise WiseftError(
                f"transformers makes {name} of {architecture['model']} of several tensors of the "
                "file, which is not followed here; load the model and save its state_dict"
            )
        found[name] = names[number - 1]
    return found, sorted(set(names) - set(found.values()))


def _classifier(model: nn.Module, size: int) -> tuple[str, int] | None:
    """Return the name and width of the linear layer whose output is the logits; None: there is
    none, or the model reads no images of this size.
    """
    seen: list[tuple[str, nn.Linear, Tensor]] = []
    hooks = [
        module.register_forward_hook(lambda m, _, out, name=name: seen.append((name, m, out)))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        pixels = torch.zeros(2, 3, size, size, device="meta")
        logits = cast(Any, model)(pixel_values=pixels, return_dict=True).logits
    except Exception:  # of many kinds, where images of this size do not fit
        return None
    finally:
        for hook in hooks:
            hook.remove()
    return next(((name, m.in_features) for name, m, out in seen if out is logits), None)


def _usual_size(model: nn.Module) -> int:
    config = cast(Any, model).config
    size = getattr(getattr(config, "vision_config", config), "image_size", None) or 224
    return int(size if isinstance(size, int) else size[-1])


def _create(architecture: Mapping[str, Any]) -> nn.Module:
    kind, config = _kind(architecture), copy.deepcopy(architecture["config"])
    with explained(f"transformers cannot build {architecture['model']}", "compare its config.json"):
        return cast(nn.Module, kind(kind.config_class.from_dict(config)).eval())


def _kind(architecture: Mapping[str, Any]) -> Any:
    """Return the class of an image classifier, never other code that a configuration names."""
    try:
        import transformers
        from transformers.models.auto import modeling_auto
    except ImportError:
        raise WiseftError(f"{architecture['model']} {tokenizers.NEEDS_TRANSFORMERS}") from None
    kind = architecture["config"].get("model_type")
    known = modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES.get(kind, ())
    names = known if isinstance(known, tuple) else (known,)
    if architecture["model"] not in names or kind == "timm_wrapper":  # which asks the hub
        raise WiseftError(
            f"transformers has no image classifier {architecture['model']} of the model type {kind}"
            "; compare architectures and model_type in config.json"
        )
    return getattr(transformers, architecture["model"])
