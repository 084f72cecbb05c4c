"""Groups of layers: every tensor is in exactly one, or the message names it."""

from __future__ import annotations

from collections import Counter

import pytest
import timm
import torch
from tests.combine.conftest import random_tensors

from wiseft.combine.linear_combination import combine, ends, interpolate
from wiseft.combine.parts import parts_of
from wiseft.combine.recipes.groups import group_alphas
from wiseft.errors import WiseftError
from wiseft.models import towers

ALL = {"stem": 0.1, "blocks": 0.2, "tail": 0.3, "head": 0.4}
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
    alphas = {"stem": 0.1, "blocks.0": 0.2, "blocks.1-": 0.3, "tail": 0.4, "head": 0.5}
    found = group_alphas(names_of(VIT), alphas)
    wanted = {
        "image.conv1.weight": "0.100",
        "image.class_embedding": "0.100",
        "image.ln_pre.bias": "0.100",
        "image.transformer.resblocks.0.attn.in_proj_weight": "0.200",
        "image.transformer.resblocks.1.mlp.c_fc.weight": "0.300",
        "image.transformer.resblocks.2.ln_2.weight": "0.300",
        "image.ln_post.weight": "0.400",
        "image.proj": "0.400",
        "head.bias": "0.500",
    }
    assert {name: found[name] for name in wanted} == wanted
    assert found.keys() == set(names_of(VIT))


def test_blocks_of_a_resnet_count_through_its_stages() -> None:
    alphas = {"stem": 0, "blocks.0-1": 0.1, "blocks.2-4": 0.2, "tail": 0.3, "head": 0.4}
    found = group_alphas(names_of(RESNET), alphas)
    assert found["image.layer1.1.conv1.weight"] == "0.100"
    assert found["image.layer2.0.downsample.0.weight"] == "0.200"
    assert found["image.layer4.0.bn1.running_var"] == "0.200"
    assert found["image.bn3.running_mean"] == "0.000"
    assert found["image.attnpool.positional_embedding"] == "0.300"


@pytest.mark.parametrize("architecture", [VIT, RESNET, TIMM])
def test_parts_cover_every_tensor_of_a_tower(architecture: dict) -> None:
    names = names_of(architecture)
    assert group_alphas(names, ALL).keys() == set(names)


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


def test_text_tower() -> None:
    names = [*names_of(VIT), "text.transformer.resblocks.0.ln_1.weight", "text.logit_scale"]
    found = group_alphas(names, ALL | {"text": 0.9})
    assert found["text.transformer.resblocks.0.ln_1.weight"] == "0.900"
    with pytest.raises(WiseftError, match=r"tensor text\..* is in none .* such as 'text'"):
        group_alphas(names, ALL)


def test_regular_expressions_match_the_whole_name() -> None:
    alphas = {r"re:.*\.bias": 0.25, r"re:.*(?<!\.bias)": 0.75}
    found = group_alphas(names_of(VIT), alphas)
    assert found["head.bias"] == "0.250"
    assert found["head.weight"] == "0.750"


@pytest.mark.parametrize(
    ("alphas", "message"),
    [
        ({"stem": 0, "blocks": 0, "tail": 0}, "tensor head.weight is in none of the groups"),
        (ALL | {"re:head.*": 0}, "tensor head.weight is in the groups 'head' and 're:head.*'"),
        (ALL | {"blocks.1": 0}, "in the groups 'blocks' and 'blocks.1'"),
        (ALL | {"blocks.3": 0}, "is no range of blocks; there are 3, from 0"),
        (ALL | {"blocks.3-": 0}, "is no range of blocks; there are 3, from 0"),
        (ALL | {"blocks.2-1": 0}, "is no range of blocks"),
        (ALL | {"text": 0}, "group 'text' holds no tensor; the thetas have stem, tail, head"),
        (ALL | {"re:nothing": 0}, "group 're:nothing' holds no tensor"),
        (ALL | {"re:(": 0}, "is no regular expression"),
        (ALL | {"middle": 0}, "group 'middle' is none of stem, blocks"),
        (ALL | {"stem": 1.5}, "outside"),
        ({}, r"in none of the groups \(there are none\)"),
    ],
)
def test_wrong_groups(alphas: dict[str, float], message: str) -> None:
    with pytest.raises(WiseftError, match=message):
        group_alphas(names_of(VIT), alphas)


def test_tensor_of_an_unknown_part_needs_an_expression() -> None:
    names = [*names_of(VIT), "image.novel.weight"]
    with pytest.raises(WiseftError, match=r"image\.novel\.weight is in none .* 're:image"):
        group_alphas(names, ALL)
    assert group_alphas(names, ALL | {r"re:image\.novel\..*": 1})["image.novel.weight"] == "1.000"


def test_equal_alphas_are_the_interpolation() -> None:
    start, end = random_tensors(0), random_tensors(1)
    alphas = group_alphas(start, {"stem": 0.3, "blocks": 0.3, "tail": 0.3, "head": 0.3})
    found = combine([start, end], {name: ends(alpha) for name, alpha in alphas.items()})
    wanted = interpolate(start, end, 0.3)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


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
