"""Reading the checkpoints of other programs, refusing what is none, and writing them back."""

import json
import zipfile

import pytest
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests import tiny_models as tiny
from tests.weights.conftest import clip_weights, same
from tools.rehearsal.checkpoints import torchscript, weights_of

from wiseft.base.messages import shown
from wiseft.errors import WiseftError
from wiseft.foreign.formats import read_checkpoint, write_checkpoint
from wiseft.foreign.forms.clip import architecture_of
from wiseft.foreign.huggingface import from_open_clip, to_open_clip
from wiseft.foreign.towers import family_tensors
from wiseft.models import towers
from wiseft.study.weights.fetch import fetch_weights
from wiseft.study.weights.sources import from_tag
from wiseft.thetas.theta import load_weights

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "a.steps": torch.tensor(7)}
PREPROCESSING = {"size": 32, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}


def written(tmp_path, content, name="x.pt"):
    torch.save(content, tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize(
    ("content", "wrapper", "prefix"),
    [
        (TENSORS, None, ""),
        ({"state_dict": TENSORS, "epoch": 2}, "state_dict", ""),
        ({"model": {f"module.{k}": v for k, v in TENSORS.items()}}, "model", "module."),
        (
            {f"module._orig_mod.{k}": v for k, v in TENSORS.items()},
            None,
            "module._orig_mod.",
        ),
    ],
)
def test_a_state_dict_is_found_in_its_wrapper(tmp_path, content, wrapper, prefix):
    found = read_checkpoint(written(tmp_path, content))
    assert same(found.tensors, TENSORS)
    assert found.kind == "torch"
    assert found.own == ({k: prefix + k for k in TENSORS} if prefix else {})
    assert found.wrapper == ((wrapper,) if wrapper else ())
    write_checkpoint(found, {k: v + 1 for k, v in found.tensors.items()}, tmp_path / "y.pt")
    again = torch.load(tmp_path / "y.pt", weights_only=True)
    inner = again[wrapper] if wrapper else again
    assert same(inner, {prefix + k: v + 1 for k, v in TENSORS.items()})
    assert again.get("epoch") == content.get("epoch")


def test_state_of_a_training_is_left_out(tmp_path):
    content = {"state_dict": TENSORS, "optimizer": {"lr": 1.0}, "epoch": 5, "name": "run"}
    found = read_checkpoint(written(tmp_path, content))
    write_checkpoint(found, TENSORS, tmp_path / "y.pt")
    again = torch.load(tmp_path / "y.pt", weights_only=True)
    assert again.keys() == {"state_dict", "epoch", "name"}


def test_safetensors_keep_their_metadata_and_are_known_by_content(tmp_path):
    save_file(TENSORS, tmp_path / "x.bin", metadata={"format": "pt", "by": "me"})
    found = read_checkpoint(tmp_path / "x.bin")
    assert (found.kind, found.metadata) == ("safetensors", {"format": "pt", "by": "me"})
    write_checkpoint(found, TENSORS, tmp_path / "y.safetensors")
    assert same(load_file(tmp_path / "y.safetensors"), TENSORS)
    assert read_checkpoint(tmp_path / "y.safetensors").metadata == found.metadata


def test_a_torchscript_archive_becomes_a_state_dict(tmp_path):
    torchscript(TENSORS, tmp_path / "x.pt")
    found = read_checkpoint(tmp_path / "x.pt")
    assert found.kind == "torchscript"
    assert same(found.tensors, TENSORS)
    write_checkpoint(found, found.tensors, tmp_path / "y.pt")
    assert same(torch.load(tmp_path / "y.pt", weights_only=True), TENSORS)


class Evil:
    def __reduce__(self):
        return print, ("this was run",)


def test_pickled_objects_are_refused_without_running_them(tmp_path, capsys):
    with pytest.raises(WiseftError) as caught:
        read_checkpoint(written(tmp_path, torch.nn.Linear(2, 2)))
    message = str(caught.value)
    assert "pickled objects of torch.nn.modules.linear.Linear" in message
    assert ".state_dict(), 'weights.pt')" in message
    with pytest.raises(WiseftError, match=r"pickled objects of builtins\.print"):
        read_checkpoint(written(tmp_path, {"state_dict": Evil()}))
    assert "this was run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds list, expected tensors by name"),
        ({"epoch": 1, "args": {"lr": 3}}, r"holds epoch, args, but no tensors by name"),
        ({}, "holds nothing, but no tensors"),
    ],
)
def test_a_file_without_tensors_is_refused(tmp_path, content, message):
    with pytest.raises(WiseftError, match=message):
        read_checkpoint(written(tmp_path, content))


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(1).expand(10**9), r"its tensors expand to 4\.00 GB; it was made to fill"),
        (torch.empty(10**9, device="meta"), "tensor a is sparse, nested or without val"),
        (torch.eye(3).to_sparse(), "tensor a is sparse"),
        (torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "is quantised .*dequantis"),
    ],
    ids=["expanded", "meta", "sparse", "quantized"],
)
def test_a_tensor_that_is_more_than_its_file_is_refused(tmp_path, tensor, message):
    with pytest.raises(WiseftError, match=message):
        read_checkpoint(written(tmp_path, {"a": tensor}))


def test_shared_tensors_are_no_bomb(tmp_path):
    shared = torch.zeros(1000)
    content = {"a": shared, "b": shared, "c": shared[:10], "d": torch.zeros(1).expand(1000)}
    assert same(read_checkpoint(written(tmp_path, content)).tensors, content)


def test_an_archive_bomb_is_refused(tmp_path):
    path = written(tmp_path, TENSORS)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data/9", bytes(2**29))
    with pytest.raises(WiseftError, match=r"but unpacks to 0\.54 GB; it was made to fill"):
        read_checkpoint(path)


def test_a_flipped_bit_of_a_torch_file_is_found(tmp_path):
    path = written(tmp_path, TENSORS)
    content = bytearray(path.read_bytes())
    content[content.index(TENSORS["a.weight"].numpy().tobytes()) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(WiseftError, match="in it has not the checksum that it was written with"):
        read_checkpoint(path)


def test_a_damaged_file_is_refused(tmp_path):
    path = written(tmp_path, TENSORS)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(WiseftError, match="neither safetensors nor a whole file of torch"):
        read_checkpoint(path)
    (tmp_path / "x.safetensors").write_bytes(b"not at all")
    with pytest.raises(WiseftError, match="not a whole safetensors file"):
        read_checkpoint(tmp_path / "x.safetensors")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(WiseftError, match=r"not a file of weights|neither safetensors"):
        read_checkpoint(tmp_path / "text.pt")
    with pytest.raises(WiseftError, match=r"checkpoint .*none\.pt does not exist"):
        read_checkpoint(tmp_path / "none.pt")


def test_nothing_that_is_there_is_written_over(tmp_path):
    found = read_checkpoint(written(tmp_path, TENSORS))
    before = found.path.read_bytes()
    with pytest.raises(WiseftError, match="exists and is not touched"):
        write_checkpoint(found, TENSORS, found.path)
    assert found.path.read_bytes() == before


# ------------------------------------------------------------------------------------ transformers


@pytest.fixture
def clip_model():
    """A tiny CLIPModel with numbers that show a mistake in any tensor."""
    text = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"intermediate_size": 48, "max_position_embeddings": 20}
    vision = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
    vision |= {"intermediate_size": 96, "image_size": 32, "patch_size": 16}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    torch.manual_seed(0)
    model = transformers.CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


@pytest.fixture
def clip_folder(clip_model, tmp_path):
    clip_model.save_pretrained(tmp_path / "clip")
    processor = {"crop_size": {"height": 32, "width": 32}, "size": {"shortest_edge": 32}}
    processor |= {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (tmp_path / "clip" / "preprocessor_config.json").write_text(json.dumps(processor))
    return tmp_path / "clip"


def test_a_clip_model_of_transformers_is_taken_over(clip_model, clip_folder, tmp_path):
    output = tmp_path / "weights.safetensors"
    fetch_weights(from_tag(str(clip_folder)), output, tmp_path / "fetched")
    tensors, header = load_weights(output)
    pixels = {"size": 32, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "crop": "floor"}
    assert header["preprocessing"] == pixels
    assert header["architecture"]["quick_gelu"] is True
    model = towers.load(header["architecture"], tensors, "weights")
    pixels = torch.rand(2, 3, 32, 32)
    tokens = model.tokenize(["a photo of a bird", "7"])
    with torch.no_grad():
        theirs = clip_model(pixel_values=pixels, input_ids=tokens)
        image = torch.nn.functional.normalize(model.image(pixels), dim=-1)
        text = torch.nn.functional.normalize(model.encode_text(tokens), dim=-1)
    torch.testing.assert_close(image, theirs.image_embeds, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(text, theirs.text_embeds, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.logit_scale, clip_model.logit_scale)


def test_names_go_there_and_back(clip_model):
    theirs = towers.floating(clip_model.state_dict())
    assert same(from_open_clip(to_open_clip(theirs)), theirs)
    with pytest.raises(WiseftError, match=r"1 tensors are none of CLIPModel: extra\.weight"):
        to_open_clip(theirs | {"extra.weight": torch.zeros(1)})
    with pytest.raises(WiseftError, match=r"visual\.trunk\.x of open_clip has no place"):
        from_open_clip({"visual.trunk.x": torch.zeros(1)})
    broken = {k: v for k, v in theirs.items() if "layers.0.self_attn.k_proj.bias" not in k}
    with pytest.raises(WiseftError, match=r"resblocks\.0\.attn lacks k_proj\.bias"):
        to_open_clip(broken)


def test_an_end_token_of_its_own_is_pooled_at():
    config = {"model_type": "clip", "text_config": {"vocab_size": 100, "eos_token_id": 50}}
    text = architecture_of(config)["text_cfg"]
    assert (text["pool_type"], text["eos_id"]) == ("eos", 50)
    legacy = architecture_of({"model_type": "clip", "text_config": {"eos_token_id": 2}})
    assert "pool_type" not in legacy["text_cfg"]


def test_other_models_of_transformers_are_refused(tmp_path):
    with pytest.raises(WiseftError, match="model type bert, but must be of clip"):
        architecture_of({"model_type": "bert"})
    config = {"model_type": "clip", "text_config": {"hidden_act": "gelu"}}
    with pytest.raises(WiseftError, match="towers have the activations gelu, quick_gelu"):
        architecture_of(config)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    save_file(TENSORS, tmp_path / "model.safetensors")
    with pytest.raises(WiseftError, match="its configuration is none of"):
        fetch_weights(from_tag(str(tmp_path)), tmp_path / "out.safetensors")


def test_a_sharded_folder_is_read_and_written_with_its_shards(clip_model, tmp_path):
    clip_model.save_pretrained(tmp_path / "clip", max_shard_size="60KB")
    found = read_checkpoint(tmp_path / "clip")
    assert len(found.files) > 1
    assert same(found.tensors, dict(clip_model.state_dict()))
    write_checkpoint(found, found.tensors, tmp_path / "again")
    assert same(read_checkpoint(tmp_path / "again").tensors, found.tensors)
    assert read_checkpoint(tmp_path / "again").files == found.files
    again = type(clip_model).from_pretrained(tmp_path / "again")
    assert same(again.state_dict(), clip_model.state_dict())


def test_a_folder_is_written_whole_or_not_at_all(clip_folder, tmp_path, monkeypatch):
    found = read_checkpoint(clip_folder)
    (clip_folder / "tf_model.h5").write_bytes(b"old weights")
    write_checkpoint(found, found.tensors, tmp_path / "again")
    names = {path.name for path in (tmp_path / "again").iterdir()}
    assert names == {"config.json", "model.safetensors", "preprocessor_config.json"}
    monkeypatch.setattr("shutil.copyfile", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_checkpoint(found, found.tensors, tmp_path / "broken")
    assert not [path for path in tmp_path.iterdir() if "broken" in path.name]


def test_a_folder_without_weights_or_configuration_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(WiseftError, match=r"folder without open_clip_config\.json or config"):
        read_checkpoint(tmp_path / "empty")
    (tmp_path / "empty" / "config.json").write_text("{}")
    with pytest.raises(WiseftError, match=r"has none of open_clip_model"):
        read_checkpoint(tmp_path / "empty")
    index = {"weight_map": {"a": "../outside.safetensors"}}
    (tmp_path / "empty" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WiseftError, match=r"'\.\./outside\.safetensors', which is no plain name"):
        read_checkpoint(tmp_path / "empty")
    for odd in ([], {}, {"weight_map": []}, {"weight_map": {"a": 7}}, {"weight_map": {"a": []}}):
        (tmp_path / "empty" / "model.safetensors.index.json").write_text(json.dumps(odd))
        with pytest.raises(WiseftError, match=r"index\.json.* (must be|is missing)"):
            read_checkpoint(tmp_path / "empty")


# ------------------------------------------------------------------------------------ your own


def test_an_own_file_needs_its_architecture_and_preprocessing(tmp_path):
    path = written(tmp_path, {"state_dict": clip_weights()})
    (tmp_path / "tiny.json").write_text(json.dumps(tiny.clip()))
    with pytest.raises(WiseftError, match="does not say its architecture; give it"):
        fetch_weights(from_tag(str(path)), tmp_path / "out.safetensors")
    source = from_tag(str(path), str(tmp_path / "tiny.json"))
    with pytest.raises(WiseftError, match="does not say mean, std of its preprocessing"):
        fetch_weights(source, tmp_path / "out.safetensors")
    from wiseft.cli import main

    command = ["weights", str(path), "--output", str(tmp_path / "out.safetensors")]
    command += ["--architecture", str(tmp_path / "tiny.json")]
    with pytest.raises(SystemExit) as left:
        main([*command, "--preprocessing", json.dumps(PREPROCESSING)])
    assert left.value.code == 0
    tensors, header = load_weights(tmp_path / "out.safetensors")
    assert same(tensors, clip_weights())
    assert header["source"]["spec"] == str(path)


def test_sizes_must_agree(tmp_path):
    path = written(tmp_path, clip_weights())
    (tmp_path / "tiny.json").write_text(json.dumps(tiny.clip()))
    source = from_tag(str(path), str(tmp_path / "tiny.json"))
    import dataclasses

    source = dataclasses.replace(source, given=PREPROCESSING | {"size": 64})
    with pytest.raises(WiseftError, match="images of 64 pixels, but the architecture reads 32"):
        fetch_weights(source, tmp_path / "out.safetensors")


def test_an_unknown_architecture_is_answered_with_the_nearest(tmp_path):
    path = written(tmp_path, clip_weights())
    with pytest.raises(WiseftError, match=r"neither open_clip nor timm has .*ViT-B-23; near: ViT"):
        from_tag(str(path), "ViT-B-23")
    (tmp_path / "odd.json").write_text('{"family": "odd"}')
    with pytest.raises(WiseftError, match="family odd, but must be one of"):
        from_tag(str(path), str(tmp_path / "odd.json"))


def test_a_misfit_lists_every_kind_of_tensor(tmp_path):
    tensors = clip_weights()
    tensors["mine"] = tensors.pop("ln_final.bias")
    tensors["visual.proj"] = torch.zeros(2, 2)
    with pytest.raises(WiseftError) as caught:
        family_tensors(read_checkpoint(written(tmp_path, tensors)), tiny.clip())
    message = str(caught.value)
    assert "1 missing: ln_final.bias" in message
    assert "1 unexpected: mine" in message
    assert "1 of another shape: visual.proj (expected (16, 16), found (2, 2))" in message


def test_flat_text_towers_and_scales_are_brought_into_form(tmp_path):
    architecture = tiny.custom()
    weights = towers.floating(weights_of(architecture))
    flat = {key.removeprefix("text."): value for key, value in weights.items()}
    flat["logit_scale"] = flat["logit_scale"].reshape(1)
    flat["visual.proj"] = flat["visual.proj"].half()
    found = family_tensors(read_checkpoint(written(tmp_path, flat)), architecture)
    assert found.keys() == weights.keys()
    assert found["visual.proj"].dtype == torch.float32
    assert found["logit_scale"].shape == ()


def test_align_and_timm_folders_are_taken_over(tmp_path):
    architecture = tiny.align()
    folder = tmp_path / "align"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(architecture["config"]))
    save_file(weights_of(architecture), folder / "model.safetensors")
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {"size": {"height": 40, "width": 40}, "crop_size": {"height": 32, "width": 32}}
            | {"do_center_crop": True, "resample": 2, "rescale_offset": True, "include_top": False}
            | {"rescale_factor": 1 / 127.5, "do_normalize": False}
        )
    )
    fetch_weights(from_tag(str(folder)), tmp_path / "a.safetensors")
    tensors, header = load_weights(tmp_path / "a.safetensors")
    assert same(tensors, towers.floating(weights_of(architecture)))
    how = {"resize_mode": "squash", "interpolation": "bilinear", "resize_size": 40}
    assert header["preprocessing"] == {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3} | how

    described = tiny.timm(classes=4)
    folder = tmp_path / "timm"
    folder.mkdir()
    config = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 4,
        "label_names": described["labels"],
        "model_args": described["options"],
        "pretrained_cfg": {"mean": [0.1] * 3, "std": [0.2] * 3, "input_size": [3, 32, 32]},
    }
    (folder / "config.json").write_text(json.dumps(config))
    weights = towers.build(described, seed=1).tensors()
    save_file(weights, folder / "model.safetensors")
    fetch_weights(from_tag(str(folder)), tmp_path / "t.safetensors")
    tensors, header = load_weights(tmp_path / "t.safetensors")
    assert same(tensors, weights)
    assert header["architecture"] == described
    config["pretrained_cfg"]["input_size"] = [3, 48, 48]  # where timm's own model has an assertion
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WiseftError, match="input_size is 48, but the model reads images of 32"):
        fetch_weights(from_tag(str(folder)), tmp_path / "no.safetensors")
    config["model_args"] = described["options"] | {"dynamic_img_size": True}  # timm resizes places
    (folder / "config.json").write_text(json.dumps(config))
    fetch_weights(from_tag(str(folder)), tmp_path / "dynamic.safetensors")
    tensors, header = load_weights(tmp_path / "dynamic.safetensors")
    pixels = torch.rand(2, 3, 48, 48)
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True)
    with torch.no_grad():
        found = towers.load(header["architecture"], tensors, "it").image(pixels)
        expected = theirs.forward_head(theirs.forward_features(pixels), pre_logits=True)
    torch.testing.assert_close(found, expected)


def test_text_is_no_weights_and_nobody_is_sent_to_unsafe_loading(tmp_path):
    (tmp_path / "README.md").write_text("# A title\n")
    with pytest.raises(WiseftError, match="is not a file of weights") as error:
        read_checkpoint(tmp_path / "README.md")
    assert "weights_only" not in str(error.value)


def test_a_clip_folder_without_preprocessor_gets_clips_and_says_so(clip_folder, tmp_path):
    (clip_folder / "preprocessor_config.json").unlink()
    said = []
    output = tmp_path / "weights.safetensors"
    with shown(said.append):
        fetch_weights(from_tag(str(clip_folder)), output, tmp_path / "fetched")
    preprocessing = load_weights(output)[1]["preprocessing"]
    assert preprocessing["size"] == 32
    assert preprocessing["mean"] == [0.48145466, 0.4578275, 0.40821073]
    assert preprocessing["std"] == [0.26862954, 0.26130258, 0.27577711]
    assert any("no preprocessor_config.json; images are prepared as for OpenAI" in s for s in said)
