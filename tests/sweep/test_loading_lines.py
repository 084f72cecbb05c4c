"""The lines that a sweep prints, run on the file that they stand beside: the sweep's own logits, on
images of every mode.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from tests import tiny_models as tiny
from tests.random_models import blobs
from tests.sweep.conftest import (
    CLASSES,
    HEAD,
    clip_config,
    save_clip_folder,
    save_timm_folder,
    timm_model,
    tuned,
)

import wiseft
from wiseft.thetas.preprocessing import Preprocessing
from wiseft.tool.loading_lines import loading_example
from wiseft.tool.record import Result
from wiseft.tool.sweep import sweep

MODES = ("RGB", "P", "1", "CMYK", "LA", "RGBA")
"""16 bits a channel are left out: Pillow's own conversion cuts them off, as the docs say."""
OTHER = {"size": 32, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.25], "interpolation": "bilinear"}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def pictures():
    """Yield a photo of each mode, as `photo.jpg`."""
    image = Image.fromarray(np.kron(blobs(1, 9)[0], np.ones((2, 3, 1), np.uint8)))
    for mode in MODES:
        made = image.convert(mode)
        made.save("photo.jpg", "TIFF" if mode == "CMYK" else "PNG")
        assert Image.open("photo.jpg").mode == made.mode
        yield mode


def run_lines(result: Result, **known) -> None:
    """Run the lines on photos of all modes; what they print and compute is the sweep's."""
    lines, model = loading_example(result), None
    given = {"preprocessing": Preprocessing(**result.record.preprocessing)}
    if not result.model_path.is_dir() and result.record.model.loads_with != "wiseft":
        given["architecture"] = result.record.architecture
    for mode in pictures():
        printed, names = io.StringIO(), dict(known)
        with contextlib.redirect_stdout(printed), torch.no_grad():
            exec(lines, names)
        model = model or wiseft.load(result.model_path, **given)
        assert printed.getvalue().strip() == model.predict(["photo.jpg"])[0]
        assert ("logits" in names) == ("wiseft.load" not in lines)
        if "logits" in names:
            torch.testing.assert_close(
                names["logits"], model.logits(["photo.jpg"]), rtol=0, atol=2e-4, msg=mode
            )


def swept(z, f, photos: Path, **options) -> Result:
    folders = photos / "photos", [photos / "paintings"], Path("out")
    return sweep(z, f, *folders, **{"alpha": 0.5, "alphas": [0.5]} | options)


FILES = {
    "plain": lambda f: f,
    "state_dict": lambda f: {"state_dict": f, "epoch": 3},
    "module": lambda f: {"state_dict": {f"module.{k}": v for k, v in f.items()}, "epoch": 1},
    "compiled": lambda f: {f"_orig_mod.{k}": v for k, v in f.items()},
    "another key": lambda f: {"model": f, "step": 7},
    "NumPy scalar": lambda f: {"state_dict": f, "best_acc1": np.float64(0.5), "seed": np.int64(1)},
    "Namespace": lambda f: {"model": f, "args": argparse.Namespace(lr=0.1)},
    "Lightning": lambda f: {
        "state_dict": {f"model.{k}": v for k, v in f.items()},
        "pytorch-lightning_version": "2.5.0",
        "hyper_parameters": {"lr": np.float64(0.1)},
    },
    "own program": lambda f: {
        "net": {f"backbone.{k}": v for k, v in f.items() if k[:7] == "visual."}
        | {f"fc.{name}": HEAD[name] for name in HEAD},
    },
}
BY_OPEN_CLIP = ("plain", "state_dict", "module")


@pytest.mark.parametrize("kind", FILES)
def test_files_of_torch(kind, clips, photos):
    torch.save(clips[0], "z.pt")
    torch.save(content := FILES[kind](clips[1]), "f.ckpt")
    result = (
        swept("z.pt", "f.ckpt", photos, architecture="Tiny", features="normalised")
        if (kind == "own program")
        else swept("z.pt", "f.ckpt", photos, architecture="Tiny")
    )
    lines = loading_example(result)
    assert ("open_clip.create_model" in lines) == (kind in BY_OPEN_CLIP)
    run_lines(result)
    if kind not in BY_OPEN_CLIP:
        (own,) = (line for line in lines.splitlines() if "load_state_dict" in line)
        tensors = content.get("state_dict", content.get("model", content.get("net", content)))
        into = torch.nn.ParameterDict()
        for name, tensor in tensors.items():
            at = into
            for part in name.split(".")[:-1]:
                at = at.setdefault(part, torch.nn.ParameterDict())
            at[name.split(".")[-1]] = torch.nn.Parameter(tensor.float(), requires_grad=False)
        exec(f"import torch\n{own.removeprefix('# ')}", {"model": into})
        assert ("weights_only=False" in own) == (kind in ("NumPy scalar", "Namespace", "Lightning"))


def test_safetensors_and_another_preprocessing(clips, photos):
    save_file(clips[0], "z.safetensors")
    save_file(clips[1], "f.safetensors")
    for extra in ({}, {"resize_mode": "squash"}, {"resize_size": 40}):
        pixels = Preprocessing(**OTHER, **extra)
        ends = "z.safetensors", "f.safetensors"
        folders = photos / "photos", [photos / "paintings"], Path(f"out{len(str(extra))}")
        result = sweep(*ends, *folders, alpha=0.5, alphas=[0.5], preprocessing=pixels)
        assert ("image_mean" in loading_example(result)) == ("resize_size" not in extra)
        run_lines(result)


def test_folders_with_and_without_what_prepares_images(photos):
    torch.manual_seed(0)
    model = transformers.CLIPModel(clip_config())
    for name in ("a", "b"):
        save_clip_folder(model, Path(f"processor-{name}"))
        model.save_pretrained(f"bare-{name}")
        model.load_state_dict(tuned(model.state_dict(), only="vision_model."))
        save_timm_folder(timm_model(ord(name)), Path(f"timm-{name}"), CLASSES)
    for kind in ("processor", "bare", "timm"):
        folders = photos / "photos", [photos / "paintings"]
        result = sweep(f"{kind}-a", f"{kind}-b", *folders, f"out-{kind}", alpha=0.5, alphas=[0.5])
        assert "wiseft" not in loading_example(result)
        run_lines(result)
        other = Preprocessing(**OTHER)
        how = {"alpha": 0.5, "alphas": [0.5], "preprocessing": other}
        result = sweep(f"{kind}-a", f"{kind}-b", *folders, f"other-{kind}", **how)
        assert "Preprocessing(**" in loading_example(result)
        run_lines(result)


def test_a_classifier_of_timm_in_a_file(photos):
    """Prepared as OpenAI's CLIPs are, as the sweep says, and not as timm has it for the name."""
    models = [timm.create_model("test_vit", num_classes=4) for _ in range(2)]
    for name, model in zip(("z.pth", "f.pth"), models, strict=True):
        torch.nn.init.normal_(model.head.weight)
        torch.save(model.state_dict(), name)
    folders = photos / "photos", [photos / "paintings"], Path("out")
    named = {"architecture": "test_vit", "classes": CLASSES}
    result = sweep("z.pth", "f.pth", *folders, alpha=0.5, alphas=[0.5], **named)
    assert "timm.create_model" in loading_example(result)
    run_lines(result)


def test_what_wiseft_wrote(clips, photos):
    torch.save(clips[0], "z.pt")
    wiseft.load("z.pt", classes=CLASSES).save("theta.safetensors")
    run_lines(swept("theta.safetensors", "theta.safetensors", photos))


def test_where_nothing_names_the_architecture_the_own_program_loads(clips, photos, monkeypatch):
    Path("folder").mkdir()
    config = {"model_cfg": tiny.clip(), "preprocess_cfg": {}}
    Path("folder", "open_clip_config.json").write_text(json.dumps(config))
    save_file(clips[0], "folder/open_clip_model.safetensors")
    save_file(clips[1], "f.safetensors")
    monkeypatch.delitem(open_clip.factory._MODEL_CONFIGS, "Tiny")
    result = swept("folder", "f.safetensors", photos)
    names = {"model": torch.nn.Linear(1, 1)}
    names["model"].load_state_dict = names.update
    exec(loading_example(result), names)
    middle = torch.lerp(clips[0]["visual.proj"], clips[1]["visual.proj"], 0.5)
    torch.testing.assert_close(names["visual.proj"], middle, rtol=0, atol=1e-6)
