"""Small random models of other libraries, saved by them, loaded by them and run by them.

A *family* is a kind of model with the changes of its configuration that no tensor shows. What is
right is never written down here: a library says it, by what it loads and computes.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

Config = dict[str, Any]
Change = tuple[str, Any]
"""A key of a configuration, with dots into objects, and its new value."""


@dataclass(frozen=True)
class Family:
    """A kind of model that a library saves as a folder.

    Attributes:
        save: writes a model with the weights of a seed into a folder.
        load: returns the module that the library makes of a folder.
        compute: returns what a module computes for the input of a seed, as tensors.
        config: name of the configuration's file.
        changes: of the configuration; which of them matter the library says.
    """

    save: Callable[[Path, int], None]
    load: Callable[[Path], Any]
    compute: Callable[[Any, int], list[Any]]
    config: str
    changes: list[Change] = field(default_factory=list)


ABSENT = object()
"""Instead of a value: the key is taken away."""
HARMLESS: list[Change] = [
    ("_name_or_path", "somebody/else"),
    ("transformers_version", "4.30.0"),
    ("use_cache", False),
    ("attention_dropout", 0.1),
    ("initializer_range", 0.5),
    ("architectures", ["Another"]),
    ("x_of_somebody", {"a": 1}),
]
TEXT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT |= {"intermediate_size": 64, "max_position_embeddings": 20}
VISION = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION |= {"intermediate_size": 64, "image_size": 32, "patch_size": 16}
VIT = {"img_size": 32, "embed_dim": 16, "depth": 1, "num_heads": 2}
OPEN_CLIP: Config = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def import_libraries() -> None:
    """Import what saves, loads and runs these models, once for all attacks."""
    import open_clip
    import timm
    import transformers

    names = ["CLIPModel", "CLIPForImageClassification", "ViTForImageClassification", "Dinov2Model"]
    names += ["LlamaForCausalLM", "ResNetForImageClassification", "AutoImageProcessor"]
    names += ["CLIPImageProcessor", "CLIPImageProcessorPil", "ViTImageProcessor"]
    names += ["ViTImageProcessorPil", "ConvNextImageProcessor", "ConvNextImageProcessorPil"]
    assert all(getattr(transformers, name) for name in names)
    assert open_clip.CLIP and timm.models.VisionTransformer


def lively(module: Any, seed: int) -> Any:
    """Return a module with random weights for which inputs make a difference."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            size = 0.3 if parameter.ndim > 1 else 0.1
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def change_config(path: Path, changes: list[Change]) -> None:
    """Change keys of a JSON file."""
    content = json.loads(path.read_text())
    for key, value in changes:
        *outer, last = key.split(".")
        place = content
        for name in outer:
            if not isinstance(place.get(name), dict):
                place[name] = {}
            place = place[name]
        if value is ABSENT:
            place.pop(last, None)
        else:
            place[last] = value
    path.write_text(json.dumps(content))


def some_changes(rng: Random, changes: list[Change]) -> list[Change]:
    """Return one or two of the changes, or harmless ones."""
    pool = HARMLESS if rng.random() < 0.15 else changes
    return rng.sample(pool, min(len(pool), rng.choice([1, 1, 1, 2])))


# ------------------------------------------------------------------------------------ transformers


def _transformers(name: str, config: Callable[[Any], Any], changes: list[Change]) -> Family:
    def save(folder: Path, seed: int) -> None:
        import transformers

        made = getattr(transformers, name)(config(transformers))
        lively(made, seed).save_pretrained(folder)
        if name.startswith("CLIP"):
            size, crop = {"shortest_edge": 32}, {"height": 32, "width": 32}
            transformers.CLIPImageProcessor(size=size, crop_size=crop).save_pretrained(folder)

    def load(folder: Path) -> Any:
        import transformers

        loader = getattr(transformers, name).from_pretrained
        module, notes = loader(folder, dtype="auto", output_loading_info=True)
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            assert not notes[kind], f"{kind}: {notes[kind]}"
        return module.eval()

    return Family(save, load, _compute(name), "config.json", changes)


def _compute(name: str) -> Callable[[Any, int], list[Any]]:
    def compute(module: Any, seed: int) -> list[Any]:
        import torch

        generator = torch.Generator().manual_seed(seed)
        dtype = next(module.parameters()).dtype
        pixels = torch.randn(3, 3, 32, 32, generator=generator).to(dtype)
        tokens = torch.randint(3, 60, (3, 12), generator=generator)
        with torch.inference_mode():
            if name == "LlamaForCausalLM":
                return [module(input_ids=tokens).logits]
            if name == "CLIPModel":
                tokens[:, -1] = module.config.text_config.vocab_size - 1
                tokens[0, 5] = 7
                found = module(input_ids=tokens, pixel_values=pixels)
                return [found.image_embeds, found.text_embeds, found.logits_per_image]
            found = module(pixel_values=pixels)
            return [found.logits if hasattr(found, "logits") else found.last_hidden_state]

    return compute


def _clip(transformers: Any) -> Any:
    return transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=16)


def _labels() -> Config:
    return {
        "id2label": {0: "dog", 1: "cat", 2: "bird"},
        "label2id": {"dog": 0, "cat": 1, "bird": 2},
    }


def _llama(transformers: Any) -> Any:
    more = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    more |= {"num_hidden_layers": 2, "intermediate_size": 48, "vocab_size": 64}
    return transformers.LlamaConfig(**more, max_position_embeddings=64)


_SHARED: list[Change] = [
    ("num_attention_heads", 4),
    ("num_attention_heads", 1),
    ("hidden_act", "relu"),
    ("hidden_act", "gelu_new"),
    ("layer_norm_eps", 0.1),
    ("layer_norm_eps", ABSENT),
]
_CLIP_CHANGES: list[Change] = [
    *((f"vision_config.{key}", value) for key, value in _SHARED),
    *((f"text_config.{key}", value) for key, value in _SHARED),
    ("vision_config.hidden_act", "gelu"),
    ("text_config.eos_token_id", 7),
    ("text_config.eos_token_id", 2),
    ("logit_scale_init_value", 1.0),
    ("projection_dim", ABSENT),
]
_VIT_CHANGES: list[Change] = [*_SHARED, ("id2label", {"0": "x", "1": "y", "2": "z"})]
_DINO_CHANGES: list[Change] = [*_SHARED, ("drop_path_rate", 0.2), ("apply_layernorm", False)]
_LLAMA_CHANGES: list[Change] = [
    ("rope_parameters", {"rope_theta": 1e6, "rope_type": "default"}),
    ("rope_parameters", {"rope_theta": 1e4, "rope_type": "linear", "factor": 4.0}),
    ("rope_theta", 5e5),
    ("rms_norm_eps", 0.1),
    ("hidden_act", "gelu"),
    ("num_attention_heads", 2),
    ("max_position_embeddings", 128),
]
_RESNET_CHANGES: list[Change] = [("hidden_act", "gelu"), ("hidden_act", "tanh")]


# ---------------------------------------------------------------------------------- open_clip, timm


def _save_open_clip(folder: Path, seed: int) -> None:
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    module = lively(open_clip.CLIP(**copy.deepcopy(OPEN_CLIP)), seed)
    state = {key: value.contiguous() for key, value in module.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    pixels = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "size": [32, 32]}
    content = {"model_cfg": OPEN_CLIP, "preprocess_cfg": pixels}
    (folder / "open_clip_config.json").write_text(json.dumps(content))


def load_open_clip(folder: Path) -> Any:
    """Return what open_clip makes of a folder: the module, and the transform of images."""
    import open_clip

    where = f"local-dir:{folder}"
    module, _, transform = open_clip.create_model_and_transforms(where)
    return module.eval(), transform


def _compute_open_clip(module: Any, seed: int) -> list[Any]:
    import torch

    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(3, 3, 32, 32, generator=generator)
    tokens = torch.randint(3, 60, (3, 20), generator=generator)
    tokens[:, 15] = 49407
    with torch.inference_mode():
        return [module.encode_image(pixels), module.encode_text(tokens), module.logit_scale]


def save_timm(folder: Path, seed: int, labels: list[str] | None = None) -> None:
    """Write a classifier as timm does for its hub."""
    import timm

    labels = labels or ["dog", "cat", "bird"]
    module = timm.create_model("vit_tiny_patch16_224", num_classes=len(labels), **VIT)
    pixels = {"mean": [0.5] * 3, "std": [0.25] * 3, "crop_pct": 1.0, "input_size": [3, 32, 32]}
    about: Config = {"label_names": labels, "pretrained_cfg": pixels, "model_args": dict(VIT)}
    timm.models.save_for_hf(lively(module, seed), folder, about, safe_serialization=True)


def load_timm(folder: Path) -> Any:
    """Return the module that timm makes of a folder."""
    import timm

    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


def _compute_timm(module: Any, seed: int) -> list[Any]:
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        return [module(torch.randn(3, 3, 32, 32, generator=generator))]


FAMILIES: Mapping[str, Family] = {
    "CLIPModel": _transformers("CLIPModel", _clip, _CLIP_CHANGES),
    "ViT": _transformers(
        "ViTForImageClassification",
        lambda library: library.ViTConfig(**VISION, **_labels()),
        _VIT_CHANGES,
    ),
    "DINOv2": _transformers(
        "Dinov2Model", lambda library: library.Dinov2Config(**VISION), _DINO_CHANGES
    ),
    "Llama": _transformers("LlamaForCausalLM", _llama, _LLAMA_CHANGES),
    "ResNet": _transformers(
        "ResNetForImageClassification",
        lambda library: library.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **_labels()
        ),
        _RESNET_CHANGES,
    ),
    "open_clip": Family(
        _save_open_clip,
        lambda folder: load_open_clip(folder)[0],
        _compute_open_clip,
        "open_clip_config.json",
        [
            ("model_cfg.quick_gelu", True),
            ("model_cfg.vision_cfg.head_width", 16),
            ("model_cfg.text_cfg.heads", 4),
            ("model_cfg.vision_cfg.norm_kwargs", {"eps": 0.1}),
            ("model_cfg.text_cfg.norm_kwargs", {"eps": 0.1}),
            ("model_cfg.text_cfg.pool_type", "last"),
            ("model_cfg.text_cfg.no_causal_mask", True),
            ("model_cfg.init_logit_scale", 1.0),
            ("model_cfg.vision_cfg.pool_type", "avg"),
        ],
    ),
    "timm": Family(
        save_timm,
        load_timm,
        _compute_timm,
        "config.json",
        [
            ("model_args.num_heads", 4),
            ("model_args.num_heads", 1),
            ("architecture", "deit_tiny_patch16_224"),
            ("model_args.no_embed_class", True),
            ("model_args.drop_path_rate", 0.1),
            ("label_names", ["x", "y", "z"]),
            ("model_args.act_layer", "relu"),
        ],
    ),
}
