"""CLIPModel of transformers, whose architecture is one of open_clip's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wiseft.base.io import read_object
from wiseft.errors import WiseftError
from wiseft.foreign import processors
from wiseft.foreign.forms import Described
from wiseft.foreign.forms.open_clip import with_tokenizer
from wiseft.thetas.preprocessing import CLIP_PIXELS

log = logging.getLogger(__name__)

_USUAL = read_object(Path(__file__).with_suffix(".json"))
"""Values of transformers: a config.json may leave out what is like them."""
_EPS = 1e-5


def describe(config: Mapping[str, Any], files: Mapping[str, Path], where: str) -> Described:
    """Return the architecture with its tokenizer, and what a processor's file says; CLIP's mean and
    std without one, which is said.
    """
    architecture = with_tokenizer(architecture_of(config), files)
    if said := processors.preprocessing_in(files):
        return architecture, said
    log.info("note: there is no preprocessor_config.json; images are prepared as for OpenAI's CLIP")
    return architecture, dict(CLIP_PIXELS)


def architecture_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the open_clip architecture of a `config.json` of CLIPModel.

    Raises:
        WiseftError: if it is the config of another model, or the towers differ in what open_clip
            has in common for both.
    """
    if config.get("model_type") != "clip":
        raise WiseftError(
            f"the folder's config.json is of the model type {config.get('model_type')}, but must "
            "be of clip (CLIPModel)"
        )
    text = _USUAL["text_config"] | dict(config.get("text_config") or {})
    vision = _USUAL["vision_config"] | dict(config.get("vision_config") or {})
    activations = {text["hidden_act"], vision["hidden_act"]}
    if len(activations) != 1 or not activations <= {"gelu", "quick_gelu"}:
        raise WiseftError(
            f"the towers have the activations {', '.join(sorted(activations))}; gelu or "
            "quick_gelu in both is supported"
        )
    architecture: dict[str, Any] = {
        "embed_dim": int(config.get("projection_dim", 512)),
        "vision_cfg": _tower(vision)
        | {
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "head_width": vision["hidden_size"] // vision["num_attention_heads"],
        },
        "text_cfg": _tower(text)
        | {
            "context_length": text["max_position_embeddings"],
            "vocab_size": text["vocab_size"],
            "heads": text["num_attention_heads"],
        },
    }
    if (end := text["eos_token_id"]) not in (2, text["vocab_size"] - 1):
        # transformers pools at that token; by 2 it means the highest number, as open_clip does.
        architecture["text_cfg"] |= {"pool_type": "eos", "eos_id": end}
    if activations == {"quick_gelu"}:
        architecture["quick_gelu"] = True
    return architecture


def _tower(config: Mapping[str, Any]) -> dict[str, Any]:
    tower: dict[str, Any] = {"layers": config["num_hidden_layers"], "width": config["hidden_size"]}
    if (ratio := config["intermediate_size"] / config["hidden_size"]) != 4.0:
        tower["mlp_ratio"] = ratio
    if config["layer_norm_eps"] != _EPS:
        tower["norm_kwargs"] = {"eps": config["layer_norm_eps"]}
    return tower
