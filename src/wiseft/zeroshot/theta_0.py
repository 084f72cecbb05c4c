"""theta_0: the image tower and the zero-shot head of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from wiseft.classifier import open_clip_model
from wiseft.data.store import open_manifest
from wiseft.errors import WiseftError
from wiseft.io import sha256_file
from wiseft.runtime import check_writable
from wiseft.theta import check_same_tensors, load_weights, make_header, save_theta
from wiseft.zeroshot.head import BATCH_SIZE, build_head

_IMAGE_TOWER = "visual."


def make_theta_0(
    weights: Path,
    manifest: Path,
    templates: Sequence[str],
    output: Path,
    *,
    device: str | torch.device = "cpu",
    batch_size: int = BATCH_SIZE,
) -> str:
    """Write theta_0 for the classes of a dataset and return its SHA-256.

    The head has a bias, as the authors' code has, which is zero here and trained later. The text
    tower is dropped.

    Args:
        weights: the zero-shot model, both towers.
        manifest: of a prepared dataset; only its class names are used.
        templates: sentences with `{c}` where the class name goes.
        output: the theta file.

    Raises:
        WiseftError: if the weights do not fit their own architecture, the architecture has a
            tokenizer other than CLIP's, or a file is missing, broken or can't be written.
    """
    check_writable(output)
    dataset = open_manifest(manifest)
    tensors, raw = load_weights(weights)
    architecture: dict[str, Any] = raw["architecture"]
    tokenizer = _tokenizer(architecture)
    model = load_clip(architecture, tensors, str(weights)).to(device)
    head = build_head(model, tokenizer, dataset.prompt_names, templates, batch_size)
    image = {
        "image." + key.removeprefix(_IMAGE_TOWER): tensor
        for key, tensor in tensors.items()
        if key.startswith(_IMAGE_TOWER)
    }
    header = make_header(
        "zero-shot",
        "zeroshot",
        architecture=architecture,
        preprocessing=raw["preprocessing"],
        class_names=dataset.class_names,
        parents={"weights": sha256_file(weights)},
        seed=raw.get("seed"),
        settings={"templates": list(templates), "prompt_names": dataset.prompt_names},
    )
    theta = image | {"head.weight": head, "head.bias": torch.zeros(len(head))}
    return save_theta(output, theta, header)


def load_clip(
    architecture: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str
) -> nn.Module:
    """Return an open_clip model in eval mode with these weights.

    Raises:
        WiseftError: if the tensors are not exactly the floating ones of the architecture.
    """
    model = open_clip_model(dict(architecture), seed=0)
    expected = {k: v for k, v in model.state_dict().items() if v.is_floating_point()}
    try:
        check_same_tensors(expected, tensors)
    except WiseftError as error:
        raise WiseftError(f"{where} does not fit the architecture in its header: {error}") from None
    model.load_state_dict(dict(tensors), strict=False)
    return model.eval()


def _tokenizer(architecture: Mapping[str, Any]) -> open_clip.SimpleTokenizer:
    text: Mapping[str, Any] = architecture["text_cfg"]
    if text.get("hf_tokenizer_name"):
        raise WiseftError(
            f"the model uses the tokenizer {text['hf_tokenizer_name']}, but only the one of CLIP "
            "is supported; choose a model without hf_tokenizer_name"
        )
    tokenizer = open_clip.SimpleTokenizer(context_length=text.get("context_length", 77))
    vocabulary = text.get("vocab_size", tokenizer.vocab_size)
    if vocabulary < tokenizer.vocab_size:
        raise WiseftError(
            f"the model has {vocabulary} tokens, but CLIP's tokenizer has {tokenizer.vocab_size}; "
            "the text tower is of another tokenizer"
        )
    return tokenizer
