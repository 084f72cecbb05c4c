"""`wiseft sweep Z F`: from two checkpoints and folders to tables, a page and a model that loads."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import open_clip
import pandas as pd
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file
from tests.sweep.conftest import (
    CLASSES,
    HEAD,
    clip_config,
    photo,
    save_clip_folder,
    save_timm_folder,
    timm_model,
    tuned,
)
from tests.towers import tiny
from tests.weights.conftest import Holder, torchscript

from wiseft.evaluate.score import score_folder
from wiseft.sweep.loading import loading_example
from wiseft.sweep.record import Result, read_record
from wiseft.sweep.run import sweep

__all__ = ["Holder"]  # TorchScript reads the source of the class


def run(z, f, photos, output, shifts=("sketches", "paintings"), **options) -> Result:
    options = {"architecture": "Tiny", "say": lambda _: None, "alphas": [0.25, 0.75]} | options
    folders = [photos / name for name in shifts]
    return sweep(z, f, photos / "photos", folders, output, **options)


def classified(result: Result, folder: Path, monkeypatch) -> str:
    """Return what the loading example prints of a photo."""
    photo(folder)
    monkeypatch.chdir(folder)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), torch.no_grad():
        exec(loading_example(result), {})
    return printed.getvalue().strip()


def mixed(a, b, alpha):
    return {key: torch.lerp(a[key].float(), b[key].float(), alpha) for key in a}


def close(a, b) -> None:
    torch.testing.assert_close(dict(a), dict(b), rtol=0, atol=1e-6)


def encoder_and_head(image, names=("image_encoder.model.visual.", "classification_head.")):
    """Return the state dict of the authors' ImageClassifier."""
    own = {
        f"{names[0]}{k.removeprefix('visual.')}": v for k, v in image.items() if k[:7] == "visual."
    }
    return own | {f"{names[1]}{key}": value for key, value in HEAD.items()}


# ---------------------------------------------------------------------------------------- formats


def test_open_clip(clips, photos, tmp_path, monkeypatch):
    """Two towers with one text tower: the image tower is interpolated, a head lies beside."""
    for name, weights in zip(("z.pt", "f.pt"), clips, strict=True):
        torch.save({"state_dict": weights, "epoch": 3}, tmp_path / name)
    result = run(tmp_path / "z.pt", tmp_path / "f.pt", photos, tmp_path / "out", alpha=0.35)
    model = open_clip.create_model("Tiny")
    open_clip.load_checkpoint(model, str(result.model_path), strict=True)
    close(model.state_dict(), mixed(*clips, 0.35))
    assert torch.load(result.model_path, weights_only=True)["epoch"] == 3
    assert classified(result, tmp_path, monkeypatch) in CLASSES
    assert "text towers are equal" in result.record.head


def test_the_example_classifies_as_the_sweep_did(clips, photos, tmp_path, monkeypatch):
    """Prediction by prediction: preprocessing, model and head of the files are the evaluated."""
    for name, weights in zip(("z.pt", "f.pt"), clips, strict=True):
        torch.save(weights, tmp_path / name)
    result = run(tmp_path / "z.pt", tmp_path / "f.pt", photos, tmp_path / "out", alpha=0.75)
    work = tmp_path / "out" / ".work"
    table = pd.read_parquet(work / "evaluation" / "paintings" / "predictions.parquet")
    names = read_record(tmp_path / "out").class_names
    monkeypatch.chdir(tmp_path)
    for path, place in zip(
        table["sample_id"][::7], table["weight/all/0.750/prediction"][::7], strict=True
    ):
        (tmp_path / "photo.jpg").write_bytes((photos / "paintings" / path).read_bytes())
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(loading_example(result), {})
        assert printed.getvalue().strip() == names[place]


def test_text_towers_that_differ_are_interpolated_too(clips, photos, tmp_path):
    """A model that was fine-tuned contrastively: the head is that of the interpolated text tower."""
    f = tuned(clips[0])
    save_file(clips[0], tmp_path / "z.safetensors")
    save_file(f, tmp_path / "f.safetensors")
    said = []
    result = run(
        tmp_path / "z.safetensors",
        tmp_path / "f.safetensors",
        photos,
        tmp_path / "out",
        alpha=0.4,
        say=said.append,
    )
    found = load_file(result.model_path)
    close({k: v for k, v in found.items() if v.is_floating_point()}, mixed(clips[0], f, 0.4))
    assert any("text towers differ" in line for line in said)
    score = score_folder(
        result.model_path, photos / "paintings", architecture="Tiny", say=lambda _: None
    )
    assert score.n_correct == correct(result, "paintings", 0.4)


def correct(result: Result, name: str, alpha: float) -> int:
    (row,) = (
        a for a in result.record.accuracy if (a.set, a.split, a.alpha) == (name, "test", alpha)
    )
    return row.n_correct


def test_transformers(photos, tmp_path, monkeypatch):
    torch.manual_seed(0)
    z = transformers.CLIPModel(clip_config())
    save_clip_folder(z, tmp_path / "z")
    before = {key: value.clone() for key, value in z.state_dict().items()}
    z.load_state_dict(tuned(before, only="vision_model."))
    save_clip_folder(z, tmp_path / "f")
    result = run(
        tmp_path / "z", tmp_path / "f", photos, tmp_path / "out", alpha=0.3, architecture=None
    )
    found, notes = transformers.CLIPModel.from_pretrained(
        result.model_path, output_loading_info=True
    )
    assert not any(notes[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    expected = mixed(before, z.state_dict(), 0.3)
    close(
        {k: v for k, v in found.state_dict().items() if v.is_floating_point()},
        {k: v for k, v in expected.items() if before[k].is_floating_point()},
    )
    assert classified(result, tmp_path, monkeypatch) in CLASSES


def test_timm(photos, tmp_path, monkeypatch):
    """Classifiers of one label set: the head is in the model."""
    z = timm_model(1)
    f = timm_model(2)
    for name, model in (("z", z), ("f", f)):
        save_timm_folder(model, tmp_path / name, CLASSES)
    result = run(
        tmp_path / "z", tmp_path / "f", photos, tmp_path / "out", alpha=0.2, architecture=None
    )
    assert not (tmp_path / "out" / "model" / "head.safetensors").exists()
    model = timm.create_model(f"local-dir:{result.model_path}", pretrained=True)
    close(model.state_dict(), mixed(z.state_dict(), f.state_dict(), 0.2))
    timm_model(3).load_state_dict(load_file(result.model_path / "model.safetensors"), strict=True)
    assert classified(result, tmp_path, monkeypatch) in CLASSES


def test_the_papers_own(clips, photos, tmp_path):
    """A whole zero-shot CLIP, OpenAI's archive, and an encoder with a head of another program."""
    z, f = clips
    torchscript(z, tmp_path / "z.pt")
    torch.save(encoder_and_head(f), tmp_path / "f.pt")
    result = run(tmp_path / "z.pt", tmp_path / "f.pt", photos, tmp_path / "out", alpha=0.5)
    found = torch.load(result.model_path, weights_only=True)
    assert found.keys() == encoder_and_head(f).keys()
    middle = mixed(z, f, 0.5)
    close(
        {k: v for k, v in found.items() if "head" not in k},
        {k: v for k, v in encoder_and_head(middle).items() if "head" not in k},
    )
    zero_shot = load_head(z, photos, tmp_path)
    close(
        {"weight": found["classification_head.weight"], "bias": found["classification_head.bias"]},
        mixed(zero_shot, HEAD, 0.5),
    )
    assert result.record.templates == ["a photo of a {c}."]


def load_head(weights, photos, folder):
    from wiseft import towers
    from wiseft.zeroshot.text_head import Prompts

    model = towers.load(tiny.clip(), weights, "test")
    head = Prompts([[name] for name in CLASSES], ["a photo of a {c}."]).head(model)
    return {"weight": head["head.weight"], "bias": head["head.bias"]}
