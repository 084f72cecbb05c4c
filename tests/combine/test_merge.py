"""`wiseft merge`: what comes out loads where the first checkpoint loads."""

import json

import open_clip
import pytest
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests import tiny_models as tiny
from tests.weights.conftest import same
from tools.rehearsal.checkpoints import Holder, torchscript, weights_of

from wiseft.base.messages import shown
from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.foreign.huggingface import from_open_clip
from wiseft.models import towers
from wiseft.thetas.theta import load_theta, make_header, save_theta
from wiseft.tool.api import merge_files

__all__ = ["Holder"]  # TorchScript reads the source of the class


@pytest.fixture
def pair():
    """Two CLIPs of one architecture."""
    return weights_of(tiny.clip(), 1), weights_of(tiny.clip(), 2)


def mixed(a, b, alpha=0.5):
    return {key: torch.lerp(a[key].float(), b[key].float(), alpha) for key in a}


def merge(a, b, output, alpha="0.500"):
    merge_files(a, b, alpha, output)


def test_a_model_of_open_clip_stays_one(pair, tmp_path, monkeypatch):
    """A training checkpoint with its wrapper and prefix: open_clip loads both A and C."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny", tiny.clip())
    for name, weights in zip(("a.pt", "b.pt"), pair, strict=True):
        wrapped = {f"module.{key}": value for key, value in weights.items()}
        torch.save({"epoch": 1, "state_dict": wrapped, "optimizer": {}}, tmp_path / name)
    merge(tmp_path / "a.pt", tmp_path / "b.pt", tmp_path / "c.pt")
    model = open_clip.create_model("Tiny", pretrained=str(tmp_path / "c.pt"))
    assert same(dict(model.state_dict()), mixed(*pair))
    content = torch.load(tmp_path / "c.pt", weights_only=True)
    assert content.keys() == {"epoch", "state_dict"}
    assert all(key.startswith("module.") for key in content["state_dict"])


@pytest.mark.parametrize("alpha", ["0.000", "1.000"])
def test_the_ends_are_the_checkpoints_themselves(pair, alpha, tmp_path):
    save_file(pair[0], tmp_path / "a.safetensors", metadata={"format": "pt"})
    save_file(pair[1], tmp_path / "b.safetensors", metadata={"format": "pt"})
    merge(tmp_path / "a.safetensors", tmp_path / "b.safetensors", tmp_path / "c", alpha)
    assert same(load_file(tmp_path / "c"), pair[int(float(alpha))])


def test_dtypes_are_those_of_the_first(tmp_path):
    a = {"w": torch.tensor([1.0, 2.0]).half(), "position_ids": torch.tensor(3), "b": torch.zeros(2)}
    b = {"w": torch.tensor([2.0, 4.0]), "b": torch.ones(2).bfloat16()}
    torch.save(a, tmp_path / "a.pt")
    save_file(b, tmp_path / "b.safetensors")
    merge(tmp_path / "a.pt", tmp_path / "b.safetensors", tmp_path / "c.pt", "0.250")
    found = torch.load(tmp_path / "c.pt", weights_only=True)
    assert found["w"].dtype == torch.float16
    assert found["w"].tolist() == [1.25, 2.5]
    assert found["position_ids"] == 3
    assert found["b"].tolist() == [0.25, 0.25]


@pytest.mark.parametrize("odd", [torch.tensor([3]), torch.tensor([True]), torch.tensor([1j])])
def test_a_tensor_that_one_file_alone_has_is_neither_dropped_nor_kept(tmp_path, odd):
    """Such as places of experts: of what is not averaged, and no library makes itself."""
    start, end = {"w": torch.zeros(2), "bias": torch.ones(1)}, {"w": torch.ones(2)}
    end["bias"] = start["bias"]
    save_file(start, tmp_path / "a.safetensors")
    torch.save(end | {"experts": odd}, tmp_path / "b.pt")
    torch.save(end | {"m.position_ids": odd, "attn.bias": odd}, tmp_path / "made.pt")
    for pair in (("a.safetensors", "b.pt"), ("b.pt", "a.safetensors")):
        with pytest.raises(WiseftError, match=r"experts is in one of \S+ and \S+ alone, and is no"):
            merge(*(tmp_path / each for each in pair), tmp_path / "c.pt")
        assert not (tmp_path / "c.pt").exists()
    merge(tmp_path / "made.pt", tmp_path / "a.safetensors", tmp_path / "c.pt")
    found = torch.load(tmp_path / "c.pt", weights_only=True)
    assert torch.equal(found["m.position_ids"], odd)
    assert found["w"].tolist() == [0.5, 0.5]


# ------------------------------------------------------------------------------------ transformers


@pytest.fixture
def clip_folders(tmp_path):
    """Two CLIPModels of transformers with a tokenizer's file beside them."""
    text = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"intermediate_size": 64, "max_position_embeddings": 20}
    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"intermediate_size": 64, "image_size": 32, "patch_size": 16}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    for seed, name in enumerate(("a", "b")):
        torch.manual_seed(seed)
        transformers.CLIPModel(config).save_pretrained(tmp_path / name)
        (tmp_path / name / "vocab.json").write_text(json.dumps({"the": 0}))
        (tmp_path / name / "chat_template.json").write_text(json.dumps({"of": name}))
    return tmp_path / "a", tmp_path / "b"


def test_a_clip_model_of_transformers_stays_one(clip_folders, tmp_path):
    a, b = clip_folders
    merge(a, b, tmp_path / "c")
    load = transformers.CLIPModel.from_pretrained
    one, other, found = (dict(load(path).state_dict()) for path in (a, b, tmp_path / "c"))
    floating = towers.floating(one)
    assert same(towers.floating(found), mixed(floating, {key: other[key] for key in floating}))
    assert json.loads((tmp_path / "c" / "vocab.json").read_text()) == {"the": 0}
    assert json.loads((tmp_path / "c" / "chat_template.json").read_text()) == {"of": "a"}


def test_a_folder_whose_merge_was_killed_is_merged_by_the_same_command(clip_folders, tmp_path):
    a, b = clip_folders
    left = tmp_path / ".c.tmp-aaaaaaaa"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    merge(a, b, tmp_path / "c")
    assert not left.exists()
    names = {path.name for path in (tmp_path / "c").iterdir()}
    assert names == {path.name for path in a.iterdir()}
    assert (tmp_path / "c").stat().st_mode == a.stat().st_mode


def test_open_clip_and_transformers_can_be_mixed(clip_folders, pair, tmp_path):
    """In both directions, into the first one's format."""
    folder, weights = clip_folders[0], pair[1]
    save_file(weights, tmp_path / "clip.safetensors")
    theirs = load_file(folder / "model.safetensors")
    merge(folder, tmp_path / "clip.safetensors", tmp_path / "c", "0.250")
    found = load_file(tmp_path / "c" / "model.safetensors")
    assert same(found, mixed(theirs, from_open_clip(weights), 0.25))
    merge(tmp_path / "clip.safetensors", folder, tmp_path / "d.safetensors", "0.750")
    found = load_file(tmp_path / "d.safetensors")
    # The same point of the same line, from its other end.
    torch.testing.assert_close(
        from_open_clip(found), mixed(theirs, from_open_clip(weights), 0.25), rtol=0, atol=1e-6
    )


def test_a_text_tower_of_its_own_keeps_its_names(clip_folders, tmp_path):
    weights = weights_of(tiny.custom())
    save_file(weights, tmp_path / "custom.safetensors")
    merge(tmp_path / "custom.safetensors", clip_folders[0], tmp_path / "c.safetensors")
    assert load_file(tmp_path / "c.safetensors").keys() == weights.keys()


def test_what_no_tensor_shows_is_compared_too(clip_folders, tmp_path):
    a, b = clip_folders
    config = json.loads((b / "config.json").read_text())
    for tower in ("text_config", "vision_config"):
        config[tower]["hidden_act"] = "gelu"
    config["text_config"]["num_attention_heads"] = 4
    (b / "config.json").write_text(json.dumps(config))
    with pytest.raises(WiseftError, match=r"True and False, text_cfg\.heads is 2 and 4"):
        merge(a, b, tmp_path / "c")
    assert not (tmp_path / "c").exists()


# ------------------------------------------------------------------------------------ other formats


def test_a_torchscript_archive_becomes_a_plain_state_dict(pair, tmp_path):
    sizes = {"input_resolution": torch.tensor(32)}
    torchscript({k: v.half() for k, v in pair[0].items()} | sizes, tmp_path / "a.pt")
    torch.save(pair[1], tmp_path / "b.pt")
    said = []
    with shown(said.append):
        merge_files(tmp_path / "a.pt", tmp_path / "b.pt", "0.500", tmp_path / "c.pt")
    found = torch.load(tmp_path / "c.pt", weights_only=True)
    assert found.pop("input_resolution") == 32
    expected = mixed({k: v.half() for k, v in pair[0].items()}, pair[1])
    assert same(found, {key: value.half() for key, value in expected.items()})
    assert any("plain state dict" in line for line in said)


def test_a_timm_model_stays_one(tmp_path):
    options = tiny.timm()["options"]
    models = []
    for seed, name in enumerate(("a", "b")):
        torch.manual_seed(seed)
        model = timm.create_model("vit_tiny_patch16_224", num_classes=4, **options)
        torch.save(model.state_dict(), tmp_path / f"{name}.pth")
        models.append({key: value.clone() for key, value in model.state_dict().items()})
    merge(tmp_path / "a.pth", tmp_path / "b.pth", tmp_path / "c.pth")
    model.load_state_dict(torch.load(tmp_path / "c.pth", weights_only=True))
    assert same(dict(model.state_dict()), mixed(*models))


def test_thetas_are_interpolated_with_their_headers(tmp_path):
    for seed, name in ((1, "a"), (2, "b")):
        weights = weights_of(tiny.clip(), seed)
        theta = towers.image_tensors(tiny.clip(), weights)
        theta |= {"head.weight": torch.randn(3, 16), "head.bias": torch.zeros(3)}
        header = make_header(
            "zero-shot",
            "zeroshot",
            architecture=tiny.clip(),
            preprocessing=tiny.PREPROCESSING,
            class_names=["x", "y", "z"],
            parents={},
        )
        save_theta(tmp_path / f"{name}.safetensors", theta, header)
    merge(tmp_path / "a.safetensors", tmp_path / "b.safetensors", tmp_path / "c.safetensors")
    assert load_theta(tmp_path / "c.safetensors").header.kind == "combined"
    torch.save({"x": torch.zeros(1)}, tmp_path / "x.pt")
    with pytest.raises(WiseftError, match=r"was written by wiseft.*`wiseft import`"):
        merge(tmp_path / "a.safetensors", tmp_path / "x.pt", tmp_path / "d.safetensors")


# --------------------------------------------------------------------------------------- refusals


def test_models_of_different_architectures_are_refused(pair, tmp_path):
    other = {key: value for key, value in pair[1].items() if key != "ln_final.bias"}
    other["visual.proj"] = torch.zeros(16, 3)
    torch.save(pair[0], tmp_path / "a.pt")
    torch.save(other, tmp_path / "b.pt")
    with pytest.raises(WiseftError) as caught:
        merge(tmp_path / "a.pt", tmp_path / "b.pt", tmp_path / "c.pt")
    message = str(caught.value)
    assert "1 missing: ln_final.bias" in message
    assert "visual.proj (expected (16, 16), found (16, 3))" in message
    assert not (tmp_path / "c.pt").exists()


def test_nothing_is_written_over_and_nothing_is_run(pair, tmp_path):
    for name in ("a.pt", "b.pt"):
        torch.save(pair[0], tmp_path / name)
    with pytest.raises(WiseftError, match=r"a\.pt exists and is not touched"):
        merge(tmp_path / "a.pt", tmp_path / "b.pt", tmp_path / "a.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "b.pt")
    with pytest.raises(WiseftError, match="pickled objects"):
        merge(tmp_path / "a.pt", tmp_path / "b.pt", tmp_path / "c.pt")
    with pytest.raises(WiseftError, match="lies outside"):
        merge(tmp_path / "a.pt", tmp_path / "a.pt", tmp_path / "c.pt", "1.5")
    assert not (tmp_path / "c.pt").exists()


def test_a_nan_is_refused(pair, tmp_path):
    torch.save(pair[0], tmp_path / "a.pt")
    pair[1]["visual.proj"][0, 0] = torch.nan
    torch.save(pair[1], tmp_path / "b.pt")
    with pytest.raises(WiseftError, match=r"visual\.proj holds a NaN"):
        merge(tmp_path / "a.pt", tmp_path / "b.pt", tmp_path / "c.pt")


def test_command(pair, tmp_path, capsys):
    for name, weights in zip(("a.pt", "b.pt"), pair, strict=True):
        torch.save(weights, tmp_path / name)
    paths = [str(tmp_path / name) for name in ("a.pt", "b.pt", "c.pt")]
    with pytest.raises(SystemExit) as left:
        main(["merge", paths[0], paths[1], "--alpha", "0.5", "-o", paths[2]])
    assert left.value.code == 0
    assert same(torch.load(paths[2], weights_only=True), mixed(*pair))
    with pytest.raises(SystemExit) as left:
        main(["merge", "--help"])
    assert "wiseft merge zeroshot.pt finetuned.pt --alpha 0.5 -o wise.pt" in " ".join(
        capsys.readouterr().out.split()
    )


def test_a_device_that_is_not_there_is_told(tmp_path, capsys):
    for name in ("a", "b"):
        save_file({"weight": torch.ones(2)}, tmp_path / f"{name}.safetensors")
    given = ["merge", *(str(tmp_path / f"{name}.safetensors") for name in ("a", "b"))]
    given += ["-o", str(tmp_path / "c.safetensors"), "--device"]
    with pytest.raises(SystemExit, match="1"):
        main([*given, "mps"])
    assert "device is mps, but torch finds no GPU of a Mac" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        main([*given, "auto"])
    assert torch.equal(load_file(tmp_path / "c.safetensors")["weight"], torch.ones(2))
