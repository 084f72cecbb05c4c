"""`import wiseft`: what it offers, and that it takes nothing along."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from tests import tiny_models as tiny
from tests.evaluate.conftest import CLASSES, blobs, tiny_header, tiny_tensors
from tools.rehearsal.checkpoints import weights_of

import wiseft
from wiseft.combine.files import interpolate_files
from wiseft.errors import WiseftError
from wiseft.models.towers import load as load_tower
from wiseft.thetas.theta import load_theta, save_theta
from wiseft.tool.api import merge_files
from wiseft.zeroshot.head import build_head

DOCS = Path(__file__).parents[2] / "docs" / "sweep.md"
NAMES = ["bird", "number", "paper", "tail"]


def python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_import_takes_no_library_along():
    program = "import sys; before = set(sys.modules); import wiseft, importlib, typing; " + (
        "print({name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    assert eval(python(program)) <= {"wiseft", "importlib", "typing", *sys.stdlib_module_names}


def test_every_name_is_there_whatever_was_imported_before():
    program = (
        "import wiseft.tool.record, wiseft\n"
        "assert set(wiseft.__all__) <= set(dir(wiseft))\n"
        "assert all(callable(getattr(wiseft, name)) for name in wiseft.__all__)\n"
        "print(wiseft.sweep.Result.__name__, hasattr(wiseft, 'absent'))"
    )
    assert python(program) == "Result False"


@pytest.fixture
def thetas(tmp_path) -> list[Path]:
    paths = [tmp_path / f"theta_{seed}.safetensors" for seed in (0, 1)]
    for seed, path in enumerate(paths):
        save_theta(path, tiny_tensors(seed), tiny_header())
    return paths


def test_a_theta_classifies_files_and_images(tmp_path, thetas):
    images = blobs(7, 3)
    files = [tmp_path / f"{number}.png" for number in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    model = wiseft.load(thetas[1])
    with torch.no_grad():
        expected = model.module(torch.from_numpy(images).permute(0, 3, 1, 2))
    found = model.logits(files, batch_size=3)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
    assert torch.equal(model.logits([Image.fromarray(image) for image in images], 3), found)
    predicted = model.predict([str(file) for file in files])
    assert predicted == [CLASSES[place] for place in expected.argmax(dim=1)]
    assert len(set(predicted)) > 1
    assert model.logits([]).shape == (0, 4)
    with pytest.raises(WiseftError, match=r"absent\.png"):
        model.predict([tmp_path / "absent.png"])


def test_a_zero_shot_model_gets_a_head_of_prompts(tmp_path):
    weights = weights_of(tiny.clip(), 1)
    torch.save(weights, tmp_path / "clip.pt")
    (tmp_path / "tiny.json").write_text(json.dumps(tiny.clip()))
    given = {"architecture": str(tmp_path / "tiny.json")}
    model = wiseft.load(tmp_path / "clip.pt", classes=NAMES, templates=["a {c}"], **given)
    wanted = build_head(load_tower(tiny.clip(), weights, "it"), [[n] for n in NAMES], ["a {c}"])
    torch.testing.assert_close(model.theta.tensors["head.weight"], wanted)
    assert model.class_names == NAMES
    with pytest.raises(WiseftError, match="nothing names the classes"):
        wiseft.load(tmp_path / "clip.pt", **given)


@pytest.mark.parametrize("alpha", [0, 0.25, 1])
def test_between_two_classifiers_is_what_the_command_writes(tmp_path, thetas, alpha):
    z, f = map(wiseft.load, thetas)
    between = wiseft.interpolate(z, f, alpha)
    made = interpolate_files(*thetas, alpha, tmp_path / "command.safetensors")
    assert between.theta.identity == made
    between.save(tmp_path / "library.safetensors")
    files = [load_theta(tmp_path / f"{name}.safetensors") for name in ("command", "library")]
    assert files[0].header == files[1].header
    again = wiseft.interpolate(between, f, 0.5)  # of one that is in no file
    assert again.theta.header.parents["theta_0"] == made


def test_between_two_state_dicts(thetas):
    zero, one = ({"w": torch.full((2,), v), "steps": torch.tensor(int(v))} for v in (1.0, 3.0))
    mixed = wiseft.interpolate(zero, one, "0.25")
    assert mixed["w"].tolist() == [1.5, 1.5]
    assert mixed["steps"] == 1
    with pytest.raises(WiseftError, match="different architectures"):
        wiseft.interpolate(zero, {"v": one["w"]}, 0.5)


def test_alpha_is_chosen_by_held_out_accuracies():
    accuracy = {0: 0.70, 0.5: 0.79, 0.75: 0.80, 1: 0.80}
    assert wiseft.choose_alpha(accuracy, n=100, rule="held-out") == 0.75
    assert wiseft.choose_alpha(accuracy, n=100) == 0.5  # the standard error is 0.04
    assert wiseft.choose_alpha(accuracy, n=10_000) == 0.75
    for wrong in ({"accuracy": {}}, {"n": 0}, {"rule": "best"}, {"accuracy": {0.5: 80}}):
        with pytest.raises(WiseftError):
            wiseft.choose_alpha(**({"accuracy": accuracy, "n": 100} | wrong))


def test_merge_is_the_command(tmp_path):
    for seed in (1, 2):
        torch.save(weights_of(tiny.clip(), seed), tmp_path / f"{seed}.pt")
    ends = [tmp_path / "1.pt", tmp_path / "2.pt"]
    wiseft.merge(*map(str, ends), str(tmp_path / "library.pt"))
    merge_files(*ends, 0.5, tmp_path / "command.pt")
    found, expected = (torch.load(tmp_path / f"{n}.pt") for n in ("library", "command"))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_the_examples_of_the_documentation(tmp_path, monkeypatch, capfd, caplog):
    """With a tiny CLIP, called by the name of the real one, whose head is made of prompts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-32-quickgelu", tiny.clip())
    weights = weights_of(tiny.clip(), 1)
    torch.save(weights, "zeroshot.pt")
    tuned = {k: v + 0.1 * torch.randn_like(v) for k, v in weights.items() if k.startswith("visual")}
    torch.save(weights | tuned, "finetuned.pt")
    for place, (folder, name) in enumerate((f, n) for f in ("photos", "sketches") for n in NAMES):
        (tmp_path / folder / name).mkdir(parents=True)
        for number, image in enumerate(blobs(12, place)):
            Image.fromarray(image).save(tmp_path / folder / name / f"{number}.png")
    Image.fromarray(blobs(1, 9)[0]).save("photo.jpg")
    files = sorted((tmp_path / "photos").rglob("*.png"))
    known = {"images": files, "labels": [file.parent.name for file in files]}
    _, by_sweep, by_hand, *_ = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    capfd.readouterr()
    exec(by_sweep, known)
    assert capfd.readouterr().err == "", "the library is silent"
    with caplog.at_level(logging.INFO):
        exec(by_sweep, known)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("wiseft.")]
    assert lines[0] == "sweep: reading the checkpoints", "as a program that asks gets it"
    found, model = known["found"], known["model"]
    ends = [
        wiseft.load(p, classes=NAMES, architecture="ViT-B-32-quickgelu")
        for p in ("zeroshot.pt", "finetuned.pt")
    ]
    expected = wiseft.interpolate(*ends, found.record.recommended.alpha)
    torch.testing.assert_close(model.logits(files), expected.logits(files), rtol=1e-4, atol=1e-3)
    assert model.class_names == NAMES
    exec(by_hand, known)
    merged = torch.load("wise.pt")["visual.proj"]
    start, end = weights["visual.proj"], tuned["visual.proj"]
    torch.testing.assert_close(merged, torch.lerp(start, end, known["alpha"]))
    assert np.isclose(
        known["curve"][0],
        np.mean(
            [
                one == other
                for one, other in zip(ends[0].predict(files), known["labels"], strict=True)
            ]
        ),
    )
