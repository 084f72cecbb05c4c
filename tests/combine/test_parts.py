"""Parts of a model: every tensor of the towers that we build has one, and blocks go by depth."""

from __future__ import annotations

from collections import Counter

import pytest
import timm
import torch

from wiseft.combine.parts import parts_of
from wiseft.models import towers

TEXT = {"context_length": 8, "vocab_size": 50, "width": 8, "heads": 2, "layers": 1}
VIT = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": TEXT,
}
RESNET = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": [2, 1, 1, 1], "width": 8, "patch_size": None},
    "text_cfg": TEXT,
}
TIMM = {
    "embed_dim": 8,
    "vision_cfg": {
        "image_size": 32,
        "timm_model_name": "test_vit",
        "timm_model_pretrained": False,
        "timm_pool": "",
        "timm_proj": "linear",
    },
    "text_cfg": TEXT,
}


def names_of(architecture: dict) -> list[str]:
    state = towers.build_image(architecture, seed=0).state_dict()
    image = [f"image.{name}" for name, tensor in state.items() if tensor.is_floating_point()]
    return [*image, "head.weight", "head.bias"]


def test_vision_transformer_by_depth() -> None:
    names = names_of(VIT)
    found, blocks = parts_of([*names, "text.transformer.resblocks.0.ln_1.weight"])
    wanted = {
        "image.conv1.weight": "stem",
        "image.class_embedding": "stem",
        "image.ln_pre.bias": "stem",
        "image.transformer.resblocks.0.attn.in_proj_weight": "blocks.0",
        "image.transformer.resblocks.1.mlp.c_fc.weight": "blocks.1",
        "image.transformer.resblocks.2.ln_2.weight": "blocks.2",
        "image.ln_post.weight": "tail",
        "image.proj": "tail",
        "head.bias": "head",
        "text.transformer.resblocks.0.ln_1.weight": "text",
    }
    assert {name: found[name] for name in wanted} == wanted and blocks == 3


def test_blocks_of_a_resnet_count_through_its_stages() -> None:
    found, blocks = parts_of(names_of(RESNET))
    assert found["image.layer1.1.conv1.weight"] == "blocks.1"
    assert found["image.layer2.0.downsample.0.weight"] == "blocks.2"
    assert found["image.layer4.0.bn1.running_var"] == "blocks.4"
    assert found["image.bn3.running_mean"] == "stem"
    assert found["image.attnpool.positional_embedding"] == "tail"
    assert blocks == 5


@pytest.mark.parametrize("architecture", [VIT, RESNET, TIMM])
def test_parts_cover_every_tensor_of_a_tower(architecture: dict) -> None:
    assert None not in parts_of(names_of(architecture))[0].values()


def test_a_name_that_says_nothing_has_no_part() -> None:
    assert parts_of(["image.novel.weight"]) == ({"image.novel.weight": None}, 0)


@pytest.mark.parametrize(
    ("first", "block", "last"),
    [
        ("model.embed_tokens.weight", "model.layers.{}.mlp.up_proj.weight", "lm_head.weight"),
        ("transformer.wte.weight", "transformer.h.{}.ln_1.bias", "transformer.ln_f.bias"),
        ("bert.embeddings.LayerNorm.bias", "bert.encoder.layer.{}.output.bias", "classifier.bias"),
        ("vit.embeddings.cls_token", "vit.encoder.layer.{}.output.bias", "vit.layernorm.bias"),
    ],
)
def test_models_of_transformers(first: str, block: str, last: str) -> None:
    parts, blocks = parts_of([first, block.format(0), block.format(11), last])
    assert list(parts.values()) == ["stem", "blocks.0", "blocks.1", "tail"] and blocks == 2


@pytest.mark.parametrize(
    ("model", "stem", "tail", "blocks"),
    [
        ("tf_efficientnet_lite0", 6, 6, 16),  # conv_head and its bn2 come after the blocks
        ("vit_base_patch16_224", 4, 2, 12),
        ("convnext_tiny", 4, 2, 18),
        ("resnet50", 6, 0, 16),
        ("vit_base_patch16_siglip_224", 3, 15, 12),
    ],
)
def test_every_tensor_of_timms_models_has_a_part(
    model: str, stem: int, tail: int, blocks: int
) -> None:
    with torch.device("meta"):
        names = timm.create_model(model, num_classes=0).state_dict()
    parts, found = parts_of(f"image.{name}" for name in names)
    counts = Counter(parts.values())
    assert (counts["stem"], counts["tail"], found) == (stem, tail, blocks)
    assert None not in counts
