"""The architecture of open_clip that a file's tensors are of, where there is one alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from wiseft.base.io import read_json
from wiseft.errors import WiseftError
from wiseft.foreign.formats import Checkpoint
from wiseft.foreign.named import near
from wiseft.models import towers


def named_architecture(name: str, root: Path) -> dict[str, Any]:
    """Return the architecture of a name of open_clip or timm, or of a JSON file.

    Raises:
        WiseftError: if there is none; names the nearest.
    """
    import open_clip
    import timm

    if name.endswith(".json"):
        file = Path(name)
        if not file.is_file():
            file = root / "config" / "models" / name
        content: Mapping[str, Any] = read_json(file, "architecture")
        if "family" in content:
            towers.family(content)
            return dict(content)
        return dict(towers.of_family("open_clip").architecture_from_json(file))
    if name in open_clip.list_models():
        config: dict[str, Any] = open_clip.get_model_config(name)
        return config
    if timm.is_model(name.split(".")[0]):
        return dict(towers.of_family("timm").describe(name))
    raise WiseftError(
        f"neither open_clip nor timm has an architecture {name}; near: "
        f"{near(name, [*open_clip.list_models(), *timm.list_models()])}"
    )


_PLAIN = {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio"}
"""Of a vision transformer without further options, which no tensor would show."""


def architecture_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the architecture of a vision transformer of open_clip by the shapes of its tensors.

    Raises:
        WiseftError: if none or several fit; names them.
    """
    fitting = fitting_architectures(checkpoint)
    if len(fitting) == 1:
        return next(iter(fitting.values()))
    found = ", ".join(fitting) or "no plain vision transformer of open_clip"
    hint = ": OpenAI's weights and what was trained from them are quickgelu" if fitting else ""
    raise WiseftError(
        f"{checkpoint.path} does not say its architecture, and its tensors fit {found}{hint}; "
        "give it with --architecture: a name of open_clip or timm, or a JSON file"
    )


def fitting_architectures(checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    """Return the vision transformers of open_clip that a checkpoint's tensors fit, by name.

    OpenAI's archives have QuickGELU; of other files, tensors do not show whether they have. Of an
    image tower alone, one architecture stands for all that differ in their text towers.
    """
    import open_clip

    seen = _shape_of(checkpoint.tensors)
    fitting: dict[str, dict[str, Any]] = {}
    parts: list[dict[str, Any]] = []
    for name in open_clip.list_models() if seen else []:
        config: dict[str, Any] = open_clip.get_model_config(name)
        vision, text = config["vision_cfg"], config["text_cfg"]
        if config.get("custom_text") or not vision.keys() <= _PLAIN or "width" not in text:
            continue
        archive = checkpoint.kind == "torchscript" and not config.get("quick_gelu")
        same = seen["vision_cfg"].items() <= vision.items()
        same &= seen["text_cfg"].items() <= text.items()
        fits = same and not archive and config["embed_dim"] == seen["embed_dim"]
        part = config | {"text_cfg": text if seen["text_cfg"] else {}}
        if fits and part not in parts:
            fitting[name] = config
            parts.append(part)
    return fitting


def architecture_name(architecture: Mapping[str, Any]) -> str:
    """Return the name that open_clip or timm has for an architecture; else its family and width."""
    import open_clip

    if "model" in architecture:
        return str(architecture["model"])
    described = {key: value for key, value in architecture.items() if key != "normalise"}
    for name in open_clip.list_models():
        if open_clip.get_model_config(name) == described:
            return str(name)
    return f"open_clip model of width {architecture['embed_dim']}"


def _shape_of(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return what the tensors of a CLIP with a vision transformer show of its open_clip config; of
    an image tower alone nothing of its text tower; nothing at all where it is none.
    """
    stem = next((key for key in tensors if key.endswith("visual.conv1.weight")), None)
    if stem is None:
        return {}
    visual = stem.removesuffix("conv1.weight")
    before = visual.removesuffix("visual.")
    places = tensors.get(f"{visual}positional_embedding")
    projection = tensors.get(f"{visual}proj")
    if places is None or projection is None:
        return {}
    width, patch = tensors[stem].shape[0], tensors[stem].shape[-1]
    vision = {
        "image_size": patch * round((len(places) - 1) ** 0.5),
        "layers": _blocks(tensors, f"{visual}transformer."),
        "width": width,
        "patch_size": patch,
    }
    text: dict[str, int] = {}
    if layers := _blocks(tensors, f"{before}transformer."):
        vocabulary, width = tensors[f"{before}token_embedding.weight"].shape
        text = {"layers": layers, "width": width, "vocab_size": vocabulary}
        text["context_length"] = len(tensors[f"{before}positional_embedding"])
    return {"embed_dim": projection.shape[1], "vision_cfg": vision, "text_cfg": text}


def _blocks(tensors: Mapping[str, Tensor], prefix: str) -> int:
    pattern = re.compile(re.escape(prefix) + r"resblocks\.(\d+)\.")
    return len({match[1] for key in tensors if (match := pattern.match(key))})
