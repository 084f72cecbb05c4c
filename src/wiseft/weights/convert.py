"""From a checkpoint's names to those of a family, and from a folder to its architecture."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wiseft import towers
from wiseft.errors import WiseftError
from wiseft.io import read_json
from wiseft.towers import align_models, open_clip_models, timm_models, tokenizers
from wiseft.weights import huggingface
from wiseft.weights.formats import Checkpoint, read_checkpoint

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
_CLIP_VOCABULARY = 49408


def family_tensors(found: Checkpoint, architecture: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return a checkpoint's floating tensors, in fp32, under the names of a family.

    A CLIPModel of transformers, a text tower at the top where open_clip has a module for it, and
    a scale in a vector of one are brought into open_clip's form.

    Raises:
        WiseftError: if they are not exactly the tensors of the architecture; lists those that are
            missing, unexpected and of another shape.
    """
    tensors = dict(found.tensors)
    if towers.family(architecture) == "open_clip":
        tensors = _open_clip_names(tensors, architecture)
    tensors = {key: value.float() for key, value in towers.floating(tensors).items()}
    expected = towers.build(architecture, seed=0).tensors()
    for name in ("logit_scale", "logit_bias", "temperature"):
        if name in tensors and name in expected and tensors[name].numel() == 1:
            tensors[name] = tensors[name].reshape(expected[name].shape)
    towers.check_fit(expected, tensors, str(found.path))
    return tensors


def _open_clip_names(
    tensors: dict[str, Tensor], architecture: Mapping[str, Any]
) -> dict[str, Tensor]:
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    if huggingface.is_clip(tensors):
        tensors = huggingface.to_open_clip(tensors)
    if any(key.startswith("image_encoder.model.patch_e") for key in tensors):  # MobileCLIP's own
        tensors = convert_state_dict(
            open_clip_models.open_clip_model(architecture, seed=0), tensors
        )
    custom = architecture.get("custom_text") or architecture["text_cfg"].get("hf_model_name")
    if custom and "positional_embedding" in tensors:
        tensors = convert_to_custom_text_state_dict(tensors)
    return tensors


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuse weights with a NaN or an infinity.

    Raises:
        WiseftError: naming the tensor.
    """
    for key, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise WiseftError(f"{where}: tensor {key} holds a NaN or an infinity")


def folder_architecture(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the architecture that the configuration of a folder describes, tokenizer included.

    Args:
        folder: of transformers (CLIPModel, AlignModel), open_clip or timm.
        config: the content of its configuration.

    Raises:
        WiseftError: if it describes none of these.
    """
    if "model_cfg" in config:
        return with_tokenizer(dict(config["model_cfg"]), folder)
    if config.get("model_type") == "align":
        return align_models.describe(config, pack_tokenizer(folder))
    if config.get("model_type") == "clip":
        return with_tokenizer(huggingface.architecture_of(config), folder)
    if "pretrained_cfg" in config and "architecture" in config:
        about = config["pretrained_cfg"]
        return timm_models.describe(
            str(config["architecture"]),
            num_classes=config.get("num_classes") or about.get("num_classes"),
            ids=config.get("label_names") or about.get("label_names"),
            options=config.get("model_args") or {},
        )
    raise WiseftError(
        f"{folder}: its configuration is none of CLIPModel or AlignModel of transformers, of "
        "open_clip, or of timm; give a file of weights and its architecture instead"
    )


def folder_preprocessing(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of `wiseft.config.Preprocessing` that a folder's files say.

    Raises:
        WiseftError: if they say what is not modelled.
    """
    if "preprocess_cfg" in config:
        return open_clip_models.preprocessing(config["preprocess_cfg"])
    if "pretrained_cfg" in config:
        return timm_models.preprocessing(config["pretrained_cfg"])
    file = folder / "preprocessor_config.json"
    return huggingface.preprocessing(read_json(file)) if file.is_file() else {}


def with_tokenizer(architecture: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return an open_clip architecture with the tokenizer of a folder, if it has one of its own.

    CLIP's own tokenizer comes with open_clip and needs no files.
    """
    text = architecture["text_cfg"]
    needs = text.get("hf_tokenizer_name") or text.get("vocab_size") != _CLIP_VOCABULARY
    if needs and (packed := pack_tokenizer(folder)):
        return architecture | {"tokenizer": {"files": packed}}
    return architecture


def pack_tokenizer(folder: Path) -> dict[str, str] | None:
    """Return the packed files of a folder's tokenizer; None if there is none."""
    present = [name for name in TOKENIZER_FILES if (folder / name).is_file()]
    if not present:
        return None
    with tempfile.TemporaryDirectory() as name:
        for file in present:
            shutil.copyfile(folder / file, Path(name) / file)
        return tokenizers.pack(Path(name))


def read_folder(folder: Path) -> tuple[Checkpoint, dict[str, Any], dict[str, Any]]:
    """Return checkpoint, architecture and preprocessing of a folder.

    Raises:
        WiseftError: as `read_checkpoint` and `folder_architecture`.
    """
    found = read_checkpoint(folder)
    architecture = folder_architecture(folder, found.config)
    return found, architecture, folder_preprocessing(folder, found.config)
