"""The forms of checkpoints that `wiseft merge` takes, each written by the program that uses it."""

import json
from argparse import Namespace

import numpy as np
import open_clip
import pytest
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests import tiny_models as tiny
from tests.combine.test_adapters import factors
from tools.rehearsal.checkpoints import Holder, torchscript, weights_of

from wiseft.foreign.huggingface import to_open_clip
from wiseft.models import towers
from wiseft.thetas.theta import load_theta, make_header, save_theta, save_weights
from wiseft.tool.api import merge_files

__all__ = ["Holder"]  # TorchScript reads the source of the class


def in_torch(wrap=lambda w: w, **options):
    """Return how a state dict is written, and how its program reads it."""

    def write(path, weights):
        torch.save(wrap(weights), path, **options)

    def read(path):
        content = torch.load(path, weights_only=False)
        for key in ("state_dict", "model_state_dict", "model", "module"):
            content = content.get(key, content)
        return {k.replace("module.", "").replace("_orig_mod.", ""): v for k, v in content.items()}

    return write, read


def prefixed(prefix):
    return in_torch(lambda w: {"state_dict": {prefix + key: value for key, value in w.items()}})


def wrapped(key, **beside):
    return in_torch(lambda w: {key: w} | beside)


def in_safetensors(dtype=torch.float32, metadata=None):
    def write(path, weights):
        own = {k: v.to(dtype) if v.is_floating_point() else v for k, v in weights.items()}
        save_file(own, path, metadata=metadata)

    return write, load_file


def scripted(path, weights):
    torchscript(weights, path)


LIGHTNING = {"epoch": 1, "global_step": 2, "pytorch-lightning_version": "2.5", "loops": {}}
LIGHTNING |= {"callbacks": {}, "optimizer_states": [], "hyper_parameters": {"lr": 0.1}}
FILES = {
    "state-dict": in_torch(),
    "state_dict": wrapped("state_dict", epoch=3, name="run"),
    "model_state_dict": wrapped("model_state_dict", optimizer_state_dict={"lr": 1}),
    "model": wrapped("model", lr_scheduler={"step": 3}),
    "module": wrapped("module", dp_world_size=1),
    "ddp": prefixed("module."),
    "torch-compile": prefixed("_orig_mod."),
    "ddp-and-torch-compile": prefixed("module._orig_mod."),
    "legacy": in_torch(_use_new_zipfile_serialization=False),
    "lightning": wrapped("state_dict", **LIGHTNING),
    "namespace": wrapped("model", args=Namespace(lr=0.1)),
    "numpy-scalars": wrapped("model", best=np.float64(0.5), epoch=np.int64(3)),
    "safetensors": in_safetensors(),
    "safetensors-metadata": in_safetensors(metadata={"format": "pt", "by": "me"}),
    "bfloat16": in_safetensors(torch.bfloat16),
    "float16": in_safetensors(torch.float16),
    "torchscript": (scripted, in_torch()[1]),
}


def merge(a, b, output):
    merge_files(a, b, "0.500", output)
    return output


def check(found, a, b):
    """Compare with the mean, to the rounding of the dtype."""
    assert found.keys() == a.keys()
    for name, tensor in found.items():
        mean = a[name] if not a[name].is_floating_point() else (a[name].float() + b[name]) / 2
        torch.testing.assert_close(tensor, mean.to(a[name].dtype))


@pytest.mark.parametrize("form", FILES)
def test_files(tmp_path, form):
    """Of one form both, and of it and plain safetensors."""
    write, read = FILES[form]
    a, b = (weights_of(tiny.clip(), seed) for seed in (1, 2))
    write(tmp_path / "a", a)
    write(tmp_path / "b", b)
    save_file(b, tmp_path / "b.safetensors")
    one, other = (a, b) if form == "torchscript" else (read(tmp_path / n) for n in "ab")
    check(read(merge(tmp_path / "a", tmp_path / "b", tmp_path / "c")), one, other)
    check(read(merge(tmp_path / "a", tmp_path / "b.safetensors", tmp_path / "d")), one, b)
    check(load_file(merge(tmp_path / "b.safetensors", tmp_path / "a", tmp_path / "e")), b, one)


# ---------------------------------------------------------------------------------------- folders


def clip(path, seed, **options):
    text = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"intermediate_size": 64, "max_position_embeddings": 20, "hidden_act": "gelu"}
    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"intermediate_size": 64, "image_size": 32, "patch_size": 16, "hidden_act": "gelu"}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    torch.manual_seed(seed)
    model = transformers.CLIPModel(config)
    model.save_pretrained(path, **options)
    return model


def clip_bin(path, seed):
    model = clip(path, seed)
    (path / "model.safetensors").unlink()
    torch.save(model.state_dict(), path / "pytorch_model.bin")


def open_clip_folder(path, seed):
    """As `open_clip.push_to_hf_hub` writes it."""
    from open_clip.push_to_hf_hub import save_config_for_hf

    torch.manual_seed(seed)
    model = open_clip.create_model("Tiny")
    path.mkdir()
    save_config_for_hf(model, path / "open_clip_config.json", tiny.clip())
    tensors = {k: v.contiguous() for k, v in model.state_dict().items()}
    save_file(tensors, path / "open_clip_model.safetensors")


def timm_folder(path, seed):
    torch.manual_seed(seed)
    model = timm.create_model("test_vit", num_classes=2)
    timm.models.save_for_hf(model, path, safe_serialization=True)


def of_clip(path):
    return transformers.CLIPModel.from_pretrained(path).state_dict()


def of_open_clip(path):
    return open_clip.create_model(f"local-dir:{path}").state_dict()


def of_timm(path):
    return timm.create_model(f"local-dir:{path}", pretrained=True).state_dict()


FOLDERS = {
    "clip-safetensors": (clip, of_clip),
    "clip-sharded": (lambda path, seed: clip(path, seed, max_shard_size="60KB"), of_clip),
    "clip-bin": (clip_bin, of_clip),
    "open-clip": (open_clip_folder, of_open_clip),
    "timm": (timm_folder, of_timm),
}


@pytest.mark.parametrize("form", FOLDERS)
def test_folders(tmp_path, form, monkeypatch):
    """What the library loads of the result is the mean of what it loads of both."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny", tiny.clip())
    write, read = FOLDERS[form]
    for seed, name in enumerate("ab"):
        write(tmp_path / name, seed)
    one, other = (read(tmp_path / name) for name in "ab")
    check(read(merge(tmp_path / "a", tmp_path / "b", tmp_path / "c")), one, other)


def test_a_clip_of_transformers_and_a_file_of_open_clip(tmp_path):
    model = towers.floating(clip(tmp_path / "a", 1).state_dict())
    weights = weights_of(tiny.clip(), 2)
    torch.save({"state_dict": weights}, tmp_path / "b.pt")
    merge(tmp_path / "a", tmp_path / "b.pt", tmp_path / "c")
    found = towers.floating(of_clip(tmp_path / "c"))
    check(dict(to_open_clip(found)), dict(to_open_clip(model)), weights)


def test_a_lora_folder(tmp_path):
    base = {"fc.weight": torch.zeros(5, 3), "fc.bias": torch.ones(5)}
    save_file(base, tmp_path / "a.safetensors")
    (tmp_path / "b").mkdir()
    adapter = factors("fc", 5, (3,))
    save_file(adapter, tmp_path / "b" / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 4}
    (tmp_path / "b" / "adapter_config.json").write_text(json.dumps(config))
    first, second = adapter.values()
    check(
        load_file(merge(tmp_path / "a.safetensors", tmp_path / "b", tmp_path / "c")),
        base,
        base | {"fc.weight": second @ first},
    )


def test_what_wiseft_wrote(tmp_path):
    """Two thetas; and its weights as the second of a file of another program."""
    about = {"architecture": tiny.clip(), "preprocessing": tiny.PREPROCESSING}
    a, b = (weights_of(tiny.clip(), seed) for seed in (1, 2))
    head = {"head.weight": torch.ones(3, 16), "head.bias": torch.zeros(3)}
    thetas = [towers.image_tensors(tiny.clip(), each) | head for each in (a, b)]
    for name, theta in zip("ab", thetas, strict=True):
        header = make_header(
            "zero-shot", "zeroshot", class_names=["x", "y", "z"], parents={}, **about
        )
        save_theta(tmp_path / f"{name}.safetensors", theta, header)
    found = merge(*(tmp_path / f"{n}.safetensors" for n in "ab"), tmp_path / "c.safetensors")
    check(load_theta(found).tensors, *thetas)
    torch.save(a, tmp_path / "a.pt")
    save_weights(tmp_path / "w", towers.floating(b), about | {"source": {}, "stage": "weights"})
    check(torch.load(merge(tmp_path / "a.pt", tmp_path / "w", tmp_path / "c.pt")), a, b)
