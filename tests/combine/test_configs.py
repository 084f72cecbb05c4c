"""Folders whose tensors fit, but whose configurations may describe other models."""

import json

import open_clip
import pytest
import timm
import torch
import transformers
from safetensors.torch import save_file
from tests import tiny_models as tiny
from tools.rehearsal.checkpoints import weights_of

from wiseft.base.messages import shown
from wiseft.errors import WiseftError
from wiseft.foreign.configs import _in_transformers, differences
from wiseft.tool.api import merge_files


def save(kind, path, seed, **config):
    torch.manual_seed(seed)
    model = kind(kind.config_class(**config))
    model.save_pretrained(path)
    return model


def change(folder, **changes):
    file = folder / "config.json"
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in config.items() if value != "gone"}))


def merge(tmp_path):
    said = []
    with shown(said.append):
        merge_files(tmp_path / "a", tmp_path / "b", "0.500", tmp_path / "c")
    return " ".join(said)


DINO = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28}
LLAMA = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 32}
LLAMA |= {"intermediate_size": 16, "num_key_value_heads": 2}
ROPE = {"rope_type": "default"}
PAIRS = {
    "dinov2-heads": (
        transformers.Dinov2Model,
        DINO,
        {"num_attention_heads": 4},
        "num_attention_heads is 2 and 4",
    ),
    "dinov2-activation": (
        transformers.Dinov2Model,
        DINO,
        {"hidden_act": "relu"},
        "hidden_act is gelu and relu",
    ),
    "llama-rope": (
        transformers.LlamaForCausalLM,
        LLAMA | {"rope_parameters": ROPE | {"rope_theta": 1e4}},
        {"rope_parameters": ROPE | {"rope_theta": 1e6}},
        "rope_parameters.rope_theta is 10000.0 and 1000000.0",
    ),
    "siglip-nested": (
        transformers.SiglipVisionModel,
        {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32},
        {"layer_norm_eps": 1e-3},
        "layer_norm_eps is 1e-06 and 0.001",
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_models_that_compute_otherwise_are_refused(tmp_path, pair):
    kind, config, other, message = PAIRS[pair]
    save(kind, tmp_path / "a", 1, **config)
    save(kind, tmp_path / "b", 2, **config | other)
    with pytest.raises(WiseftError, match=f"describe different models: .*{message}"):
        merge(tmp_path)
    assert not (tmp_path / "c").exists()


def test_a_default_that_is_not_written_is_a_default(tmp_path):
    """As other versions of the library write it; and rope theta in its older place."""
    for seed, name in enumerate("ab"):
        save(transformers.LlamaForCausalLM, tmp_path / name, seed, **LLAMA)
    change(tmp_path / "b", rms_norm_eps="gone", hidden_act="gone", rope_parameters="gone")
    merge(tmp_path)
    (tmp_path / "c").rename(tmp_path / "first")
    change(tmp_path / "b", rope_theta=1e4)
    merge(tmp_path)
    change(tmp_path / "b", rope_theta=5e5)
    (tmp_path / "c").rename(tmp_path / "second")
    with pytest.raises(WiseftError, match=r"rope_theta is 10000\.0 and 500000\.0"):
        merge(tmp_path)


def test_what_a_training_alone_does_may_differ(tmp_path):
    """The result is transformers' own mean."""
    more = {"hidden_dropout_prob": 0.3, "drop_path_rate": 0.1, "initializer_range": 0.5}
    one = save(transformers.Dinov2ForImageClassification, tmp_path / "a", 1, num_labels=2, **DINO)
    other = save(
        transformers.Dinov2ForImageClassification, tmp_path / "b", 2, num_labels=2, **DINO | more
    )
    change(
        tmp_path / "b",
        dtype="bfloat16",
        transformers_version="4.1",
        _name_or_path="x/y",
        use_cache=False,
        problem_type="single_label_classification",
    )
    merge(tmp_path)
    found = type(one).from_pretrained(tmp_path / "c")
    second = dict(other.named_parameters())
    for (name, parameter), first in zip(found.named_parameters(), one.parameters(), strict=True):
        torch.testing.assert_close(parameter, (first + second[name]) / 2, rtol=0, atol=1e-6)


def test_the_order_of_classes_is_compared(tmp_path):
    for name in "ab":
        save(transformers.Dinov2ForImageClassification, tmp_path / name, 1, num_labels=2, **DINO)
    merge(tmp_path)
    change(tmp_path / "a", id2label={"0": "cat", "1": "dog"}, label2id={"cat": 0, "dog": 1})
    (tmp_path / "c").rename(tmp_path / "generic")
    assert "name other classes" not in merge(tmp_path)  # b says none
    change(tmp_path / "b", id2label={"0": "dog", "1": "cat"}, label2id={"dog": 0, "cat": 1})
    (tmp_path / "c").rename(tmp_path / "one")
    with pytest.raises(WiseftError, match="the classes are in another order"):
        merge(tmp_path)
    change(tmp_path / "b", id2label={"0": "a cat", "1": "a dog"}, label2id={})
    assert "name other classes; the result has those of the first" in merge(tmp_path)


TIMM = {"embed_dim": 16, "depth": 1, "num_heads": 2, "img_size": 32}
MANY = {"depth": 4000}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"depth": 2}, "Missing key"),
        ({"embed_dim": 32}, "size mismatch for cls_token"),
        ({"img_size": 64}, None),  # timm resizes the positions
        (MANY, "far larger model"),
    ],
)
def test_timm_folders_that_timm_does_not_load_are_refused(changes, said, tmp_path):
    """Both are changed alike, so that a comparison of the two shows nothing."""
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        model = timm.create_model("vit_tiny_patch16_224", num_classes=2, **TIMM)
        timm.models.save_for_hf(
            model, tmp_path / name, model_args=TIMM, model_config={}, safe_serialization=True
        )
        change(tmp_path / name, model_args=TIMM | changes)
    if said is None:
        assert timm.create_model(f"local-dir:{tmp_path / 'a'}", pretrained=True)
        merge(tmp_path)
        assert timm.create_model(f"local-dir:{tmp_path / 'c'}", pretrained=True)
        return
    if changes != MANY:
        with pytest.raises(RuntimeError, match=said):
            timm.create_model(f"local-dir:{tmp_path / 'a'}", pretrained=True)
    with pytest.raises(WiseftError, match=said):
        merge(tmp_path)
    assert not (tmp_path / "c").exists()


def test_folders_of_timm_are_compared(tmp_path):
    """As timm writes them: with the arguments of the model, and names of classes."""

    def write(name, labels=("x", "y"), **args):
        model = timm.create_model("test_vit", num_classes=2, **args)
        timm.models.save_for_hf(
            model,
            tmp_path / name,
            model_config={"label_names": list(labels)},
            model_args=args or None,
            safe_serialization=True,
        )

    write("a")
    write("b", drop_path_rate=0.2)
    merge(tmp_path)
    assert timm.create_model(f"local-dir:{tmp_path / 'c'}", pretrained=True)
    write("b", num_heads=4)
    (tmp_path / "c").rename(tmp_path / "one")
    with pytest.raises(WiseftError, match=r"model_args\.num_heads is None and 4"):
        merge(tmp_path)
    write("b", global_pool="avg")
    with pytest.raises(WiseftError, match="global_pool is token and avg"):
        merge(tmp_path)
    write("b", ("y", "x"))
    with pytest.raises(WiseftError, match="the classes are in another order"):
        merge(tmp_path)


def open_clip_folder(path, architecture, seed):
    path.mkdir()
    config = {"model_cfg": architecture, "preprocess_cfg": {"size": 32}}
    (path / "open_clip_config.json").write_text(json.dumps(config))
    save_file(weights_of(architecture, seed), path / "open_clip_model.safetensors")


def test_folders_of_open_clip_are_compared(tmp_path):
    open_clip_folder(tmp_path / "a", tiny.clip(), 1)
    heads = tiny.clip(text_cfg=tiny.TEXT | {"heads": 4})
    open_clip_folder(tmp_path / "b", heads, 2)
    with pytest.raises(WiseftError, match=r"text_cfg\.heads is 2 and 4"):
        merge(tmp_path)


def test_folders_of_timm_and_open_clip_prepare_images_alike(tmp_path):
    """What their configurations say of images; timm and open_clip take it from there."""
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        model = timm.create_model("test_vit", num_classes=2)
        timm.models.save_for_hf(model, tmp_path / name, safe_serialization=True)
    file = tmp_path / "b" / "config.json"
    config = json.loads(file.read_text())
    for key, value in {"mean": [0.1] * 3, "interpolation": "bilinear", "crop_pct": 0.5}.items():
        changed = {**config, "pretrained_cfg": {**config["pretrained_cfg"], key: value}}
        file.write_text(json.dumps(changed))
        shown = "resize_size" if key == "crop_pct" else key
        with pytest.raises(WiseftError, match=rf"prepare images differently: {shown} is .* and"):
            merge(tmp_path)
    file.write_text(json.dumps(config))
    merge(tmp_path)
    folder = tmp_path / "clips"
    folder.mkdir()
    for seed, name in enumerate("ab"):
        open_clip_folder(folder / name, tiny.clip(), seed)
    file = folder / "b" / "open_clip_config.json"
    config = json.loads(file.read_text())
    for key, value in {
        "std": [0.5] * 3,
        "resize_mode": "squash",
        "interpolation": "bilinear",
    }.items():
        said = {"size": 32, key: value}
        file.write_text(json.dumps(config | {"preprocess_cfg": said}))
        with pytest.raises(WiseftError, match=rf"prepare images differently: {key} is .* and"):
            merge(folder)
    file.write_text(json.dumps(config | {"preprocess_cfg": {"size": [32, 32]}}))
    merge(folder)


def test_a_clip_of_transformers_is_compared_with_one_of_open_clip(tmp_path):
    """The activation is the default of the one, and not of the other."""
    open_clip_folder(tmp_path / "a", tiny.clip(), 1)
    text = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"intermediate_size": 64, "max_position_embeddings": 20}
    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"intermediate_size": 64, "image_size": 32, "patch_size": 16}
    towers = {"text_config": text, "vision_config": vision}
    save(transformers.CLIPModel, tmp_path / "b", 2, projection_dim=16, **towers)
    with pytest.raises(WiseftError, match="quick_gelu is False and True"):
        merge(tmp_path)
    for tower in towers.values():
        tower["hidden_act"] = "gelu"
    save(transformers.CLIPModel, tmp_path / "b", 2, projection_dim=16, **towers)
    merge(tmp_path)


def test_every_model_of_open_clip_is_itself_with_its_defaults():
    for name in ("ViT-B-32", "RN50", "ViT-B-16-SigLIP", "convnext_base", "coca_ViT-B-32"):
        config = open_clip.get_model_config(name)
        assert not differences({"model_cfg": config}, {"model_cfg": config | {"quick_gelu": False}})
        other = {"model_cfg": config | {"quick_gelu": True}}
        assert differences({"model_cfg": config}, other) == ["quick_gelu is False and True"]


def test_configurations_of_models_that_no_library_knows_are_compared_as_they_are(tmp_path):
    one = {"model_type": "mine", "heads": 2, "dropout": 0.1, "auto_map": {"AutoModel": "x.Y"}}
    assert not differences(one, one | {"dropout": 0.2, "auto_map": {}})
    assert differences(one, one | {"heads": 3, "more": 1}) == [
        "heads is 2 and 3",
        "more is None and 1",
    ]


@pytest.mark.parametrize("odd", [[], 7, None, "x", {"a": [{}]}, {"0": None}])
@pytest.mark.parametrize(
    "key",
    [
        *("model_type", "model_cfg", "architecture", "id2label", "label_names", "pretrained_cfg"),
        *("model_args", "text_config"),
    ],
)
def test_odd_configurations_end_in_a_sentence(key, odd):
    """Whatever stands in it, there is an answer."""
    config = {"model_type": "clip_vision_model", "hidden_size": 16}
    for base in (config, {"architecture": "vit"}, {"model_cfg": tiny.clip()}):
        assert isinstance(differences(base | {key: odd}, base), list)
        assert isinstance(differences(base | {key: odd}, base | {key: odd}), list)


def test_a_deep_configuration_ends_in_an_answer():
    config = {"heads": 2}
    for _ in range(900):
        config = {"x": config}
    config["model_type"] = "mine"
    assert not differences(config, config)


@pytest.mark.parametrize("key", ["num_labels", "num_hidden_layers"])
def test_a_number_fills_no_memory(key):
    config = {"model_type": "dinov2", key: 10**12}
    assert not differences(config, config)


def test_folders_that_prepare_images_otherwise_are_refused(tmp_path):
    for name, mean in (("a", [0.5] * 3), ("b", [0.4] * 3)):
        save(transformers.Dinov2Model, tmp_path / name, 0, **DINO)
        processor = transformers.BitImageProcessor(
            size={"shortest_edge": 28}, crop_size=28, image_mean=mean
        )
        processor.save_pretrained(tmp_path / name)
    with pytest.raises(WiseftError, match=r"mean is \[0\.5, 0\.5, 0\.5\] and \[0\.4, "):
        merge(tmp_path)
    processor.save_pretrained(tmp_path / "a")
    merge(tmp_path)


def test_a_processor_of_sound_is_not_compared(tmp_path):
    config = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 32}
    config |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "pad_token_id": 0}
    config |= {"bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 0}
    for name in "ab":
        save(transformers.WhisperModel, tmp_path / name, 0, **config)
        transformers.WhisperFeatureExtractor(n_fft=400).save_pretrained(tmp_path / name)
    merge(tmp_path)


def test_a_configuration_that_does_not_fit_its_tensors_is_refused(tmp_path):
    for name in "ab":
        save(transformers.LlamaForCausalLM, tmp_path / name, 0, **LLAMA)
        change(tmp_path / name, num_key_value_heads=1)
    with pytest.raises(RuntimeError, match="mismatched"):
        transformers.LlamaForCausalLM.from_pretrained(tmp_path / "a")
    with pytest.raises(WiseftError, match=r"k_proj\.weight has the shape \(8, 16\), but in the we"):
        merge(tmp_path)


def test_an_index_that_leaves_out_a_file_is_refused(tmp_path):
    for name in "ab":
        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA))
        model.save_pretrained(tmp_path / name, max_shard_size="6KB")
        file = tmp_path / name / "model.safetensors.index.json"
        index = json.loads(file.read_text())
        parts = sorted(set(index["weight_map"].values()))
        where = {key: part for key, part in index["weight_map"].items() if part != parts[-1]}
        file.write_text(json.dumps(index | {"weight_map": where}))
    with pytest.raises(
        WiseftError, match=rf"names {len(parts) - 1} files, but .* of {len(parts)};"
    ):
        merge(tmp_path)


def test_greyscale_images_of_open_clip_are_not_modelled():
    from wiseft.models.towers.open_clip_models import preprocessing

    with pytest.raises(WiseftError, match="mode is L, but must be RGB"):
        preprocessing({"mode": "L"})


def test_nothing_of_the_hub_is_asked_for_when_shapes_are_compared(tmp_path, monkeypatch):
    """A configuration can name kernels, which are code, and weights of a backbone."""
    asked = []
    monkeypatch.setattr(
        "transformers.integrations.hub_kernels.load_and_register_attn_kernel",
        lambda *args, **kwargs: asked.append(args),
    )
    for name in "ab":
        save(transformers.LlamaForCausalLM, tmp_path / name, 0, **LLAMA)
        change(tmp_path / name, attn_implementation="somebody/kernel", num_key_value_heads=1)
    with pytest.raises(WiseftError, match="has the shape"):
        merge(tmp_path)
    backbone = {"architectures": ["DetrModel"], "model_type": "detr"}
    backbone |= {"use_timm_backbone": True, "backbone": "resnet18", "use_pretrained_backbone": True}
    assert _in_transformers(backbone, {}) is None
    assert asked == []
