"""Merging an adapter is PEFT's own merge, at every alpha: base + alpha (merged - base)."""

import pytest
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests import tiny_models as tiny
from tests.sweep.conftest import CLASSES, clip_config, write_images

from wiseft.errors import WiseftError
from wiseft.tool.api import merge_files
from wiseft.tool.loading_lines import loading_example
from wiseft.tool.own_sweep import sweep_with
from wiseft.tool.sweep import sweep

peft = pytest.importorskip("peft", reason="PEFT is not installed; make test-peers installs it")


def clip():
    text = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"intermediate_size": 64, "max_position_embeddings": 20, "vocab_size": 50}
    vision = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {"intermediate_size": 64, "image_size": 32, "patch_size": 16}
    return transformers.CLIPModel(
        transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    )


def gpt2():
    return transformers.GPT2Model(
        transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50, n_positions=8)
    )


def vit():
    options = tiny.timm()["options"]
    return timm.create_model("vit_tiny_patch16_224", num_classes=4, **options)


ALL = ["q_proj", "fc1", "fc2", "patch_embedding", "token_embedding", "visual_projection"]


def classifier():
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=16,
        num_labels=4,
    )
    return transformers.ViTForImageClassification(config)


CASES = {
    "plain": (clip, {"target_modules": ["q_proj", "v_proj"]}),
    "rank stabilised": (clip, {"target_modules": ["q_proj"], "use_rslora": True}),
    "patterns": (
        clip,
        {
            "target_modules": ALL,
            "rank_pattern": {"fc1": 2, r"vision_model.*\.q_proj": 3},
            "alpha_pattern": {"vision_model.encoder.layers.1.mlp.fc1": 5, "q_proj": 7},
        },
    ),
    "biases": (clip, {"target_modules": ["fc1"], "bias": "lora_only", "use_rslora": True}),
    "all biases": (clip, {"target_modules": ["fc1"], "bias": "all"}),
    "some layers": (clip, {"target_modules": ["fc1"], "layers_to_transform": [1]}),
    "modules to save": (
        clip,
        {"target_modules": ["k_proj"], "modules_to_save": ["visual_projection", "pre_layrnorm"]},
    ),
    "transposed": (gpt2, {"target_modules": ["c_attn", "c_fc", "wte"], "fan_in_fan_out": True}),
    "orthogonal": (clip, {"target_modules": ["q_proj"], "init_lora_weights": "orthogonal"}),
    "DoRA": (clip, {"target_modules": ALL, "use_dora": True, "alpha_pattern": {"fc1": 5}}),
    "DoRA, rank stabilised": (
        clip,
        {"target_modules": ["q_proj"], "use_dora": True, "use_rslora": True, "bias": "lora_only"},
    ),
    "DoRA, transposed": (
        gpt2,
        {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True, "use_dora": True},
    ),
    "classifier": (classifier, {"target_modules": ["q_proj"], "modules_to_save": ["classifier"]}),
    "timm": (vit, {"target_modules": ["qkv", "proj"], "modules_to_save": ["head"]}),
}


def trained(make, folder, **options):
    """Write a base and an adapter whose weights are not those that it started with.

    Return the base's tensors and those of PEFT's merge.
    """
    torch.manual_seed(0)
    model = make()
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(folder / "base")
    else:
        save_file(base, folder / "base")
    model = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_alpha=6, **options))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder / "adapter")
    return base, model.merge_and_unload().state_dict()


@pytest.mark.parametrize("case", CASES)
def test_a_merge_is_pefts(case, tmp_path):
    make, options = CASES[case]
    base, merged = trained(make, tmp_path, **options)
    changed = [name for name in base if not torch.equal(base[name], merged[name])]
    assert len(changed) >= 2
    for alpha in ("0.000", "0.500", "1.000"):
        output = tmp_path / alpha
        merge_files(tmp_path / "base", tmp_path / "adapter", alpha, output)
        if make is classifier:  # whose files have other names than its modules
            found = transformers.ViTForImageClassification.from_pretrained(output).state_dict()
        else:
            found = load_file(output / "model.safetensors" if output.is_dir() else output)
        assert found.keys() <= base.keys()
        for name in changed:
            expected = base[name] + float(alpha) * (merged[name] - base[name])
            torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-6)
        for name in found.keys() - set(changed):
            assert torch.equal(found[name], base[name])


@pytest.mark.parametrize("case", [case for case in CASES if "DoRA" not in case])
def test_peft_loads_a_scaled_adapter_to_the_weights_between(case, tmp_path):
    make, options = CASES[case]
    base, merged = trained(make, tmp_path, **options)
    output = tmp_path / "scaled"
    merge_files(tmp_path / "base", tmp_path / "adapter", 0.3, output, as_adapter=True)
    model = make()
    model.load_state_dict(base)
    found = peft.PeftModel.from_pretrained(model, output).merge_and_unload().state_dict()
    for name, start in base.items():
        if start.is_floating_point():
            expected = start + 0.3 * (merged[name] - start)
            torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init_lora_weights": "pissa"}, "has init_lora_weights: pissa"),
        ({"init_lora_weights": "olora"}, "has init_lora_weights: olora"),
        ({"lora_bias": True}, "has lora_bias: True"),
        ({"trainable_token_indices": {"token_embedding": [1]}}, "has trainable_token_indices"),
    ],
)
def test_what_is_no_plain_lora_is_refused(options, message, tmp_path):
    trained(clip, tmp_path, target_modules=["fc1"], **options)
    with pytest.raises(WiseftError, match=message):
        merge_files(tmp_path / "base", tmp_path / "adapter", "0.5", tmp_path / "c")


def prompted_clip():
    return transformers.CLIPModel(clip_config())


@pytest.mark.parametrize("make", [classifier, prompted_clip])
def test_a_sweep_writes_a_scaled_adapter(make, tmp_path):
    options = {"target_modules": ["q_proj", "fc1"]}
    options |= {"modules_to_save": ["classifier"]} if make is classifier else {}
    base, merged = trained(make, tmp_path, **options)
    prepare = transformers.CLIPImageProcessorPil(size=32, crop_size=32)
    prepare.save_pretrained(tmp_path / "base")
    images = write_images(tmp_path / "photos", 8, 1, CLASSES)
    shift = write_images(tmp_path / "sketches", 5, 2, CLASSES)
    inputs = tmp_path / "base", tmp_path / "adapter", images, [shift]
    result = sweep(*inputs, tmp_path / "out", alpha=0.4, alphas=[0.4], as_adapter=True)
    assert (result.record.model.loads_with, result.record.model.head) == (
        "peft",
        make is prompted_clip,
    )
    assert "PeftModel.from_pretrained(model" in loading_example(result)
    model = make()
    model.load_state_dict(base)
    found = peft.PeftModel.from_pretrained(model, result.model_path).merge_and_unload()
    for name, tensor in found.state_dict().items():
        if tensor.is_floating_point():
            expected = base[name] + 0.4 * (merged[name] - base[name])
            torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-6)
    names = sorted(file.name for file in result.model_path.iterdir())
    beside = ["classes.json", *(["head.safetensors"] if make is prompted_clip else [])]
    assert names == sorted(["adapter_config.json", "adapter_model.safetensors", *beside])


def test_an_evaluation_of_ones_own_sweeps_an_adapter_and_parts_of_it(tmp_path):
    own = {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}
    base, merged = trained(gpt2, tmp_path, **own)
    changed = {"attention": "h.0.attn.c_attn.weight", "mlp": "h.0.mlp.c_fc.weight"}
    seen = []

    def shares(model):
        found = transformers.GPT2Model.from_pretrained(model).state_dict()
        for name in base.keys() - changed.values():
            assert torch.equal(found[name], base[name])
        for name in changed.values():
            whole = merged[name] - base[name]
            share = float(((found[name] - base[name]) * whole).sum() / (whole * whole).sum())
            torch.testing.assert_close(found[name], base[name] + share * whole, rtol=0, atol=1e-6)
            yield round(share, 3)

    def evaluate(model):
        seen.append(tuple(shares(model)))
        for name, best in {"val": (0.3, 0.8), "test": (0.3, 0.8), "other": (1, 0)}.items():
            right = 300 * (1 - sum((a - b) ** 2 for a, b in zip(seen[-1], best, strict=True)) / 2)
            yield {"set": name, "metric": "accuracy", "correct": round(right), "n": 300}

    result = sweep_with(
        tmp_path / "base",
        tmp_path / "adapter",
        evaluate,
        tmp_path / "out",
        held_out="val",
        reference="test",
        shifts=["other"],
        alphas=[0.3, 0.8],
        parts={"attention": r"\.attn\.", "mlp": r"\.mlp\."},
    )
    assert sorted(seen[:5]) == [(at, at) for at in (0, 0.3, 0.5, 0.8, 1)]
    assert tuple(shares(result.model_path)) == (result.record.recommended.alpha,) * 2
    assert tuple(shares(tmp_path / "out" / "parts")) == (0.3, 0.8)
