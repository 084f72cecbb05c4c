"""From a checkpoint's names to those of a family, and from a folder to its architecture."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from wiseft.errors import WiseftError
from wiseft.foreign import huggingface
from wiseft.foreign.formats import Checkpoint, read_checkpoint
from wiseft.foreign.model_folder import needed_files
from wiseft.models import towers
from wiseft.models.towers import align_models, open_clip_models, timm_models, tokenizers

log = logging.getLogger(__name__)

_CLIP_VOCABULARY = 49408


def family_tensors(checkpoint: Checkpoint, architecture: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return a checkpoint's floating tensors, in fp32, under the names of a family.

    A CLIPModel of transformers, a text tower at the top where open_clip has a module for it, and
    a scale in a vector of one are brought into open_clip's form.

    Raises:
        WiseftError: if they are not exactly the tensors of the architecture; lists those that are
            missing, unexpected and of another shape.
    """
    tensors = checkpoint.tensors
    if towers.family(architecture) == "open_clip":
        tensors = _open_clip_names(tensors, architecture)
    tensors = {key: value.float() for key, value in towers.floating(tensors).items()}
    with towers.for_weights(architecture, tensors):
        expected = towers.build(architecture, seed=0).tensors()
    for name in ("logit_scale", "logit_bias", "temperature"):
        if name in tensors and name in expected and tensors[name].numel() == 1:
            tensors[name] = tensors[name].reshape(expected[name].shape)
    towers.check_fit(expected, tensors, str(checkpoint.path))
    return tensors


def in_order(checkpoint: Checkpoint, architecture: Mapping[str, Any]) -> Checkpoint:
    """Return a checkpoint whose floating tensors are called as those of the architecture in the
    same place: that of another program, which calls the same layers otherwise.

    Raises:
        WiseftError: if there are more or fewer, or one has another shape or is of another kind
            (weight, bias, mean, variance) than that in its place; names the first.
    """
    own = towers.floating(checkpoint.tensors)
    expected = towers.build(architecture, seed=0).tensors()
    pairs = zip(own.items(), expected.items(), strict=False)
    for (name, tensor), (wanted, like) in pairs:
        alike = name.rpartition(".")[2] == wanted.rpartition(".")[2]
        if tensor.shape != like.shape or not alike:
            raise WiseftError(
                f"{checkpoint.path} has {name} of shape {tuple(tensor.shape)} where "
                f"{architecture['model']} has {wanted} of shape {tuple(like.shape)}; give the "
                "architecture that it was made with"
            )
    if len(own) != len(expected):
        raise WiseftError(
            f"{checkpoint.path} has {len(own)} tensors, but {architecture['model']} has "
            f"{len(expected)}; give the architecture that it was made with"
        )
    return replace(checkpoint, tensors=dict(zip(expected, own.values(), strict=True)))


def _open_clip_names(
    tensors: Mapping[str, Tensor], architecture: Mapping[str, Any]
) -> Mapping[str, Tensor]:
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    if huggingface.is_clip(tensors):
        tensors = huggingface.to_open_clip(tensors)
    if any(key.startswith("image_encoder.model.patch_e") for key in tensors):  # MobileCLIP's own
        tensors = convert_state_dict(
            open_clip_models.open_clip_model(architecture, seed=0), dict(tensors)
        )
    custom = architecture.get("custom_text") or architecture["text_cfg"].get("hf_model_name")
    if custom and "positional_embedding" in tensors:
        tensors = convert_to_custom_text_state_dict(dict(tensors))
    return tensors


def described_architecture(
    where: str, config: Mapping[str, Any], files: Mapping[str, Path]
) -> dict[str, Any]:
    """Return the architecture that the configuration of a model describes, tokenizer included.

    Args:
        where: names the model in messages.
        config: the content of a configuration of transformers (CLIPModel, AlignModel), open_clip
            or timm.
        files: beside it, by name.

    Raises:
        WiseftError: if it describes none of these.
    """
    if "model_cfg" in config:
        described = open_clip_models.checked_config(config["model_cfg"], where)
        return with_tokenizer(dict(described), files)
    if config.get("model_type") == "align":
        return align_models.describe(config, pack_tokenizer(files))
    if config.get("model_type") == "clip":
        return with_tokenizer(huggingface.architecture_of(config), files)
    if "pretrained_cfg" in config and "architecture" in config:
        pretrained = config["pretrained_cfg"]
        options = {k: v for k, v in (config.get("model_args") or {}).items() if k != "num_classes"}
        described = timm_models.describe(
            str(config["architecture"]),
            num_classes=config.get("num_classes") or pretrained.get("num_classes"),
            ids=config.get("label_names") or pretrained.get("label_names"),
            options=options,
        )
        size = timm_models.preprocessing(pretrained)["size"]
        sized = timm_models.at_size(described, size)
        if sized["image_size"] != size:
            raise WiseftError(
                f"{where}: by its config.json the input_size is {size}, but the model reads images "
                f"of {sized['image_size']} pixels; correct input_size, or img_size in model_args"
            )
        return sized
    raise WiseftError(
        f"{where}: its configuration is none of CLIPModel or AlignModel of transformers, of "
        "open_clip, or of timm; give a file of weights and its architecture instead"
    )


def described_preprocessing(config: Mapping[str, Any], files: Mapping[str, Path]) -> dict[str, Any]:
    """Return the keys of `Preprocessing` that a model's files say.

    A CLIPModel without a `preprocessor_config.json` gets CLIP's mean and std, which is said.

    Raises:
        WiseftError: if they say what is not modelled.
    """
    if "preprocess_cfg" in config:
        return open_clip_models.preprocessing(config["preprocess_cfg"])
    if "pretrained_cfg" in config:
        return timm_models.preprocessing(config["pretrained_cfg"])
    kind, processor = str(config.get("model_type")), huggingface.processor_in(files)
    if processor is None and kind == "clip":
        log.info(
            "note: there is no preprocessor_config.json; images are prepared as for OpenAI's CLIP"
        )
        return dict(huggingface.CLIP_PIXELS)
    return huggingface.preprocessing(processor, kind) if processor is not None else {}


def with_tokenizer(architecture: dict[str, Any], files: Mapping[str, Path]) -> dict[str, Any]:
    """Return an open_clip architecture with the tokenizer among files, if it has one of its own.

    CLIP's own tokenizer comes with open_clip and needs no files.
    """
    text = architecture["text_cfg"]
    needs = text.get("hf_tokenizer_name") or text.get("vocab_size") != _CLIP_VOCABULARY
    if needs and (packed := pack_tokenizer(files)):
        return architecture | {"tokenizer": {"files": packed}}
    return architecture


def pack_tokenizer(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the packed files of a tokenizer; nothing if there is none."""
    return tokenizers.pack(files[name] for name in tokenizers.FILES if name in files)


def read_folder(folder: Path) -> tuple[Checkpoint, dict[str, Any], dict[str, Any]]:
    """Return checkpoint, architecture and preprocessing of a folder.

    Raises:
        WiseftError: as `read_checkpoint` and `described_architecture`.
    """
    checkpoint = read_checkpoint(folder)
    files = needed_files(folder)
    architecture = described_architecture(str(folder), checkpoint.config, files)
    return checkpoint, architecture, described_preprocessing(checkpoint.config, files)
